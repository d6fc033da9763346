import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Random } from "../../../../support/random.ts";
import { until } from "../../../../support/server.ts";
import { StallMonitor } from "../../../../support/stall-monitor.ts";
import type { NetworkHost } from "../../../discovery/support/network.ts";
import { SmallDisk } from "../../../full-disk/small-disk.ts";
import { prepareClientPrograms } from "../../support/client-programs.ts";
import { ClusterProcesses, type ClusterServer } from "../../support/cluster-processes.ts";
import { ClusterRecords } from "../../support/cluster-records.ts";
import { makeTopics } from "../../support/make-topics.ts";
import { SetClocks } from "../../support/set-clock.ts";
import { FAULTS, type Fault, type FaultSite } from "./faults.ts";
import { LeaderWatch } from "./leader-watch.ts";
import type { FaultWindow } from "./stream-ledger.ts";
import { planStreams, Stream, type StreamPlan } from "./streams.ts";

/**
 * Rounds of faults, from where the clients are: this file is a program, because it has to be in their network namespace. It ends with 1 if
 * anything was wrong, and when its standard input does.
 */
export interface FaultRunJob {
  readonly etcd: NetworkHost[];
  readonly lookups: NetworkHost[];
  readonly brokers: NetworkHost[];
  readonly clients: NetworkHost;
  readonly seed: number;
  readonly rounds: number;
  /** Messages a second, of all publishers. */
  readonly rate: number;
  /** Names of faults; without them all are played. */
  readonly only?: readonly string[];
}

const DISK_BYTES = 2 ** 30;
const LONGEST_FAULT_MS = 4_000;
/** After a fault everything is whole again within this time, or the run has failed. */
const WHOLE_MS = 40_000;

const DRAINED_MS = 60_000;
const STARTED_MS = 30_000;
/** What comes too often comes by then. */
const AFTERMATH_MS = 1_500;

class FaultRun {
  private readonly windows: FaultWindow[] = [];
  private readonly stall = new StallMonitor();
  private readonly random: Random;
  private readonly watch: LeaderWatch;
  private streams: Stream[] = [];
  private plans: StreamPlan[] = [];
  /** Faults that are not played before all others were. */
  private deck: Fault[] = [];
  private readonly played = new Map<string, number>();

  private constructor(
    private readonly job: FaultRunJob,
    private readonly cluster: ClusterProcesses,
    private readonly records: ClusterRecords,
    private readonly disk: SmallDisk,
    private readonly clocks: SetClocks,
  ) {
    this.random = new Random(job.seed);
    this.watch = LeaderWatch.start(records, this.windows);
  }

  /** @param onStart gets what ends all processes of the run */
  static async play(job: FaultRunJob, onStart: (end: () => Promise<void>) => void): Promise<void> {
    const disk = SmallDisk.mount(DISK_BYTES);
    if (typeof disk === "string") throw new Error(disk);
    using _ = disk;
    using clocks = SetClocks.make(job.brokers.length);
    const folder = mkdtempSync(join(tmpdir(), "bunsq-faults-"));
    await using cluster = await ClusterProcesses.start({
      ...job,
      brokers: job.brokers.map(({ host, prefix }, i) => ({ host, prefix: [...prefix, ...(clocks.clocks[i]?.prefix ?? [])] })),
      dataPaths: [...job.brokers.slice(1).map((_, i) => join(folder, `broker-${i}`)), disk.path],
    });
    const run = new FaultRun(job, cluster, new ClusterRecords(cluster.etcd.endpoints), disk, clocks);
    onStart(async () => {
      await Promise.all([cluster[Symbol.asyncDispose](), ...run.streams.map((stream) => stream.end())]);
      disk[Symbol.dispose]();
    });
    try {
      await run.start();
      for (let round = 1; round <= job.rounds; round++) await run.round(round);
      await run.end();
      rmSync(folder, { recursive: true, force: true });
    } catch (error) {
      for (const server of [...cluster.brokers, ...cluster.lookups]) writeFileSync(join(folder, `${server.name}.log`), server.log);
      console.log(`${run.evidence()}\ndata paths and logs kept at ${folder}`);
      throw error;
    } finally {
      await Promise.all(run.streams.map((stream) => stream.end()));
      run.stall.stop();
      run.watch.close();
    }
  }

  private async start(): Promise<void> {
    const { cluster, job } = this;
    const programs = await prepareClientPrograms();
    console.log(`clients: ${[...programs.keys()].join(", ")}`);
    this.plans = planStreams(programs);
    await makeTopics(cluster.etcd.endpoints, job.brokers.length, this.plans);
    await until("all partitions are whole", () => this.isPlaced(), STARTED_MS);
    const site = { brokers: cluster.brokers.map(({ tcp }) => tcp), lookups: cluster.lookups.map(({ http }) => http), rate: job.rate };
    this.streams = this.plans.map((plan) => new Stream(plan, programs, site, this.windows, this.stall));
    await this.untilWhole("at the beginning");
  }

  private async round(round: number): Promise<void> {
    const { random } = this;
    const faults = this.chooseFaults();
    const window: FaultWindow = { fromMs: Date.now(), untilMs: Number.POSITIVE_INFINITY };
    this.windows.push(window);
    for (const stream of this.streams) stream.takeGaps();
    const undos: (() => Promise<void> | void)[] = [];
    const what: string[] = [];
    for (const fault of faults) {
      const begun = await fault.begin(this.site);
      what.push(begun.what);
      undos.unshift(begun.undo);
      await Bun.sleep(random.int(200, LONGEST_FAULT_MS));
    }
    const brokenMs = Date.now() - window.fromMs;
    for (const undo of undos) await undo();
    const healedMs = Date.now();
    await this.untilWhole(`round ${round}: ${what.join("; ")}`);
    window.untilMs = Date.now();
    const gaps = this.streams.map((stream) => {
      const { publish, deliver } = stream.takeGaps();
      return `${stream.plan.topic} ${publish.toFixed(0)}/${deliver.toFixed(0)}`;
    });
    console.log(
      `round ${round}: ${what.join("; ")}: ${brokenMs} ms, whole ${window.untilMs - healedMs} ms later; ` +
        `longest pauses of publishing/delivery, ms: ${gaps.join(", ")}; stalled ${this.stall.ms().toFixed(0)} ms`,
    );
    await this.failOnViolations();
    await Bun.sleep(random.int(300, 1_500));
  }

  private chooseFaults(): Fault[] {
    const { random } = this;
    const all = FAULTS.filter(({ name }) => this.job.only?.includes(name) ?? true);
    if (this.deck.length === 0) this.deck = all;
    const first = random.pick(this.deck);
    this.deck = this.deck.filter((fault) => fault !== first);
    const second = all.filter(({ kind }) => kind !== first.kind);
    const faults = random.chance(0.3) && second.length > 0 ? [first, random.pick(second)] : [first];
    for (const { name } of faults) this.played.set(name, (this.played.get(name) ?? 0) + 1);
    return faults;
  }

  private get site(): FaultSite {
    const { cluster, random, disk, clocks, job } = this;
    const untilPlaced = (limitMs: number) => until("all is in sync", () => this.isPlaced(), limitMs).catch(() => {});
    return { cluster, random, disk, clocks, hosts: job, leader: () => this.leader(), etcdLeader: () => this.etcdLeader(), untilPlaced };
  }

  private async leader(): Promise<number> {
    const counts = this.cluster.brokers.map(() => 0);
    const partitions = await this.records.partitions(this.plans.map(({ topic }) => topic)).catch(() => []);
    for (const { record } of partitions) {
      const index = this.cluster.brokers.findIndex(({ tcp }) => tcp === this.records.addressOf(record.leader));
      if (index >= 0) counts[index] = (counts[index] as number) + 1;
    }
    return counts.indexOf(Math.max(...counts));
  }

  private async etcdLeader(): Promise<number> {
    for (const [i, endpoint] of this.cluster.etcd.endpoints.entries()) {
      const response = await fetch(`${endpoint}/v3/maintenance/status`, {
        method: "POST",
        body: "{}",
        signal: AbortSignal.timeout(1_000),
      }).catch(() => undefined);
      if (response === undefined) continue;
      const { header, leader } = (await response.json()) as { header: { member_id: string }; leader?: string };
      if (leader === header.member_id) return i;
    }
    return 0;
  }

  /** Every partition has a leader, and all of its replicas in sync. */
  private async isPlaced(): Promise<boolean> {
    const topics = this.plans.map(({ topic }) => topic);
    const placed = await this.records.partitions(topics).catch(() => []);
    const wanted = this.plans.reduce((sum, { partitions }) => sum + partitions, 0);
    return (
      placed.length === wanted && placed.every(({ record }) => record.leader !== "" && record.inSync.length === this.job.brokers.length)
    );
  }

  /** Waits until all replicas are in sync, and messages of all streams are published and delivered again. */
  private async untilWhole(when: string): Promise<void> {
    const before = this.streams.map(({ ledger }) => [ledger.acknowledgedCount, ledger.deliveredCount]);
    const flows = () =>
      this.streams.filter(({ ledger }, i) => ledger.acknowledgedCount === before[i]?.[0] || ledger.deliveredCount === before[i]?.[1]);
    await until(`all is whole ${when}`, async () => flows().length === 0 && (await this.isPlaced()), WHOLE_MS).catch(
      async (error: Error) => {
        const stuck = flows().map(({ ledger }) => ledger.name);
        const placed = await this.records.partitions().catch((why: Error) => why.message);
        const replicas = await Promise.all(this.cluster.brokers.map((broker) => saidOfReplicas(broker)));
        throw new Error(
          `${error.message}; does not flow: ${stuck.join(", ") || "none"}\n${JSON.stringify(placed)}\nwhat brokers say:\n${replicas.join("\n")}`,
        );
      },
    );
  }

  private async end(): Promise<void> {
    const { streams } = this;
    const published = Promise.all(streams.map((stream) => stream.finish()));
    let isPublished = false;
    void published.then(() => {
      isPublished = true;
    });
    const missing = () => streams.map(({ ledger }) => ledger.missing());
    await until(
      "all that was published is acknowledged and delivered",
      () => isPublished && missing().every(({ length }) => length === 0),
      DRAINED_MS,
    ).catch((error: Error) => {
      const lost = missing().flatMap((numbers, i) =>
        numbers.length === 0 ? [] : [`${streams[i]?.ledger.name}: ${numbers.length}, first ${numbers.slice(0, 8).join(" ")}`],
      );
      throw new Error(`${error.message}; published: ${isPublished}; LOST: ${lost.join("; ") || "none"}`);
    });
    await Bun.sleep(AFTERMATH_MS);
    await this.failOnViolations();
    console.log(`faults: ${[...this.played].map(([name, count]) => `${count} × ${name}`).join(", ")}`);
    const sum = (of: (stream: Stream) => number) => streams.reduce((total, stream) => total + of(stream), 0);
    console.log(
      `${sum(({ ledger }) => ledger.acknowledgedCount)} acknowledged, 0 lost, 0 changed, ${sum(({ ledger }) => ledger.deliveredCount)} delivered: ` +
        `${sum(({ ledger }) => ledger.publishedAgainCount)} again because they were published again, ` +
        `${sum(({ ledger }) => ledger.deliveredAgainCount)} again because a FIN was lost with a fault`,
    );
  }

  private async failOnViolations(): Promise<void> {
    await this.watch.look();
    const violations = this.streams.flatMap(({ ledger }) => ledger.violations);
    if (violations.length > 0) throw new Error(violations.join("\n"));
  }

  private evidence(): string {
    const servers = [...this.cluster.brokers, ...this.cluster.lookups].map(({ lastLines }) => lastLines);
    return [...servers, ...this.streams.map(({ complaints }) => complaints)].join("\n");
  }
}

/** What a broker says of its replicas, its followers among them. */
async function saidOfReplicas(broker: ClusterServer): Promise<string> {
  const response = await broker.call("GET", "/cluster/replicas").catch((why: Error) => why);
  return `${broker.name}: ${response instanceof Error ? response.message : response.text}`;
}

if (import.meta.main) {
  const job: FaultRunJob = JSON.parse(process.argv[2] ?? "{}");
  let end = async () => {};
  // Whoever started this is gone, or does not want it any more.
  process.stdin.on("end", () => void end().finally(() => process.exit(1)));
  process.stdin.resume();
  try {
    await FaultRun.play(job, (ends) => {
      end = ends;
    });
    process.exit(0);
  } catch (error) {
    console.log(error instanceof Error ? error.message : String(error));
    process.exit(1);
  }
}
