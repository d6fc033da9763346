import { HttpConnection } from "../../support/http-publisher.ts";
import type { Random } from "../../support/random.ts";
import { type Frame, RawClient } from "../../support/raw-client.ts";
import { decodeBody, encodeBody, MAX_FILLER_BYTES } from "./body.ts";
import { type ChannelLedger, ConsumerLedger, type Delivery, type Ledger, LONG_TIMEOUT_MS, type Message } from "./ledger.ts";

/** Where barriers are published: an answer to one proves that the connection's earlier commands were read. */
export const BARRIER_TOPIC = "echo";

/** What all workers of one life share. */
export interface Life {
  readonly ledger: Ledger;
  readonly random: Random;
  readonly tcpPort: number;
  readonly httpPort: number;
  /** The broker has been told to stop, or killed: refusals and broken connections are to be expected. */
  ending: boolean;
  /** No more mischief: consumers finish everything at once. */
  draining: boolean;
}

export const now = (): number => performance.now();

/** A worker's connections are closed; reading what had already arrived is over. */
export interface Worker {
  readonly closed: boolean;
  /** Leaves of its own accord. */
  close(): void;
}

function bodyOf(message: Message, random: Random): string {
  const filler = random.chance(0.02) ? random.int(0, MAX_FILLER_BYTES) : random.int(0, 400);
  return encodeBody(message.facts, filler);
}

/** How a producer spends its time. Weights are relative. */
export interface ProducerPlan {
  topics: string[];
  pub: number;
  mpub: number;
  dpub: number;
  /** Longest delay of a DPUB, in ms. */
  maxDelayMs: number;
  /** Half of the single messages have a header, with a key. The topics exist. */
  headers?: true;
  /** Longest pause between two bursts, in ms, and most calls in one. */
  maxPauseMs: number;
  maxBurst: number;
}

/** What PUB_EXT sends: the length of the header, the header, and the body. */
function withHeader(text: string, random: Random): Buffer {
  const header = Buffer.from(JSON.stringify({ "##key": `key ${random.int(0, 99)}`, of: "x".repeat(random.int(0, 200)) }));
  const length = Buffer.alloc(2);
  length.writeUInt16BE(header.length);
  return Buffer.concat([length, header, Buffer.from(text)]);
}

const WINDOW_CALLS = 32;

/** Publishes over TCP, pipelined, until the connection or the life ends. */
export class Producer implements Worker {
  private readonly outstanding: Message[][] = [];
  private stopped = false;

  private constructor(
    private readonly life: Life,
    private readonly client: RawClient,
    private readonly plan: ProducerPlan,
  ) {}

  static async start(life: Life, plan: ProducerPlan): Promise<Producer> {
    const client = await RawClient.connect(life.tcpPort);
    const producer = new Producer(life, client, plan);
    client.onFrame = (frame) => producer.answered(frame);
    void producer.run();
    return producer;
  }

  get closed(): boolean {
    return this.client.closed;
  }

  /** Stops publishing; resolved when everything sent has its answer. */
  get settled(): boolean {
    return this.outstanding.length === 0;
  }

  stop(): void {
    this.stopped = true;
  }

  close(): void {
    this.stopped = true;
    this.client.close();
  }

  private async run(): Promise<void> {
    const { random } = this.life;
    while (!this.stopped && !this.client.closed) {
      for (let calls = random.int(1, this.plan.maxBurst); calls > 0 && this.outstanding.length < WINDOW_CALLS; calls--) this.publish();
      await Bun.sleep(random.int(1, this.plan.maxPauseMs));
    }
  }

  private publish(): void {
    const { random, ledger } = this.life;
    const { plan } = this;
    const { pub, mpub, dpub } = plan;
    const topic = random.pick(plan.topics);
    const kind = random.next() * (pub + mpub + dpub);
    const delayMs = kind >= pub + mpub ? random.int(1, plan.maxDelayMs) : 0;
    const isBatch = kind >= pub && kind < pub + mpub;
    const batch = ledger.publishing(topic, isBatch ? random.int(1, 40) : 1, delayMs, now());
    const bodies = batch.map((message) => bodyOf(message, random));
    this.outstanding.push(batch);
    if (isBatch) this.client.mpub(topic, bodies);
    else if (delayMs > 0) this.client.command(`DPUB ${topic} ${delayMs}`, bodies[0] as string);
    else if (plan.headers && random.chance(0.5)) this.client.command(`PUB_EXT ${topic}`, withHeader(bodies[0] as string, random));
    else this.client.command(`PUB ${topic}`, bodies[0] as string);
  }

  private answered(frame: Frame): void {
    const batch = this.outstanding.shift();
    if (!batch) return this.life.ledger.violation(`a producer got ${frame.type} ${frame.text} for nothing`);
    if (frame.type === "response" && frame.text === "OK") this.life.ledger.acknowledged(batch, now());
    else if (!this.life.ending) this.life.ledger.violation(`a publish was answered with ${frame.type} ${frame.text}`);
  }
}

/** Publishes over HTTP, one request after the other: /pub, /pub with defer, and both forms of /mpub. */
export class HttpProducer implements Worker {
  private stopped = false;
  private busy = false;

  private constructor(
    private readonly life: Life,
    private readonly connection: HttpConnection,
    private readonly plan: ProducerPlan,
  ) {}

  static async start(life: Life, plan: ProducerPlan): Promise<HttpProducer> {
    const producer = new HttpProducer(life, await HttpConnection.connect(life.httpPort), plan);
    void producer.run();
    return producer;
  }

  get closed(): boolean {
    return this.connection.closed;
  }

  get settled(): boolean {
    return !this.busy;
  }

  stop(): void {
    this.stopped = true;
  }

  close(): void {
    this.stopped = true;
    this.connection.close();
  }

  private async run(): Promise<void> {
    const { random, ledger } = this.life;
    while (!this.stopped && !this.connection.closed) {
      this.busy = true;
      try {
        await this.publish();
      } catch (error) {
        if (!this.life.ending) ledger.violation(`an HTTP publish failed: ${error}`);
      }
      this.busy = false;
      await Bun.sleep(random.int(1, this.plan.maxPauseMs));
    }
  }

  private async publish(): Promise<void> {
    const { random, ledger } = this.life;
    const { pub, mpub, dpub } = this.plan;
    const topic = random.pick(this.plan.topics);
    const kind = random.next() * (pub + mpub + dpub);
    const delayMs = kind >= pub + mpub ? random.int(1, this.plan.maxDelayMs) : 0;
    const isBatch = kind >= pub && kind < pub + mpub;
    const batch = ledger.publishing(topic, isBatch ? random.int(1, 40) : 1, delayMs, now());
    const bodies = batch.map((message) => bodyOf(message, random));
    const request = isBatch
      ? random.chance(0.5)
        ? { path: `/mpub?topic=${topic}`, body: bodies.join("\n") }
        : { path: `/mpub?topic=${topic}&binary=true`, body: binaryBatch(bodies) }
      : { path: `/pub?topic=${topic}${delayMs > 0 ? `&defer=${delayMs}` : ""}`, body: bodies[0] as string };
    const status = await this.connection.post(request.path, request.body);
    if (status === 200) ledger.acknowledged(batch, now());
    else if (!this.life.ending) ledger.violation(`POST ${request.path} was answered with status ${status}`);
  }
}

/** MPUB's body as a latin1 string. */
function binaryBatch(bodies: string[]): string {
  const word = (value: number) => String.fromCharCode(value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);
  return word(bodies.length) + bodies.map((body) => word(body.length) + body).join("");
}

/** What a consumer does with its messages, in shares of one; the rest is finished at once. */
export interface ConsumerPlan {
  rdy: number;
  /** Finished after up to 400 ms. */
  finishLater: number;
  requeueNow: number;
  requeueLater: number;
  maxRequeueDelayMs: number;
  /** Touched a few times, in between a good part of the time-out, and then finished. */
  touch: number;
  /** Never answered. */
  abandon: number;
}

/** More attempts than this and the message is simply finished, so that every run comes to an end. */
const MISCHIEF_ATTEMPTS = 5;
const BARRIER_EVERY_MS = 10;

/** Consumes one channel and answers as its plan and the dice say; proves to the ledger what the broker has read. */
export class Consumer implements Worker {
  private readonly barriers: { batch: Message[]; covers: number }[] = [];
  private readonly timers = new Set<ReturnType<typeof setTimeout>>();
  private readonly barrierTimer: ReturnType<typeof setInterval>;
  private readonly abandoned: { delivery: Delivery; id: string }[] = [];
  private readonly view: ConsumerLedger;

  private constructor(
    private readonly life: Life,
    private readonly client: RawClient,
    channel: ChannelLedger,
    private readonly plan: ConsumerPlan,
  ) {
    this.view = new ConsumerLedger(life.ledger, channel);
    this.barrierTimer = setInterval(() => this.barrier(), BARRIER_EVERY_MS);
  }

  static async start(life: Life, channel: ChannelLedger, plan: ConsumerPlan): Promise<Consumer> {
    const client = await RawClient.connect(life.tcpPort);
    const identified = await client.call("IDENTIFY", JSON.stringify({ msg_timeout: channel.rules.msgTimeoutMs }));
    if (identified !== "OK") throw new Error(`IDENTIFY was answered with ${identified}`);
    channel.creatingMs = Math.min(channel.creatingMs, now());
    await client.call(`SUB ${channel.topic.name} ${channel.name}`);
    channel.createdMs = Math.min(channel.createdMs, now());
    const consumer = new Consumer(life, client, channel, plan);
    client.onFrame = (frame) => consumer.receive(frame);
    client.command(`RDY ${plan.rdy}`);
    channel.attachedMs = Math.min(channel.attachedMs, now());
    return consumer;
  }

  get closed(): boolean {
    return this.client.closed;
  }

  /** Whether the broker's word on every answer sent is in. */
  get settled(): boolean {
    return this.barriers.length === 0 && (this.view.unconfirmed === 0 || this.isEcho);
  }

  private get isEcho(): boolean {
    return this.view.channel.topic.name === BARRIER_TOPIC;
  }

  /** Finishes what it wanted to keep without a word, where that would outlast the test. */
  finishAbandoned(): void {
    for (const { delivery, id } of this.abandoned.splice(0)) this.finish(delivery, id);
  }

  close(): void {
    this.client.close();
    this.disconnected();
  }

  /** The connection is closed: what it held is the broker's again. */
  disconnected(): void {
    clearInterval(this.barrierTimer);
    for (const timer of this.timers) clearTimeout(timer);
    this.timers.clear();
    if (this.view.connected) this.view.disconnected(now());
  }

  private receive(frame: Frame): void {
    if (frame.type === "message") return this.message(frame);
    const { ledger } = this.life;
    if (frame.type === "response" && frame.text === "OK") {
      const barrier = this.barriers.shift();
      if (!barrier) return ledger.violation("a consumer got an OK for nothing");
      ledger.acknowledged(barrier.batch, now());
      this.view.confirmed(barrier.covers, now());
      for (const later of this.barriers) later.covers -= barrier.covers;
      return;
    }
    const failed = /^E_(FIN|REQ|TOUCH)_FAILED \1 ([0-9a-f]{16}) failed/.exec(frame.text);
    if (failed) this.view.failed(failed[1] as "FIN" | "REQ" | "TOUCH", failed[2] as string);
    else if (!this.life.ending) ledger.violation(`a consumer got ${frame.type} ${frame.text}`);
  }

  private message(frame: Frame): void {
    let facts: ReturnType<typeof decodeBody>;
    try {
      facts = decodeBody(frame.text);
    } catch (error) {
      return this.life.ledger.violation((error as Error).message);
    }
    const delivery = this.life.ledger.delivered(this.view, facts, frame.attempts, now());
    if (!delivery) return;
    if (this.life.draining || frame.attempts > MISCHIEF_ATTEMPTS) return this.finish(delivery, frame.id);
    this.answer(delivery, frame.id);
  }

  private answer(delivery: Delivery, id: string): void {
    const { random } = this.life;
    const { plan } = this;
    let dice = random.next();
    const falls = (share: number) => {
      dice -= share;
      return dice < 0;
    };
    if (falls(plan.finishLater)) this.after(random.int(1, 400), () => this.finish(delivery, id));
    else if (falls(plan.requeueNow)) this.requeue(delivery, id, 0);
    else if (falls(plan.requeueLater)) this.requeue(delivery, id, random.int(1, plan.maxRequeueDelayMs));
    else if (falls(plan.touch)) this.touchThenFinish(delivery, id, random.int(1, 3));
    else if (falls(plan.abandon)) this.abandon(delivery, id);
    else this.finish(delivery, id);
  }

  private abandon(delivery: Delivery, id: string): void {
    this.view.abandon(delivery, now());
    if (this.view.channel.rules.msgTimeoutMs > LONG_TIMEOUT_MS) this.abandoned.push({ delivery, id });
  }

  private finish(delivery: Delivery, id: string): void {
    this.view.finish(delivery, id, now());
    this.client.command(`FIN ${id}`);
  }

  private requeue(delivery: Delivery, id: string, delayMs: number): void {
    this.view.requeue(delivery, id, delayMs, now());
    this.client.command(`REQ ${id} ${delayMs}`);
  }

  private touchThenFinish(delivery: Delivery, id: string, times: number): void {
    const pauseMs = Math.min(400, this.view.channel.rules.msgTimeoutMs * 0.4);
    this.after(pauseMs, () => {
      if (times === 0) return this.finish(delivery, id);
      this.view.touch(delivery, id, now());
      this.client.command(`TOUCH ${id}`);
      this.touchThenFinish(delivery, id, times - 1);
    });
  }

  private after(delayMs: number, act: () => void): void {
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      if (!this.client.closed) act();
    }, delayMs);
    this.timers.add(timer);
  }

  private barrier(): void {
    // The barriers' own consumer would go on for ever: each of its barriers is a message to finish.
    if (this.isEcho && this.life.draining) return;
    const covered = this.barriers.at(-1)?.covers ?? 0;
    if (this.client.closed || this.view.unconfirmed === covered || this.barriers.length >= 4) return;
    const batch = this.life.ledger.publishing(BARRIER_TOPIC, 1, 0, now());
    this.barriers.push({ batch, covers: this.view.unconfirmed });
    this.client.command(`PUB ${BARRIER_TOPIC}`, bodyOf(batch[0] as Message, this.life.random));
  }
}
