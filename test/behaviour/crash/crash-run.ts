import { join } from "node:path";
import { Random } from "../../support/random.ts";
import { type Program, type Server, startServer, until } from "../../support/server.ts";
import { StallMonitor } from "../../support/stall-monitor.ts";
import { Churn } from "./churn.ts";
import { type ChannelLedger, type ChannelRules, type Ending, Ledger, type Promises } from "./ledger.ts";
import { BARRIER_TOPIC, Consumer, type ConsumerPlan, HttpProducer, type Life, now, Producer, type ProducerPlan } from "./workers.ts";

const MAIN = join(import.meta.dir, "../../../src/main.ts");

const LONG: ChannelRules = { msgTimeoutMs: 60_000, prompt: false };
const PROMPT: ChannelRules = { msgTimeoutMs: 60_000, prompt: true };
const SHORT: ChannelRules = { msgTimeoutMs: 1_000, prompt: true };

const MIXED: ConsumerPlan = {
  rdy: 300,
  finishLater: 0.08,
  requeueNow: 0.03,
  requeueLater: 0.02,
  maxRequeueDelayMs: 3_000,
  touch: 0.02,
  abandon: 0.001,
};
const PLAIN: ConsumerPlan = { rdy: 500, finishLater: 0, requeueNow: 0, requeueLater: 0, maxRequeueDelayMs: 0, touch: 0, abandon: 0 };
const REQUEUEING: ConsumerPlan = { ...MIXED, rdy: 2_000, requeueLater: 0.3, abandon: 0 };
const TOUCHING: ConsumerPlan = { ...MIXED, rdy: 1_000, touch: 0.2, abandon: 0.05, requeueLater: 0.05 };

interface Seat {
  topic: string;
  channel: string;
  rules: ChannelRules;
  plan: ConsumerPlan;
  consumers: number;
  /** In how many of the rounds anyone is there to consume. */
  attendance: number;
  /** Chance of one of its consumers leaving and coming back during a round. */
  restless: number;
}

/** The topics of one producer, CROWD. */
const CROWD_TOPICS = Array.from({ length: 8 }, (_, number) => `crowd-${number}`);

/** Topics with several partitions. */
const SPLIT_TOPICS = ["orders", "timers", "crowd-3"];

/** Channels in the order they are made: a topic's first one gets the topic's backlog. */
const SEATS: Seat[] = [
  { topic: BARRIER_TOPIC, channel: "sink", rules: LONG, plan: PLAIN, consumers: 1, attendance: 1, restless: 0 },
  { topic: "orders", channel: "billing", rules: LONG, plan: MIXED, consumers: 2, attendance: 1, restless: 0.4 },
  { topic: "orders", channel: "audit", rules: LONG, plan: PLAIN, consumers: 1, attendance: 1, restless: 0 },
  { topic: "events", channel: "fast", rules: LONG, plan: MIXED, consumers: 1, attendance: 0.9, restless: 0.2 },
  { topic: "events", channel: "lagging", rules: LONG, plan: MIXED, consumers: 1, attendance: 0.35, restless: 0 },
  { topic: "timers", channel: "first", rules: PROMPT, plan: REQUEUEING, consumers: 1, attendance: 1, restless: 0 },
  { topic: "timers", channel: "second", rules: PROMPT, plan: PLAIN, consumers: 2, attendance: 1, restless: 0.2 },
  { topic: "jobs", channel: "workers", rules: SHORT, plan: TOUCHING, consumers: 2, attendance: 1, restless: 0.3 },
  ...CROWD_TOPICS.map((topic) => ({ topic, channel: "all", rules: LONG, plan: PLAIN, consumers: 1, attendance: 0.7, restless: 0 })),
];

/** Comes after some rounds: until then its topic has no channel, and keeps everything for it. */
const BACKLOG_SEAT: Seat = { topic: "backlog", channel: "reader", rules: LONG, plan: MIXED, consumers: 1, attendance: 0.8, restless: 0 };

const FLOOD: ProducerPlan = { topics: ["orders", "events"], pub: 70, mpub: 20, dpub: 3, maxDelayMs: 2_000, maxPauseMs: 8, maxBurst: 12 };
const WEB: ProducerPlan = { topics: ["orders", "events"], pub: 60, mpub: 30, dpub: 5, maxDelayMs: 2_000, maxPauseMs: 10, maxBurst: 1 };
const KEYED: ProducerPlan = { ...FLOOD, topics: ["orders", "timers"], dpub: 0, headers: true, maxPauseMs: 20 };
/** Single messages to many topics in one turn: their commits go to the journal first. */
const CROWD: ProducerPlan = { topics: CROWD_TOPICS, pub: 92, mpub: 4, dpub: 2, maxDelayMs: 1_000, maxPauseMs: 10, maxBurst: 24 };
const TIMERS: ProducerPlan = { topics: ["timers"], pub: 10, mpub: 2, dpub: 88, maxDelayMs: 3_000, maxPauseMs: 15, maxBurst: 4 };
const JOBS: ProducerPlan = { topics: ["jobs", "backlog"], pub: 80, mpub: 4, dpub: 4, maxDelayMs: 500, maxPauseMs: 15, maxBurst: 3 };

const PLANS = [FLOOD, FLOOD, TIMERS, JOBS, CROWD];

/** A REQ's delay of more than 250 ms is kept over a crash; a shorter one may be cut short by it. */
const BUNSQ_PROMISES: Promises = { durableRequeueMs: 251, tailIsExact: true, lateBoundMs: 1_000 };
/** nsqd looks for due messages of a new channel only every five seconds. */
const NSQD_PROMISES: Promises = { durableRequeueMs: Number.POSITIVE_INFINITY, tailIsExact: false, lateBoundMs: 6_000 };

const DRAIN_WITHIN_MS = 30_000;

/** One broker's lives on one data path, with its clients and the ledger of what they saw. */
export class CrashRun {
  readonly ledger: Ledger;
  private readonly random: Random;
  private readonly stall = new StallMonitor();
  private readonly seats = [...SEATS];
  private server: Server | undefined;
  private life: Life | undefined;
  private startCount = 0;
  private producers: (Producer | HttpProducer)[] = [];
  private consumers: Consumer[] = [];
  /** Consumers that left and are coming back. */
  private returning: Promise<void>[] = [];
  /** Warnings and errors in the logs of all lives: shown, not judged, as the recovery's wording is the broker's. */
  private readonly warnings: string[] = [];
  /** nsqd has no seek, and would lose what this looks for. */
  private readonly churn: Churn | undefined;

  constructor(
    private readonly program: Program,
    private readonly dataPath: string,
    seed: number,
  ) {
    this.random = new Random(seed);
    this.ledger = new Ledger(program === "bunsq" ? BUNSQ_PROMISES : NSQD_PROMISES, () => this.stall.ms());
    this.churn = program === "bunsq" ? new Churn(this.ledger) : undefined;
  }

  /** A life: start, work, and an end at a random moment. */
  async round(round: number, rounds: number): Promise<void> {
    const { random } = this;
    if (random.chance(0.12)) await this.killWhileStarting();
    if (round === Math.floor(rounds / 5)) {
      this.seats.push(BACKLOG_SEAT);
    }
    if (round > 0 && round % Math.ceil(rounds / 4) === 0) {
      this.seats.push({ topic: "events", channel: `late-${round}`, rules: LONG, plan: PLAIN, consumers: 1, attendance: 0.7, restless: 0 });
    }
    const isCrash = random.chance(0.8);
    const workMs = random.int(150, 1_500);
    const life = await this.start(random.chance(0.5) ? ["--max-bytes-per-file=65536"] : []);
    const endAtMs = now() + workMs;
    const working = this.work(
      life,
      this.seats.filter((seat) => random.chance(seat.attendance)),
    );
    await Bun.sleep(endAtMs - now());
    await this.end(isCrash ? "crash" : "clean", working);
  }

  /** One life without an accident: what the ledger finds fault with here is the ledger's own mistake. */
  async undisturbedLife(deliveries: number): Promise<void> {
    this.seats.push(BACKLOG_SEAT);
    const life = await this.start([]);
    // nsqd gives a lost consumer's messages back only when they time out.
    await this.work(life, this.program === "nsqd" ? this.seats.map((seat) => ({ ...seat, restless: 0 })) : this.seats);
    await until(`${deliveries} deliveries`, () => this.ledger.deliveryCount >= deliveries, 60_000);
    await this.finishEverything(life);
    await this.end("clean", Promise.resolve());
    this.ledger.endOfRun();
    this.failOnViolations();
  }

  /** Everything still owed must come now; afterwards the broker is empty, and stays so over a restart. */
  async drainAndCompare(): Promise<void> {
    const life = await this.start([]);
    life.draining = true;
    await this.work(life, this.seats, false);
    await this.churn?.drainAll(life);
    await this.finishEverything(life);
    await this.end("clean", Promise.resolve());

    // What comes now without being owed is a resurrection, which the ledger sees; new messages show that all would come.
    const again = await this.start([]);
    await this.untilEmpty();
    again.draining = true;
    await this.work(again, this.seats, false);
    this.producers.push(await Producer.start(again, { ...JOBS, topics: ["orders", "events", "timers", "jobs", "backlog"] }));
    const before = this.ledger.batches.length;
    await until("some new messages are out", () => this.ledger.batches.length > before + 50);
    await this.finishEverything(again);
    await this.end("clean", Promise.resolve());
    this.ledger.endOfRun();
    this.failOnViolations();
  }

  summary(): string {
    const { ledger } = this;
    const crashes = ledger.endings.filter((ending) => ending.kind === "crash").length;
    // Without its time a line that every life repeats shows once.
    const kinds = [...new Set(this.warnings.map((line) => line.replace(/^\[nsqd\] \S+ \S+ /, "")))];
    const warnings = kinds.length === 0 ? "" : `\nwarnings in the logs (${this.warnings.length}):\n${kinds.slice(0, 5).join("\n")}`;
    return (
      `${ledger.endings.length} lives (${crashes} killed), ${ledger.messages.length} messages in ${ledger.batches.length} publish calls, ` +
      `${ledger.deliveryCount} deliveries of which ${ledger.redeliveryCount} again, ` +
      `${this.churn?.steps ?? 0} steps of making, deleting, pausing, reading and seeking${warnings}`
    );
  }

  async killAll(): Promise<void> {
    this.stall.stop();
    for (const worker of [...this.producers, ...this.consumers]) worker.close();
    await this.server?.stop("SIGKILL");
  }

  private async finishEverything(life: Life): Promise<void> {
    for (const producer of this.producers) producer.stop();
    life.draining = true;
    await this.churn?.settled();
    await until("the producers have their answers", () => this.producers.every((producer) => producer.settled));
    life.draining = true;
    for (const consumer of this.consumers) if (!consumer.closed) consumer.finishAbandoned();
    await this.untilNothingMissing();
    await until("the broker's word on every answer is in", () => this.consumers.every((consumer) => consumer.closed || consumer.settled));
    await this.untilNothingMissing();
    await this.untilEmpty();
  }

  /** Waits until everything acknowledged has been finished. */
  private async untilNothingMissing(): Promise<void> {
    await until("everything acknowledged has been finished", () => this.nothingMissing(), DRAIN_WITHIN_MS).catch(async (error: Error) => {
      const { count, examples } = this.ledger.missing();
      throw new Error(`${error.message}; ${count} missing: ${examples.join("; ")}\n${this.lives()}\nstats: ${await this.stats()}`);
    });
  }

  /** Looks with pauses, because a look at a million messages would keep the consumers from their sockets until their messages time out. */
  private async nothingMissing(): Promise<boolean> {
    this.failOnViolations();
    for (const found of this.ledger.look()) {
      await Bun.sleep(5);
      if (found !== undefined) return false;
    }
    return true;
  }

  private async start(args: string[]): Promise<Life> {
    const server = await startServer({ program: this.program, dataPath: this.dataPath, args });
    this.server = server;
    this.life = {
      ledger: this.ledger,
      random: this.random,
      tcpPort: server.tcpPort,
      httpPort: server.httpPort,
      ending: false,
      draining: false,
    };
    await this.churn?.verify(this.life);
    if (this.program === "bunsq") await this.split(server.httpPort);
    return this.life;
  }

  /** Some topics have several partitions, and get more in the course of the lives. */
  private async split(httpPort: number): Promise<void> {
    for (const topic of SPLIT_TOPICS) {
      const count = 3 + Math.floor(this.startCount / 8);
      const url = `http://127.0.0.1:${httpPort}/topic/create?topic=${topic}&partition_num=${count}`;
      const response = await fetch(url, { method: "POST" });
      if (!response.ok) throw new Error(`${url}: ${await response.text()}`);
    }
    this.startCount++;
  }

  /** Recovery itself may be killed, and must then start over. */
  private async killWhileStarting(): Promise<void> {
    const command = [process.execPath, MAIN, "--mode=broker", "--tcp-address=127.0.0.1:0", "--http-address=127.0.0.1:0"];
    const child = Bun.spawn([...command, `--data-path=${this.dataPath}`], { stdin: "ignore", stdout: "ignore", stderr: "ignore" });
    await Bun.sleep(this.random.int(20, 300));
    child.kill("SIGKILL");
    await child.exited;
  }

  /** Clients come: consumers one after the other, so that it is known which channel was first, producers meanwhile. */
  private async work(life: Life, seats: Seat[], withProducers = true): Promise<void> {
    this.producers = [];
    this.consumers = [];
    this.returning = [];
    try {
      if (withProducers) {
        this.churn?.start(life);
        for (const plan of this.program === "bunsq" ? [...PLANS, KEYED] : PLANS) this.producers.push(await Producer.start(life, plan));
        for (const plan of [WEB, WEB]) this.producers.push(await HttpProducer.start(life, plan));
      }
      for (const seat of seats) {
        const channel = this.ledger.channel(seat.topic, seat.channel, seat.rules);
        for (let i = 0; i < seat.consumers; i++) await this.seatConsumer(life, seat, channel, withProducers);
      }
    } catch (error) {
      if (!life.ending) throw error;
    }
  }

  private async seatConsumer(life: Life, seat: Seat, channel: ChannelLedger, mayLeave: boolean): Promise<void> {
    const consumer = await Consumer.start(life, channel, seat.plan);
    this.consumers.push(consumer);
    if (!mayLeave || !life.random.chance(seat.restless)) return;
    setTimeout(
      () => {
        if (life.ending || consumer.closed) return;
        consumer.close();
        this.returning.push(
          Consumer.start(life, channel, seat.plan).then(
            (next) => void this.consumers.push(next),
            (error: Error) => {
              if (!life.ending) this.ledger.violation(`a consumer could not come back: ${error.message}`);
            },
          ),
        );
      },
      life.random.int(50, 1_000),
    );
  }

  private async end(kind: "crash" | "clean", working: Promise<void>): Promise<void> {
    const server = this.server as Server;
    const life = this.life as Life;
    if (server.process.exitCode !== null || server.process.signalCode !== null) {
      throw new Error(
        `the broker died by itself: code ${server.process.exitCode} ${server.process.signalCode}\n${server.log().slice(-4_000)}`,
      );
    }
    life.ending = true;
    this.ledger.isStopping = kind === "clean";
    const atMs = now();
    const code = await server.stop(kind === "crash" ? "SIGKILL" : "SIGTERM");
    this.server = undefined;
    if (kind === "clean" && code !== 0) throw new Error(`a clean stop ended with code ${code}\n${server.log().slice(-4_000)}`);
    await working;
    await Promise.all(this.returning);
    await this.churn?.settled();
    const workers = [...this.producers, ...this.consumers];
    await until("the clients have seen the end of their connections", () => workers.every((worker) => worker.closed));
    for (const consumer of this.consumers) consumer.disconnected();
    this.ledger.lifeEnded(kind, atMs);
    this.churn?.lifeEnded(this.ledger.endings.at(-1) as Ending);
    this.warnings.push(
      ...(server.log().match(/^.*(WARN|ERROR|FATAL).*$/gm) ?? []).filter((line) => !/E_(FIN|REQ|TOUCH)_FAILED/.test(line)),
    );
    this.failOnViolations(server.log());
  }

  private failOnViolations(log = this.server?.log() ?? ""): void {
    const { violations, violationCount } = this.ledger;
    if (violationCount === 0) return;
    throw new Error(
      `${violationCount} violations:\n${violations.join("\n")}\n${this.lives()}\nlog of the last life:\n${log.slice(-3_000)}`,
    );
  }

  private lives(): string {
    return `lives ended: ${this.ledger.endings.map(({ kind, atMs }, life) => `${life} ${kind} at ${atMs.toFixed(0)}`).join(", ")}`;
  }

  /** What the broker says of itself, or why it says nothing. */
  private async stats(): Promise<string> {
    const { httpPort } = this.server as Server;
    try {
      return await (await fetch(`http://127.0.0.1:${httpPort}/stats`, { signal: AbortSignal.timeout(3_000) })).text();
    } catch (error) {
      return `none: ${(error as Error).message}`;
    }
  }

  private async untilEmpty(): Promise<void> {
    let last = "";
    await until(
      "every channel is empty",
      async () => {
        this.failOnViolations();
        last = await (await (this.server as Server).http("GET", "/stats?format=json")).text();
        const { topics } = JSON.parse(last) as {
          topics: { depth: number; channels: { depth: number; in_flight_count: number; deferred_count: number }[] }[];
        };
        return topics.every(
          (topic) =>
            topic.channels.length > 0 &&
            topic.depth === 0 &&
            topic.channels.every((channel) => channel.depth === 0 && channel.in_flight_count === 0 && channel.deferred_count === 0),
        );
      },
      15_000,
    ).catch((error: Error) => {
      throw new Error(`${error.message}; stats: ${last}`);
    });
  }
}
