/**
 * How long a cluster of three brokers is not at work when something happens to one: `npx bun bench/fail-over.ts`.
 *
 *     --rounds=N         how often a leader is killed, and told to end (default 30)
 *     --only=A,B         kill, terminate, return, partitions
 *     --partitions=N     default 1,000
 *     --per-topic=N      as many of them has each topic (default 10)
 *     --catch-up-rate=N  the brokers' --cluster-catch-up-rate, bytes a second
 *     --bunsq=COMMAND    the command that starts bunsq (default dist/bunsq, or the source if it is not built)
 *
 * Brokers, lookups and a lone etcd run on this host. One producer publishes a message every 5 ms, and asks nobody to wait for the one
 * before.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Consumer, Producer } from "../src/client/bun.ts";
import { ClusterProcesses, type ClusterServer } from "../test/behaviour/cluster/support/cluster-processes.ts";
import { ClusterRecords, type Placed } from "../test/behaviour/cluster/support/cluster-records.ts";
import { makeTopics } from "../test/behaviour/cluster/support/make-topics.ts";
import { until } from "../test/support/server.ts";
import { quantile } from "./support/statistics.ts";

const BINARY = join(import.meta.dir, "../dist/bunsq");
const SOURCE = join(import.meta.dir, "../src/main.ts");
const BROKERS = 3;
const TOPIC = "fail-over";
const EACH_MS = 5;
/** A round in which nothing works again by then has failed. */
const PATIENCE_MS = 30_000;
const POLL_MS = 20;
/** While publishes are timed, etcd is asked so seldom that they do not wait for it, in this process or for a core. */
const SELDOM_MS = 500;
const PLAIN_MS = 5_000;
/** Clients that make topics at the same time. */
const MAKERS = 8;
/** Batches of 500 messages of 1 kB that a replica misses. */
const COPIED_BATCHES = 800;
/** What was sent this long before a broker ended may have been under way. */
const UNDER_WAY_MS = 50;
const PLACE = { host: "127.0.0.1", prefix: [] };

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "30" },
    only: { type: "string", default: "kill,terminate,return,partitions" },
    partitions: { type: "string", default: "1000" },
    "per-topic": { type: "string", default: "10" },
    "catch-up-rate": { type: "string" },
    bunsq: { type: "string" },
  },
});
const program = values.bunsq?.split(" ") ?? (existsSync(BINARY) ? [BINARY] : [process.execPath, SOURCE]);
const rounds = Number(values.rounds);
const rate = values["catch-up-rate"];
const brokerFlags = rate === undefined ? [] : [`--cluster-catch-up-rate=${rate}`];

/** Publishes and consumes all the time, and knows when each message was sent, acknowledged and delivered. */
class Traffic {
  readonly sentMs: number[] = [];
  readonly ackedMs: number[] = [];
  private readonly deliveredMs: number[] = [];
  private readonly timer: Timer;
  private readonly plainTimer: Timer;
  /** When a plain client's POST /pub to another broker was sent and answered. */
  readonly plain: { sentMs: number; answeredMs: number }[] = [];
  plainTo = "";

  constructor(
    private readonly producer: Producer,
    private readonly consumer: Consumer,
  ) {
    void consumer.run((message) => {
      const number = Number(message.text());
      if (number >= 0) this.deliveredMs[number] ??= performance.now();
    });
    this.timer = setInterval(() => this.publish(), EACH_MS);
    this.plainTimer = setInterval(() => void this.post(), EACH_MS * 4);
  }

  static start(cluster: ClusterProcesses): Traffic {
    const lookups = cluster.lookups.map(({ http }) => http);
    const common = { lookups, heartbeatMs: 1_000, lookupPollMs: 1_000 };
    return new Traffic(
      new Producer({ ...common, timeoutMs: PATIENCE_MS }),
      new Consumer({ ...common, topic: TOPIC, channel: "c", maxInFlight: 500, maxReconnectMs: 500 }),
    );
  }

  /** Waits until a message that is sent from now on is acknowledged, and one is delivered. @returns ms until then */
  async untilFlows(sinceMs: number): Promise<{ publishMs: number; deliverMs: number; plainMs: number }> {
    const first = this.sentMs.findIndex((ms) => ms >= sinceMs);
    const from = first < 0 ? this.sentMs.length : first;
    const earliest = (times: number[]) => times.slice(from).reduce((least, ms) => Math.min(least, ms ?? least), Number.POSITIVE_INFINITY);
    const plain = () => this.plain.find(({ sentMs }) => sentMs >= sinceMs)?.answeredMs ?? Number.POSITIVE_INFINITY;
    const flows = () => earliest(this.ackedMs) + earliest(this.deliveredMs) < Number.POSITIVE_INFINITY;
    await until("messages are published and delivered", flows, PATIENCE_MS);
    if (this.plainTo !== "") await until("POST /pub works", () => plain() < Number.POSITIVE_INFINITY, PLAIN_MS).catch(() => {});
    return { publishMs: earliest(this.ackedMs) - sinceMs, deliverMs: earliest(this.deliveredMs) - sinceMs, plainMs: plain() - sinceMs };
  }

  /** How long each publish between two times took, ascending, ms. */
  latencies(fromMs: number, toMs: number): Float64Array {
    const times = this.sentMs.flatMap((sent, i) =>
      sent >= fromMs && sent < toMs ? [(this.ackedMs[i] ?? Number.POSITIVE_INFINITY) - sent] : [],
    );
    return Float64Array.from(times).sort();
  }

  async end(): Promise<void> {
    clearInterval(this.timer);
    clearInterval(this.plainTimer);
    await Promise.all([this.producer.close({ drainMs: 1_000 }), this.consumer.close({ drainMs: 1_000 })]);
  }

  private publish(): void {
    const number = this.sentMs.push(performance.now()) - 1;
    this.producer.publish(TOPIC, String(number)).then(
      () => {
        this.ackedMs[number] = performance.now();
      },
      () => {},
    );
  }

  private async post(): Promise<void> {
    const sentMs = performance.now();
    if (this.plainTo === "") return;
    const options = { method: "POST", body: "-1", signal: AbortSignal.timeout(PATIENCE_MS) };
    const answer = await fetch(`http://${this.plainTo}/pub?topic=${TOPIC}`, options).catch(() => undefined);
    await answer?.body?.cancel();
    if (answer?.status === 200) this.plain.push({ sentMs, answeredMs: performance.now() });
  }
}

class Site implements AsyncDisposable {
  private constructor(
    readonly cluster: ClusterProcesses,
    readonly records: ClusterRecords,
  ) {}

  static async start(): Promise<Site> {
    const places = Array.from({ length: BROKERS }, () => PLACE);
    const cluster = await ClusterProcesses.start({ lookups: [PLACE, PLACE], brokers: places, program, brokerFlags });
    const site = new Site(cluster, new ClusterRecords(cluster.etcd.endpoints));
    await until("all brokers are members", async () => (await site.records.brokers()).length === BROKERS, PATIENCE_MS);
    return site;
  }

  makeTopic(topic: string, partitions: number): Promise<void> {
    return makeTopics(this.cluster.etcd.endpoints, BROKERS, [{ topic, partitions }]);
  }

  /** Makes topics at all brokers, as clients do. */
  async makeTopics(topics: number, partitions: number): Promise<void> {
    const make = async (maker: number) => {
      for (let i = maker; i < topics; i += MAKERS) {
        const url = `http://${this.broker(i % BROKERS).http}/topic/create?topic=t${i}&partition_num=${partitions}`;
        const answer = await fetch(url, { method: "POST", signal: AbortSignal.timeout(PATIENCE_MS) });
        if (answer.status !== 200) console.log(`t${i}: ${answer.status} ${await answer.text()}`);
      }
    };
    await Promise.all(Array.from({ length: MAKERS }, (_, maker) => make(maker)));
  }

  /** Waits until brokers lead all partitions, but for one broker. */
  async untilOthersLead(partitions: number, gone: number): Promise<void> {
    const isLed = ({ record }: Placed) => record.leader !== "" && this.indexOf(record.leader) !== gone;
    await until(
      "others lead",
      async () => {
        const placed = await this.placed();
        return placed.length === partitions && placed.every(isLed);
      },
      PATIENCE_MS * 2,
    );
  }

  /** Waits until all replicas of all partitions are in sync. */
  async untilWhole(partitions: number, pollMs = POLL_MS): Promise<void> {
    const isWhole = ({ record }: Placed) => record.leader !== "" && record.inSync.length === BROKERS;
    await until(
      "all replicas are in sync",
      async () => {
        const placed = await this.placed(pollMs);
        return placed.length === partitions && placed.every(isWhole);
      },
      PATIENCE_MS * 4,
    );
  }

  /** What etcd has of the partitions; nothing if it does not answer. It is not asked more often than it takes. */
  async placed(pollMs = POLL_MS): Promise<Placed[]> {
    await Bun.sleep(pollMs);
    return this.records.partitions().catch(() => []);
  }

  async leader(): Promise<number> {
    const [placed] = await this.records.partitions([TOPIC]);
    return this.indexOf(placed?.record.leader ?? "");
  }

  indexOf(uid: string): number {
    return this.cluster.brokers.findIndex(({ tcp }) => tcp === this.records.addressOf(uid));
  }

  broker(index: number): ClusterServer {
    return this.cluster.brokers[index] as ClusterServer;
  }

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.cluster[Symbol.asyncDispose]();
  }
}

function show(name: string, values: number[]): void {
  const sorted = Float64Array.from(values).sort();
  const [p50, p95, most] = [quantile(sorted, 0.5), quantile(sorted, 0.95), sorted.at(-1) as number];
  console.log(`| ${name} | ${p50.toFixed(0)} | ${p95.toFixed(0)} | ${most.toFixed(0)} |`);
}

/** The leader ends in some way, again and again. */
async function leaderEnds(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
  await using site = await Site.start();
  await site.makeTopic(TOPIC, 1);
  await site.untilWhole(1);
  const traffic = Traffic.start(site.cluster);
  const times: Awaited<ReturnType<Traffic["untilFlows"]>>[] = [];
  const longest: number[] = [];
  try {
    await traffic.untilFlows(performance.now()).catch(() => {});
    for (let round = 1; round <= rounds; round++) {
      const leader = await site.leader();
      traffic.plainTo = site.broker((leader + 1) % BROKERS).http;
      await traffic.untilFlows(performance.now());
      const began = performance.now();
      const ended = site.broker(leader).stop(signal);
      const time = await traffic.untilFlows(began);
      times.push(time);
      await ended;
      const ends = performance.now();
      await traffic.untilFlows(ends);
      await site.broker(leader).start();
      await site.untilWhole(1);
      const slowest = traffic.latencies(began - UNDER_WAY_MS, ends).at(-1) as number;
      longest.push(slowest);
      console.log(
        `round ${round}: publishing after ${time.publishMs.toFixed(0)} ms, plain /pub ${time.plainMs.toFixed(0)}, ` +
          `delivery ${time.deliverMs.toFixed(0)}; slowest publish ${slowest.toFixed(0)} ms`,
      );
    }
  } finally {
    await traffic.end();
  }
  console.log(`\n| ${signal} of the leader, ${rounds} rounds, ms | p50 | p95 | most |\n| --- | ---: | ---: | ---: |`);
  show(
    "a publish is acknowledged by",
    times.map(({ publishMs }) => publishMs),
  );
  show(
    "POST /pub to another broker is by",
    times.map(({ plainMs }) => plainMs),
  );
  show(
    "a message is delivered by",
    times.map(({ deliverMs }) => deliverMs),
  );
  show("the slowest publish took", longest);
}

/** What publishing notices of a replica that comes back, and copies what it lacks. */
async function replicaReturns(): Promise<void> {
  await using site = await Site.start();
  await site.makeTopic(TOPIC, 1);
  await site.untilWhole(1);
  const traffic = Traffic.start(site.cluster);
  // Nobody consumes from this channel, so what the replica misses stays in the log.
  const { status, text } = await site.broker(await site.leader()).call("POST", `/channel/create?topic=${TOPIC}&channel=kept`);
  if (status !== 200) throw new Error(`no channel: ${status} ${text}`);
  const bulk = new Producer({ lookups: site.cluster.lookups.map(({ http }) => http) });
  const body = "x".repeat(1_000);
  try {
    await traffic.untilFlows(performance.now()).catch(() => {});
    const rows: [string, Float64Array][] = [];
    for (let round = 1; round <= 5; round++) {
      const follower = site.broker(((await site.leader()) + 1) % BROKERS);
      await follower.stop("SIGKILL");
      await traffic.untilFlows(performance.now()).catch(() => {});
      for (let i = 0; i < COPIED_BATCHES; i++)
        await bulk.publishBatch(
          TOPIC,
          Array.from({ length: 500 }, () => body),
        );
      const quiet = performance.now();
      await Bun.sleep(4_000);
      const began = performance.now();
      await follower.start();
      await site.untilWhole(1, SELDOM_MS);
      const whole = performance.now();
      // What is on its way is answered.
      await Bun.sleep(Math.max(500, 2_000 - (whole - began)));
      rows.push([`round ${round}, without it`, traffic.latencies(quiet, began)]);
      rows.push([`round ${round}, it copies 400 MB, ${(whole - began).toFixed(0)} ms from its start`, traffic.latencies(began, whole)]);
    }
    console.log("\n| time of a publish, ms | p50 | p99 | most |\n| --- | ---: | ---: | ---: |");
    for (const [name, times] of rows) {
      console.log(`| ${name} | ${quantile(times, 0.5).toFixed(1)} | ${quantile(times, 0.99).toFixed(1)} | ${times.at(-1)?.toFixed(1)} |`);
    }
  } finally {
    await Promise.all([traffic.end(), bulk.close({ drainMs: 1_000 })]);
  }
}

async function manyPartitions(): Promise<void> {
  await using site = await Site.start();
  const count = Number(values.partitions);
  const perTopic = Number(values["per-topic"]);
  const topics = Math.ceil(count / perTopic);
  const partitions = topics * perTopic;
  let began = performance.now();
  const since = () => `${(performance.now() - began).toFixed(0)} ms`;
  await site.makeTopics(topics, perTopic);
  console.log(`${topics} topics made by ${MAKERS} clients: ${since()}`);
  await site.untilWhole(partitions);
  console.log(`${partitions} partitions made and in sync: ${since()}`);
  await atRest(site);
  const before = await site.records.partitions();
  const victim = site.indexOf(before[0]?.record.leader ?? "");
  const led = before.filter(({ record }) => site.indexOf(record.leader) === victim).length;
  const revision = await site.records.revision();
  began = performance.now();
  await site.broker(victim).stop("SIGKILL");
  await site.untilOthersLead(partitions, victim);
  console.log(`fail-over of ${led} of them: ${since()}, ${(await site.records.revision()) - revision} writes to etcd`);
  began = performance.now();
  await site.broker(victim).start();
  await site.untilWhole(partitions);
  console.log(`that broker's return, until all its replicas are in sync: ${since()}`);
  began = performance.now();
  const spread = (placed: Placed[]) =>
    site.cluster.brokers.map((_, i) => placed.filter(({ record }) => site.indexOf(record.leader) === i).length);
  const isEven = async () => Math.min(...spread(await site.placed())) > (partitions / BROKERS) * 0.9;
  await until("leaders are spread again", isEven, PATIENCE_MS * 2)
    .then(async () => console.log(`leaders balanced: ${since()}, of which they rest 2 s: ${spread(await site.records.partitions())}`))
    .catch(async () => console.log(`leaders not balanced after ${since()}: ${spread(await site.records.partitions())}`));
  began = performance.now();
  const ended = site
    .broker(0)
    .stop("SIGTERM")
    .then(() => console.log(`a broker is told to end: it is gone after ${since()}`));
  await site.untilOthersLead(partitions, 0);
  console.log(`a broker is told to end: others lead after ${since()}`);
  await ended;
  await site.broker(0).start();
  await site.untilWhole(partitions);
  await Promise.all(site.cluster.brokers.map((broker) => broker.stop("SIGTERM")));
  began = performance.now();
  await Promise.all(site.cluster.brokers.map((broker) => broker.start()));
  await site.untilWhole(partitions);
  console.log(`start of all three brokers, until all is in sync: ${since()}`);
  await atRest(site);
}

async function atRest(site: Site): Promise<void> {
  await Bun.sleep(3_000);
  const from = await site.records.revision();
  await Bun.sleep(10_000);
  console.log(`at rest: ${(((await site.records.revision()) - from) / 10).toFixed(1)} writes to etcd a second, and renewals of leases`);
}

const ACTS: Record<string, () => Promise<void>> = {
  kill: () => leaderEnds("SIGKILL"),
  terminate: () => leaderEnds("SIGTERM"),
  return: replicaReturns,
  partitions: manyPartitions,
};
for (const name of values.only.split(",")) {
  const act = ACTS[name];
  if (act === undefined) throw new Error(`unknown: ${name}`);
  console.log(`\n== ${name}`);
  await act();
}
process.exit(0);
