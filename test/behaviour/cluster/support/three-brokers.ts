import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { deadAddress } from "../../../support/auth-server.ts";
import { RealEtcd } from "../../../support/etcd.ts";
import { removeFolder, temporaryFolder } from "../../../support/in-process.ts";
import { type Server, startServer, until } from "../../../support/server.ts";
import { FROM_SOURCE } from "./cluster-processes.ts";

/** The topic that the brokers are asked about. */
export const TOPIC = "orders";

interface ReplicaJson {
  readonly topic: string;
  readonly role: string;
  readonly epoch: number;
  readonly in_sync: readonly string[];
  readonly end: number;
}

/** Three brokers of one cluster, each with a data path of its own. */
export class ThreeBrokers implements AsyncDisposable {
  readonly brokers: Server[] = [];
  private readonly paths = [0, 1, 2].map(() => temporaryFolder());
  /** Where each is reached by the others, over restarts. */
  private readonly addresses = [0, 1, 2].map(() => deadAddress());

  private constructor(
    readonly etcd: RealEtcd,
    private readonly flags: readonly string[],
    private readonly prefixes: readonly (readonly string[])[],
  ) {}

  /** @param prefixes commands that run each of them */
  static async start(flags: readonly string[] = [], prefixes: readonly (readonly string[])[] = []): Promise<ThreeBrokers> {
    const cluster = new ThreeBrokers(await RealEtcd.start(), flags, prefixes);
    try {
      await cluster.startAll();
    } catch (error) {
      const logs = cluster.brokers.map(({ log }, index) => `--- broker ${index}\n${log()}`);
      await cluster[Symbol.asyncDispose]();
      throw new Error(`${(error as Error).message}\n${logs.join("\n")}`);
    }
    return cluster;
  }

  private async startAll(): Promise<void> {
    await Promise.all([0, 1, 2].map((index) => this.startBroker(index)));
    await until("all three are members", () => this.brokers.every(({ log }) => log().includes("CLUSTER: member")));
    // A topic gets no more replicas than the broker that makes it knows of brokers.
    for (const broker of this.brokers)
      await until("it knows all three", async () => /^nsq_cluster_brokers 3$/m.test(await (await broker.http("GET", "/metrics")).text()));
  }

  async startBroker(index: number): Promise<void> {
    this.brokers[index] = await this.startAt(this.dataPath(index), this.addresses[index], this.prefixes[index]);
  }

  dataPath(index: number): string {
    return this.paths[index] as string;
  }

  /** Starts a broker of the cluster on any data path. The caller stops it. */
  startAt(dataPath: string, address = "127.0.0.1:0", prefix: readonly string[] = []): Promise<Server> {
    return startServer({
      dataPath,
      command: [...prefix, ...FROM_SOURCE, "--mode=broker"],
      args: ["--broadcast-address=127.0.0.1", `--replication-address=${address}`, `--etcd-endpoints=${this.endpoints}`, ...this.flags],
    });
  }

  /** Makes the topic. @returns the broker that leads it, once all replicas are in sync */
  async makeTopic(): Promise<number> {
    const { status } = await this.broker(0).http("POST", `/topic/create?topic=${TOPIC}`);
    if (status !== 200) throw new Error(`the topic is not made: ${status}`);
    const leader = await this.leader();
    await this.untilInSync(leader);
    return leader;
  }

  get endpoints(): readonly string[] {
    return this.etcd.endpoints;
  }

  broker(index: number): Server {
    return this.brokers[index] as Server;
  }

  async replicaAt(index: number): Promise<ReplicaJson | undefined> {
    return (await this.replicasAt(index)).find(({ topic }) => topic === TOPIC);
  }

  private async replicasAt(index: number): Promise<ReplicaJson[]> {
    const answer = await this.broker(index).http("GET", "/cluster/replicas");
    return ((await answer.json()) as { replicas: ReplicaJson[] }).replicas;
  }

  /** How many partitions are led, of all topics together. */
  async replicasLed(): Promise<number> {
    const replicas = await Promise.all([0, 1, 2].map((index) => this.replicasAt(index)));
    return replicas.flat().filter(({ role }) => role === "leader").length;
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

  /** Waits until a broker follows the one that leads. */
  async untilFollows(index: number, leader: number): Promise<void> {
    await until("it follows", async () => {
      const [own, led] = await Promise.all([this.replicaAt(index), this.replicaAt(leader)]);
      return own?.role === "follower" && own.epoch === led?.epoch;
    });
  }

  async untilInSync(leader: number): Promise<void> {
    await until("all three are in sync", async () => (await this.replicaAt(leader))?.in_sync.length === 3);
  }

  /** Empties the data path of a broker that does not run. */
  emptyPath(index: number): void {
    removeFolder(join(this.paths[index] as string, "bunsq-data"));
  }

  /** The bytes of the segments that a broker has of the topic. */
  segments(index: number): Buffer[] {
    const folder = this.folder(index);
    const names = readdirSync(folder).filter((name) => name.endsWith(".log"));
    return names.sort().map((name) => readFileSync(join(folder, name)));
  }

  /** The folder that a broker has of the topic. */
  folder(index: number): string {
    const topics = join(this.dataPath(index), "bunsq-data", "topics");
    return join(topics, readdirSync(topics).find((name) => name.includes(TOPIC)) as string);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.brokers.map(({ stop }) => stop("SIGKILL")));
    await this.etcd[Symbol.asyncDispose]();
    for (const path of this.paths) removeFolder(path);
  }
}
