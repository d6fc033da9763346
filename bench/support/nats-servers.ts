import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { deadAddress } from "../../test/support/auth-server.ts";
import { findProgram } from "../../test/support/needs.ts";
import { until } from "../../test/support/server.ts";
import { askJetStream } from "../load/nats/nats-connection.ts";
import { CONSUMER, DELIVERED_TO, STREAM, SUBJECT } from "../load/nats/nats-job.ts";

const RELEASE = "v2.15.3";
const SERVERS = 3;
/** Three servers have to find each other, and to choose who leads. */
const STREAM_MS = 60_000;
const STREAM_MAX_BYTES = 2 ** 32;

/** nats-server: that of NATS_SERVER_BIN or PATH, or one that Go builds once from its module proxy. @returns its path, or why there is none */
export function findNatsServer(): { program: string } | { missing: string } {
  const found = process.env.NATS_SERVER_BIN || findProgram("nats-server");
  if (found !== undefined) return { program: found };
  const folder = join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "bunsq-ci", `nats-server-${RELEASE}`);
  const program = join(folder, "nats-server");
  if (existsSync(program)) return { program };
  if (findProgram("go") === undefined) return { missing: "no nats-server, and no go to build it" };
  console.log(`building nats-server ${RELEASE}`);
  const built = Bun.spawnSync(["go", "install", `github.com/nats-io/nats-server/v2@${RELEASE}`], {
    env: { ...process.env, GOBIN: folder, GOFLAGS: "-mod=mod" },
    stderr: "pipe",
  });
  return existsSync(program) ? { program } : { missing: `no nats-server: ${built.stderr.toString().trim()}` };
}

/** Three servers of NATS with JetStream, and a stream of three replicas. */
export class NatsServers implements AsyncDisposable {
  private constructor(
    private readonly folder: string,
    private readonly processes: Bun.Subprocess[],
    private readonly ports: number[],
  ) {}

  /** @param syncs whether each message is on the disks of a majority before it is acknowledged (`sync_interval: always`) */
  static async start(program: string, syncs: boolean): Promise<NatsServers> {
    const folder = mkdtempSync(join(tmpdir(), "bunsq-bench-nats-"));
    const addresses = Array.from({ length: SERVERS }, () => ({ client: deadAddress(), route: deadAddress() }));
    const routes = addresses.map(({ route }) => `nats-route://${route}`).join(", ");
    const processes = addresses.map(({ client, route }, i) => {
      const path = join(folder, `n${i}`);
      mkdirSync(path);
      writeFileSync(
        join(path, "server.conf"),
        `server_name: n${i}\nlisten: "${client}"\njetstream { store_dir: "${path}"${syncs ? "\n  sync_interval: always" : ""} }\n` +
          `cluster { name: bench, listen: "${route}", routes: [${routes}] }\n`,
      );
      return Bun.spawn([program, "-c", join(path, "server.conf")], { stdin: "ignore", stdout: "ignore", stderr: "ignore" });
    });
    const servers = new NatsServers(
      folder,
      processes,
      addresses.map(({ client }) => Number(client.split(":")[1])),
    );
    await until("JetStream has a stream", () => servers.makeStream(), STREAM_MS).catch(async (error: Error) => {
      await servers[Symbol.asyncDispose]();
      throw error;
    });
    return servers;
  }

  get pids(): number[] {
    return this.processes.map(({ pid }) => pid);
  }

  /** The port of the server that leads the stream. */
  async leaderPort(): Promise<number> {
    const { cluster } = await askJetStream(this.ports[0] as number, `STREAM.INFO.${STREAM}`);
    const { leader } = cluster as { leader: string };
    return this.ports[Number(leader.slice(1))] as number;
  }

  async makeConsumer(): Promise<void> {
    const config = { durable_name: CONSUMER, deliver_subject: DELIVERED_TO, ack_policy: "explicit", max_ack_pending: 2_500 };
    const answer = await askJetStream(this.ports[0] as number, `CONSUMER.DURABLE.CREATE.${STREAM}.${CONSUMER}`, {
      stream_name: STREAM,
      config,
    });
    if (answer.error !== undefined) throw new Error(JSON.stringify(answer.error));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const process of this.processes) process.kill("SIGKILL");
    await Promise.all(this.processes.map(({ exited }) => exited));
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Fails while the servers have not found each other. */
  private async makeStream(): Promise<boolean> {
    try {
      const answer = await askJetStream(this.ports[0] as number, `STREAM.CREATE.${STREAM}`, {
        name: STREAM,
        subjects: [SUBJECT],
        num_replicas: SERVERS,
        storage: "file",
        retention: "limits",
        max_bytes: STREAM_MAX_BYTES,
      });
      return answer.error === undefined;
    } catch {
      return false;
    }
  }
}
