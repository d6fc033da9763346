import { Random } from "../../../support/random.ts";
import { type Server, startServer, until } from "../../../support/server.ts";
import { StallMonitor } from "../../../support/stall-monitor.ts";
import { LineLedger } from "./line-ledger.ts";
import { type Address, type Life, LineConsumer, LinePublisher, now } from "./line-workers.ts";

const PARTITIONS = 16;
const KEYS = 1000;
const CONSUMERS = 8;
const PUBLISHERS = 3;
/** The broker is killed so often. It works for at least a part of that, however long its start takes. */
const KILL_EVERY_MS = 2000;
const LEAST_WORK_MS = 800;
const DRAIN_MS = 60_000;

/** What the channel keeps in order, and how messages are published for that. */
const ORDERS: Record<"key" | "partition", { lines: string[]; address: Address; mostUnfinished: number }> = {
  key: {
    lines: Array.from({ length: KEYS }, (_, i) => `key-${i}`),
    address: ({ name }) => ({ key: name }),
    mostUnfinished: 6000,
  },
  partition: {
    lines: Array.from({ length: PARTITIONS }, (_, i) => `partition ${i}`),
    address: ({ name }) => ({ partition: Number(name.split(" ")[1]), key: name }),
    mostUnfinished: 800,
  },
};

/** Lives of a broker that are ended with kill -9, its clients, and the ledger of what they saw. */
export class KillRun {
  readonly ledger: LineLedger;
  private readonly random: Random;
  private readonly stall = new StallMonitor();
  private server: Server | undefined;
  private publishers: LinePublisher[] = [];
  private consumers: LineConsumer[] = [];
  private lastKillMs = now();

  constructor(
    private readonly order: "key" | "partition",
    private readonly dataPath: string,
    seed: number,
  ) {
    this.random = new Random(seed);
    this.ledger = new LineLedger(ORDERS[order].lines, () => this.stall.ms());
  }

  async lifeAndKill(): Promise<void> {
    const life = await this.start();
    await this.startClients(life);
    const endMs = Math.max(this.lastKillMs + KILL_EVERY_MS, now() + LEAST_WORK_MS);
    while (now() < endMs) {
      await Bun.sleep(this.random.int(20, 150));
      await this.replaceConsumer(life);
    }
    await this.end(life, "SIGKILL");
    this.failOnViolations();
  }

  /** Everything is finished, and nothing comes after that, though the broker is started again. */
  async drain(): Promise<void> {
    const life = await this.start();
    life.isDraining = true;
    for (let i = 0; i < CONSUMERS; i++) this.consumers.push(await LineConsumer.start(life));
    await this.untilEmpty(life);
    await this.end(life, "SIGTERM");
    const again = await this.start();
    this.consumers = [await LineConsumer.start(again)];
    await this.untilEmpty(again);
    await this.end(again, "SIGTERM");
    this.ledger.endRun();
    this.failOnViolations();
  }

  summary(): string {
    const { endings, publishedCount, deliveredCount, repeatedCount } = this.ledger;
    return `${this.order}: ${endings.length} lives, ${publishedCount} messages, ${deliveredCount} deliveries of which ${repeatedCount} again`;
  }

  async close(): Promise<void> {
    this.stall.stop();
    for (const worker of [...this.publishers, ...this.consumers])
      if (!worker.isClosed) worker instanceof LineConsumer ? worker.leave() : worker.close();
    await this.server?.stop("SIGKILL");
  }

  private async start(): Promise<Life> {
    const server = await startServer({ dataPath: this.dataPath, args: this.random.chance(0.5) ? ["--max-bytes-per-file=65536"] : [] });
    this.server = server;
    if (this.ledger.life === 0) {
      await this.post(`/topic/create?topic=orders&partition_num=${PARTITIONS}`);
      await this.post(`/channel/create?topic=orders&channel=billing&ordered=${this.order}`);
    }
    return { ledger: this.ledger, random: this.random, tcpPort: server.tcpPort, isDraining: false, isEnding: false };
  }

  private async post(path: string): Promise<void> {
    const response = await this.server?.http("POST", path);
    if (response?.ok !== true) throw new Error(`${path}: ${await response?.text()}`);
  }

  private async startClients(life: Life): Promise<void> {
    const { ledger } = this;
    const { address, mostUnfinished } = ORDERS[this.order];
    this.publishers = [];
    this.consumers = [];
    let unfinished = 0;
    let countedMs = 0;
    const mayPublish = () => {
      if (now() - countedMs > 100) {
        countedMs = now();
        unfinished = ledger.missingCount;
      }
      return unfinished < mostUnfinished;
    };
    for (let i = 0; i < PUBLISHERS; i++) {
      const lines = ledger.lines.filter((_, index) => index % PUBLISHERS === i);
      this.publishers.push(await LinePublisher.start(life, lines, address, mayPublish));
    }
    for (let i = 0; i < CONSUMERS; i++) this.consumers.push(await LineConsumer.start(life));
  }

  /** One of the consumers leaves, and another comes, at once or a little later. */
  private async replaceConsumer(life: Life): Promise<void> {
    if (!this.random.chance(0.3)) return;
    const [leaving] = this.consumers.splice(this.random.int(0, this.consumers.length - 1), 1);
    leaving.leave();
    if (this.random.chance(0.5)) await Bun.sleep(this.random.int(1, 200));
    this.consumers.push(await LineConsumer.start(life));
  }

  private async untilEmpty(life: Life): Promise<void> {
    const isEmpty = async () => {
      this.failOnViolations();
      if (this.ledger.missingCount > 0) return false;
      const stats = (await (await this.server?.http("GET", "/stats?format=json"))?.json()) as Stats;
      const [channel] = stats.topics[0].channels;
      return channel.depth + channel.in_flight_count + channel.deferred_count === 0;
    };
    life.isDraining = true;
    await until("everything is finished", isEmpty, DRAIN_MS).catch(async (error: Error) => {
      const { missingCount } = this.ledger;
      const stats = await (await this.server?.http("GET", "/stats?format=json"))?.text();
      throw new Error(`${error.message}; ${missingCount} are missing\n${stats}`);
    });
  }

  private async end(life: Life, signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    const { server } = this;
    if (server === undefined || server.process.exitCode !== null)
      throw new Error(`the broker ended by itself\n${server?.log().slice(-4000)}`);
    life.isEnding = true;
    this.lastKillMs = now();
    const code = await server.stop(signal);
    this.server = undefined;
    if (signal === "SIGTERM" && code !== 0) throw new Error(`a clean stop ended with ${code}\n${server.log().slice(-4000)}`);
    const clients = [...this.publishers, ...this.consumers];
    await until("the clients have seen the end", () => clients.every(({ isClosed }) => isClosed));
    for (const consumer of this.consumers) consumer.onClosed();
    this.ledger.endLife(this.lastKillMs, signal === "SIGKILL");
  }

  private failOnViolations(): void {
    const { violations } = this.ledger;
    if (violations.length === 0) return;
    const stalls = this.server?.log().match(/LOOP: .*/g) ?? [];
    throw new Error([...violations, `this process stood still for ${this.stall.worst().toFixed(0)} ms at most`, ...stalls].join("\n"));
  }
}

interface Stats {
  topics: { channels: { depth: number; in_flight_count: number; deferred_count: number }[] }[];
}
