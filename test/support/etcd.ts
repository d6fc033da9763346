import { cpSync } from "node:fs";
import { deadAddress } from "./auth-server.ts";
import { removeFolder, temporaryFolder } from "./in-process.ts";
import { cleanEnvironment, until } from "./server.ts";

/** Where a member runs: its address, and a command that runs a program there. */
export interface EtcdPlace {
  readonly host: string;
  readonly prefix: readonly string[];
}

/** The ports of members that have a host of their own. */
const CLIENT_PORT = 2379;
const PEER_PORT = 2380;

interface Member {
  readonly command: string[];
  readonly endpoint: string;
  process: Bun.Subprocess<"ignore", "ignore", "pipe">;
  log: string;
}

/** A real etcd, of one member or several, with data paths of its own; gone after `await using`. */
export class RealEtcd implements AsyncDisposable {
  private constructor(
    private readonly members: Member[],
    private readonly folder: string,
  ) {}

  /**
   * @param flags of each member, for instance certificates
   * @param places the hosts of the members; without them all are on this one
   * @returns once all members serve
   */
  static async start({
    members = 1,
    scheme = "http",
    flags = [] as string[],
    places = undefined as readonly EtcdPlace[] | undefined,
  } = {}): Promise<RealEtcd> {
    const folder = temporaryFolder();
    const peers =
      places?.map(({ host }) => `http://${host}:${PEER_PORT}`) ?? Array.from({ length: members }, () => `http://${deadAddress()}`);
    const cluster = peers.map((peer, i) => `m${i}=${peer}`).join(",");
    const started = peers.map((peer, i): Member => {
      const place = places?.[i];
      const endpoint = `${scheme}://${place === undefined ? deadAddress() : `${place.host}:${CLIENT_PORT}`}`;
      const command = [
        ...(place?.prefix ?? []),
        "etcd",
        `--name=m${i}`,
        `--data-dir=${folder}/m${i}`,
        `--listen-client-urls=${endpoint}`,
        `--advertise-client-urls=${endpoint}`,
        `--listen-peer-urls=${peer}`,
        `--initial-advertise-peer-urls=${peer}`,
        `--initial-cluster=${cluster}`,
        "--logger=zap",
        ...flags,
      ];
      return watched({ command, endpoint, process: run(command), log: "" });
    });
    const etcd = new RealEtcd(started, folder);
    for (const member of started) await etcd.isReady(member);
    return etcd;
  }

  get endpoints(): string[] {
    return this.members.map(({ endpoint }) => endpoint);
  }

  /** The processes of the members that run. */
  get pids(): number[] {
    return this.members.map(({ process }) => process.pid);
  }

  /** kill -9, or SIGSTOP and SIGCONT. */
  signal(index: number, signal: "SIGKILL" | "SIGSTOP" | "SIGCONT"): void {
    this.members[index]?.process.kill(signal);
  }

  /** Starts a member again that was killed. */
  async restart(index: number): Promise<void> {
    const member = this.members[index] as Member;
    await member.process.exited;
    member.log = "";
    member.process = run(member.command);
    watched(member);
    await this.isReady(member);
  }

  /** Copies what a member has, as a backup does. */
  async save(index: number): Promise<void> {
    this.signal(index, "SIGKILL");
    await this.members[index]?.process.exited;
    cpSync(`${this.folder}/m${index}`, `${this.folder}/saved${index}`, { recursive: true });
    await this.restart(index);
  }

  /** Puts back what save() has copied. */
  async restore(index: number): Promise<void> {
    this.signal(index, "SIGKILL");
    await this.members[index]?.process.exited;
    removeFolder(`${this.folder}/m${index}`);
    cpSync(`${this.folder}/saved${index}`, `${this.folder}/m${index}`, { recursive: true });
    await this.restart(index);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { process } of this.members) process.kill("SIGKILL");
    await Promise.all(this.members.map(({ process }) => process.exited));
    removeFolder(this.folder);
  }

  private async isReady(member: Member): Promise<void> {
    await until("etcd serves", () => {
      if (member.process.exitCode !== null) throw new Error(`etcd exited with ${member.process.exitCode}:\n${member.log}`);
      return /serving (?:insecure )?client/.test(member.log);
    });
  }
}

function run(command: string[]): Member["process"] {
  return Bun.spawn(command, { stdin: "ignore", stdout: "ignore", stderr: "pipe", env: cleanEnvironment() });
}

/** Collects what a member logs. */
function watched(member: Member): Member {
  void (async () => {
    const decoder = new TextDecoder();
    for await (const chunk of member.process.stderr) member.log += decoder.decode(chunk, { stream: true });
  })();
  return member;
}
