import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { RealEtcd } from "../../../support/etcd.ts";
import { removeFolder, temporaryFolder } from "../../../support/in-process.ts";
import { type Server, startServer, until } from "../../../support/server.ts";

/** The topic that the brokers are asked about. */
export const TOPIC = "orders";

interface ReplicaJson {
  readonly topic: string;
  readonly role: string;
  readonly in_sync: readonly string[];
  readonly end: number;
}

/** Three brokers of one cluster, each with a data path of its own. */
export class ThreeBrokers implements AsyncDisposable {
  readonly brokers: Server[] = [];
  private readonly paths = [0, 1, 2].map(() => temporaryFolder());

  private constructor(
    private readonly etcd: RealEtcd,
    private readonly flags: readonly string[],
  ) {}

  static async start(flags: readonly string[] = []): Promise<ThreeBrokers> {
    const cluster = new ThreeBrokers(await RealEtcd.start(), flags);
    await Promise.all([0, 1, 2].map((index) => cluster.startBroker(index)));
    await until("all three are members", () => cluster.brokers.every(({ log }) => log().includes("CLUSTER: member")));
    return cluster;
  }

  async startBroker(index: number): Promise<void> {
    this.brokers[index] = await startServer({
      dataPath: this.paths[index] as string,
      args: [
        "--broadcast-address=127.0.0.1",
        "--replication-address=127.0.0.1:0",
        `--etcd-endpoints=${this.etcd.endpoints.join(",")}`,
        ...this.flags,
      ],
    });
  }

  get endpoints(): readonly string[] {
    return this.etcd.endpoints;
  }

  broker(index: number): Server {
    return this.brokers[index] as Server;
  }

  async replicaAt(index: number): Promise<ReplicaJson | undefined> {
    const answer = await this.broker(index).http("GET", "/cluster/replicas");
    const { replicas } = (await answer.json()) as { replicas: ReplicaJson[] };
    return replicas.find(({ topic }) => topic === TOPIC);
  }

  /** The broker that leads, once there is one among these. */
  async leader(among = [0, 1, 2]): Promise<number> {
    let leader = -1;
    await until("one leads", async () => {
      for (const index of among) if ((await this.replicaAt(index))?.role === "leader") leader = index;
      return leader >= 0;
    });
    return leader;
  }

  async untilInSync(leader: number): Promise<void> {
    await until("all three are in sync", async () => (await this.replicaAt(leader))?.in_sync.length === 3);
  }

  /** The bytes of the segments that a broker has of the topic. */
  segments(index: number): Buffer[] {
    const topics = join(this.paths[index] as string, "bunsq-data", "topics");
    const folder = readdirSync(topics).find((name) => name.includes(TOPIC)) as string;
    const names = readdirSync(join(topics, folder)).filter((name) => name.endsWith(".log"));
    return names.sort().map((name) => readFileSync(join(topics, folder, name)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.brokers.map(({ stop }) => stop("SIGKILL")));
    await this.etcd[Symbol.asyncDispose]();
    for (const path of this.paths) removeFolder(path);
  }
}
