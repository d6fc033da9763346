import type { BodyFacts } from "./body.ts";

/** A FIN that the broker had read this long before a kill -9 must have reached the disk (issue's promise). */
export const FINISHED_IS_DURABLE_MS = 300;
/** Clocks are read in two processes and rounded to a millisecond in one of them. */
const EARLY_TOLERANCE_MS = 5;
/** The broker may go on sending to a connection for this long after the test closed it. */
const NOTICED_AFTER_MS = 500;
/** With the test process stalled longer than this, deliveries may have timed out unread: attempts are then not exact. */
const EXACT_BELOW_STALL_MS = 200;
/** A channel whose time-out is longer than this sees none within a test. */
export const LONG_TIMEOUT_MS = 30_000;
const MAX_REPORTED = 15;

/** One message, from the moment a publish call was sent. */
export interface Message {
  readonly facts: BodyFacts;
  readonly topic: TopicLedger;
  readonly delayMs: number;
  readonly sentMs: number;
  /** When its OK was read; Infinity until then. */
  acknowledgedMs: number;
}

type State =
  /** It must come (again), not before notBeforeMs. */
  | "waiting"
  | "in flight"
  /** FIN sent, and no later answer on that connection seen yet. */
  | "fin sent"
  /** FIN sent, and the broker has certainly read it. */
  | "finished"
  /** FIN sent, but the connection was lost before the broker's word on it: it may come again or not. */
  | "maybe finished"
  | "req sent";

/** What is known of one message in one channel. */
export class Delivery {
  state: State = "waiting";
  attempts = 0;
  /** How often it was read: tells an answer to an earlier delivery from one to the latest. */
  serial = 0;
  consumer: ConsumerLedger | undefined;
  life = 0;
  /** While waiting: it must not come earlier. */
  notBeforeMs = 0;
  /** While in flight: it must not come again earlier. */
  heldUntilMs = 0;
  finishedMs = 0;
  finishedLife = 0;
  /** While waiting for a confirmed REQ: since when the broker has it, and for how long it was asked to wait. */
  requeuedMs = 0;
  requeueDelayMs = 0;
  /** What befell it beside the plain delivery and FIN of most: kept for those alone, to be told when it goes wrong. */
  private story: string[] | undefined;

  constructor(
    readonly message: Message,
    readonly channel: ChannelLedger,
  ) {}

  note(what: string, atMs: number): void {
    this.story ??= [];
    this.story.push(`${what} at ${atMs.toFixed(0)}`);
  }

  get history(): string {
    return this.story?.join(", ") ?? "";
  }
}

export class TopicLedger {
  readonly messages: Message[] = [];
  readonly channels: ChannelLedger[] = [];

  constructor(readonly name: string) {}
}

export interface ChannelRules {
  /** How long the broker waits for an answer of this channel's consumers. */
  msgTimeoutMs: number;
  /** Whether deferred messages must come promptly: little traffic, and a consumer with room in every life. */
  prompt: boolean;
}

export class ChannelLedger {
  readonly deliveries = new Map<number, Delivery>();
  /** When its creation was first asked for, and first confirmed. */
  creatingMs = Number.POSITIVE_INFINITY;
  createdMs = Number.POSITIVE_INFINITY;
  /** When a consumer got ready in this life of the broker; Infinity: none yet. */
  attachedMs = Number.POSITIVE_INFINITY;
  /** When a delivery may last have been lost unseen: a consumer went, or the broker did. */
  disturbedMs = 0;
  /** By message number: when it has to come at the latest, before the bound. Prompt channels only. */
  readonly dueBy = new Map<number, number>();
  readonly requeued = new Set<Delivery>();

  constructor(
    readonly topic: TopicLedger,
    readonly name: string,
    readonly rules: ChannelRules,
  ) {}

  /** The backlog of a topic waits for its first channel; later channels start at the tail. True: no other was asked for before it was there. */
  get isFirst(): boolean {
    return this.topic.channels.every((other) => other === this || other.creatingMs > this.createdMs);
  }

  /** A channel that was asked for before this one may never have been made, because a kill came. */
  get mayBeFirst(): boolean {
    return this.topic.channels.every((other) => other === this || other.createdMs >= this.creatingMs);
  }
}

type Answer = "FIN" | "REQ" | "TOUCH";

interface PendingAnswer {
  kind: Answer;
  id: string;
  delivery: Delivery;
  serial: number;
  sentMs: number;
  delayMs: number;
  failed: boolean;
}

/** What one consumer connection sent, in order, and which of it the broker has certainly read. */
export class ConsumerLedger {
  readonly held = new Set<Delivery>();
  private readonly pending: PendingAnswer[] = [];
  connected = true;

  constructor(
    private readonly ledger: Ledger,
    readonly channel: ChannelLedger,
  ) {}

  finish(delivery: Delivery, id: string, nowMs: number): void {
    if (delivery.consumer === this && delivery.state === "in flight") delivery.state = "fin sent";
    this.answer("FIN", delivery, id, nowMs, 0);
  }

  requeue(delivery: Delivery, id: string, delayMs: number, nowMs: number): void {
    delivery.note(`REQ ${delayMs} of ${id}`, nowMs);
    if (delivery.consumer === this && delivery.state === "in flight") {
      delivery.state = "req sent";
      delivery.notBeforeMs = nowMs + delayMs;
    }
    this.answer("REQ", delivery, id, nowMs, delayMs);
  }

  touch(delivery: Delivery, id: string, nowMs: number): void {
    this.answer("TOUCH", delivery, id, nowMs, 0);
  }

  /** It will get no answer: the broker has to notice, on time. */
  abandon(delivery: Delivery, nowMs: number): void {
    if (this.channel.rules.prompt) this.channel.dueBy.set(delivery.message.facts.number, nowMs + this.channel.rules.msgTimeoutMs);
  }

  /** The broker answered `kind` for message `id` with an error: right only if the message had timed out. */
  failed(kind: Answer, id: string): void {
    const answer = this.pending.findLast((pending) => pending.kind === kind && pending.id === id && !pending.failed);
    if (!answer) return this.ledger.violation(`${kind}_FAILED for ${id}, which is not waiting for a word`);
    answer.failed = true;
    const name = describe(answer.delivery);
    if (this.channel.rules.msgTimeoutMs > LONG_TIMEOUT_MS) this.ledger.violation(`${kind} of ${name} failed without cause`);
  }

  /** How many answers have been sent so far and not been confirmed: pass it to confirmed() later. */
  get unconfirmed(): number {
    return this.pending.length;
  }

  /** The broker answered something sent after the first `count` unconfirmed answers: it has read those. */
  confirmed(count: number, nowMs: number): void {
    for (const answer of this.pending.splice(0, count)) this.confirm(answer, nowMs);
  }

  disconnected(nowMs: number): void {
    this.connected = false;
    for (const delivery of this.held) {
      delivery.note(`disconnected (${delivery.state})`, nowMs);
      if (delivery.consumer !== this) continue;
      if (delivery.state === "fin sent") delivery.state = "maybe finished";
      else if (delivery.state === "in flight" || delivery.state === "req sent") {
        // The REQ may have been read or not: the message may come at once, or only after the REQ's delay.
        const dueByMs = delivery.state === "req sent" ? Math.max(nowMs, delivery.notBeforeMs) : nowMs;
        if (this.channel.rules.prompt) this.channel.dueBy.set(delivery.message.facts.number, dueByMs);
        delivery.state = "waiting";
        delivery.notBeforeMs = 0;
      }
    }
    this.held.clear();
    this.pending.length = 0;
    this.channel.disturbedMs = nowMs + NOTICED_AFTER_MS;
  }

  private answer(kind: Answer, delivery: Delivery, id: string, sentMs: number, delayMs: number): void {
    this.pending.push({ kind, id, delivery, serial: delivery.serial, sentMs, delayMs, failed: false });
  }

  private confirm({ kind, delivery, serial, sentMs, delayMs, failed }: PendingAnswer, nowMs: number): void {
    const isLatest = delivery.serial === serial && delivery.consumer === this;
    if (kind === "TOUCH") {
      if (isLatest && !failed && delivery.state === "in flight") delivery.heldUntilMs = sentMs + this.channel.rules.msgTimeoutMs;
      return;
    }
    if (failed) {
      // It had timed out: it has come again, or will.
      if (isLatest && (delivery.state === "fin sent" || delivery.state === "req sent")) {
        delivery.state = "waiting";
        delivery.notBeforeMs = 0;
        this.held.delete(delivery);
      }
      return;
    }
    if (kind === "FIN") {
      // Timed out and given to this same connection again, the first FIN finishes the second delivery.
      if (!isLatest && delivery.consumer !== this) {
        return this.ledger.violation(`${describe(delivery)} was given to another consumer although its FIN was taken`);
      }
      delivery.state = "finished";
      delivery.finishedMs = nowMs;
      delivery.finishedLife = this.ledger.life;
      this.channel.dueBy.delete(delivery.message.facts.number);
      this.held.delete(delivery);
      return;
    }
    if (!isLatest) return; // requeued, and already back
    delivery.state = "waiting";
    delivery.requeuedMs = nowMs;
    delivery.requeueDelayMs = delayMs;
    delivery.note("REQ confirmed", nowMs);
    this.held.delete(delivery);
    this.channel.requeued.add(delivery);
    if (this.channel.rules.prompt) this.channel.dueBy.set(delivery.message.facts.number, nowMs + delayMs);
  }
}

/** A message that has to come to a channel, or to be finished there. */
export interface Owed {
  message: Message;
  channel: ChannelLedger;
  /** Undefined: it never came. */
  delivery: Delivery | undefined;
}

/** How one life of the broker ended. */
export interface Ending {
  kind: "crash" | "clean";
  atMs: number;
  /** How long before its end a message must have been finished, or requeued, to stay so. */
  durableMs: number;
}

export interface Promises {
  /** A REQ's delay at least this long survives a crash; Infinity: none does. */
  durableRequeueMs: number;
  /** Whether a later channel gets nothing that was acknowledged before it was asked for (nsqd: not quite). */
  tailIsExact: boolean;
  /** How long after it was due, or after the channel got a consumer again, a message comes at the latest. */
  lateBoundMs: number;
}

/**
 * What clients have seen of a broker over several lives, and what follows from it: each event is checked when it
 * is told, the rest by endOfRun(). Times are in ms of one clock of the test's. It does no input or output, so that
 * it can itself be tested.
 */
export class Ledger {
  readonly violations: string[] = [];
  violationCount = 0;
  readonly topics = new Map<string, TopicLedger>();
  readonly messages: Message[] = [];
  readonly batches: Message[][] = [];
  /** Number of the broker's current life. */
  life = 0;
  deliveryCount = 0;
  redeliveryCount = 0;
  readonly endings: Ending[] = [];
  /** The broker was asked to stop: it closes one connection after the other, and what one held may go to another of the channel. */
  isStopping = false;

  /** @param stall how long (ms) the test process itself was stalled lately, at most: no lateness of the broker's */
  constructor(
    readonly promises: Promises,
    private readonly stall: () => number = () => 0,
  ) {}

  topic(name: string): TopicLedger {
    const topic = this.topics.get(name) ?? new TopicLedger(name);
    this.topics.set(name, topic);
    return topic;
  }

  channel(topicName: string, name: string, rules: ChannelRules): ChannelLedger {
    const topic = this.topic(topicName);
    const known = topic.channels.find((channel) => channel.name === name);
    if (known) return known;
    const channel = new ChannelLedger(topic, name, rules);
    topic.channels.push(channel);
    return channel;
  }

  /** A publish call of `count` messages is about to be sent. */
  publishing(topicName: string, count: number, delayMs: number, nowMs: number): Message[] {
    const topic = this.topic(topicName);
    const batch: Message[] = [];
    for (let index = 0; index < count; index++) {
      const facts = { number: this.messages.length, batch: this.batches.length, index, batchSize: count };
      const message: Message = { facts, topic, delayMs, sentMs: nowMs, acknowledgedMs: Number.POSITIVE_INFINITY };
      this.messages.push(message);
      topic.messages.push(message);
      batch.push(message);
    }
    this.batches.push(batch);
    return batch;
  }

  acknowledged(batch: readonly Message[], nowMs: number): void {
    for (const message of batch) {
      message.acknowledgedMs = nowMs;
      if (message.delayMs === 0) continue;
      for (const channel of message.topic.channels) {
        const number = message.facts.number;
        if (channel.rules.prompt && mustReach(message, channel) && !channel.deliveries.has(number))
          channel.dueBy.set(number, nowMs + message.delayMs);
      }
    }
  }

  /** A message was read by a consumer. Returns what to answer on, or undefined if nothing sensible came. */
  delivered(consumer: ConsumerLedger, facts: BodyFacts, attempts: number, nowMs: number): Delivery | undefined {
    const channel = consumer.channel;
    const message = this.messages[facts.number];
    if (!message || message.topic !== channel.topic || !Bun.deepEquals(message.facts, facts)) {
      this.violation(`${channel.topic.name}/${channel.name} got ${JSON.stringify(facts)}, which was never published there`);
      return undefined;
    }
    this.deliveryCount++;
    let delivery = channel.deliveries.get(facts.number);
    if (delivery && this.isReadLate(delivery, attempts)) return undefined;
    if (delivery) {
      this.redeliveryCount++;
      delivery.note(`attempts ${attempts} in life ${this.life}`, nowMs);
      this.checkRedelivery(delivery, consumer, attempts, nowMs);
    } else {
      delivery = new Delivery(message, channel);
      channel.deliveries.set(facts.number, delivery);
      this.checkFirstDelivery(delivery, attempts, nowMs);
    }
    this.checkPromptness(delivery, nowMs);
    channel.dueBy.delete(facts.number);
    channel.requeued.delete(delivery);
    delivery.consumer?.held.delete(delivery);
    consumer.held.add(delivery);
    delivery.consumer = consumer;
    delivery.state = "in flight";
    delivery.serial++;
    delivery.attempts = attempts;
    delivery.life = this.life;
    // The broker sent it a little before it was read, so its time-out comes a little before this clock says.
    delivery.heldUntilMs = nowMs + channel.rules.msgTimeoutMs / 2 - this.stall();
    return delivery;
  }

  /** All connections of this life are closed and read to their end; consumers have been told disconnected(). */
  lifeEnded(kind: "crash" | "clean", atMs: number): void {
    // On a machine that stalled the test, the broker beside it had no time to save either.
    const durableMs = kind === "clean" ? 0 : FINISHED_IS_DURABLE_MS + this.stall();
    const ending: Ending = { kind, atMs, durableMs };
    for (const topic of this.topics.values()) {
      for (const channel of topic.channels) this.endChannelsLife(channel, ending);
    }
    this.endings[this.life] = ending;
    this.isStopping = false;
    this.life++;
  }

  /** What is not yet where it must be; at most a few are described. */
  missing(): { count: number; examples: string[] } {
    const examples: string[] = [];
    let count = 0;
    for (const found of this.look()) {
      if (found === undefined) continue;
      count++;
      if (examples.length < 10) examples.push(describeOwed(found));
    }
    return { count, examples };
  }

  /** Looks at each message in each channel: yields what is missing, and undefined from time to time, where the caller may pause. */
  *look(): Generator<Owed | undefined> {
    let looked = 0;
    for (const topic of this.topics.values()) {
      for (const channel of topic.channels) {
        for (const message of topic.messages) {
          if (++looked % 10_000 === 0) yield undefined;
          const delivery = channel.deliveries.get(message.facts.number);
          if (delivery === undefined ? mustReach(message, channel) : !isDone(delivery)) yield { message, channel, delivery };
        }
      }
    }
  }

  /** After everything was drained: nothing lost, nothing by halves. */
  endOfRun(): void {
    const missing = this.missing();
    if (missing.count > 0) this.violation(`${missing.count} messages are lost: ${missing.examples.join("; ")}`);
    for (const batch of this.batches) this.checkWhole(batch);
  }

  violation(what: string): void {
    this.violationCount++;
    if (this.violations.length < MAX_REPORTED) this.violations.push(`life ${this.life}: ${what}`);
  }

  /** After a stall of the test's own, a delivery that timed out unread may be read behind the next one, which went to another connection. */
  private isReadLate(delivery: Delivery, attempts: number): boolean {
    const timesOut = delivery.channel.rules.msgTimeoutMs <= LONG_TIMEOUT_MS;
    return timesOut && delivery.life === this.life && attempts < delivery.attempts && this.stall() >= EXACT_BELOW_STALL_MS;
  }

  private checkFirstDelivery(delivery: Delivery, attempts: number, nowMs: number): void {
    const { message, channel } = delivery;
    if (nowMs < message.sentMs + message.delayMs - EARLY_TOLERANCE_MS) {
      this.violation(`${describe(delivery)} came ${(message.sentMs + message.delayMs - nowMs).toFixed(1)} ms before it was due`);
    }
    if (this.promises.tailIsExact && !mayReach(message, channel)) {
      this.violation(`${describe(delivery)} came to a channel that was asked for after it was acknowledged`);
    }
    const undisturbed = channel.disturbedMs < message.sentMs && this.stall() < EXACT_BELOW_STALL_MS;
    if (attempts < 1 || (undisturbed && attempts !== 1)) {
      this.violation(`${describe(delivery)} came first with attempts ${attempts}`);
    }
  }

  private checkRedelivery(delivery: Delivery, consumer: ConsumerLedger, attempts: number, nowMs: number): void {
    const timesOut = delivery.channel.rules.msgTimeoutMs <= LONG_TIMEOUT_MS;
    switch (delivery.state) {
      case "req sent":
      case "waiting":
        // Where messages time out, this one may have done so before the REQ was read.
        if (nowMs < delivery.notBeforeMs - EARLY_TOLERANCE_MS && !(timesOut && delivery.state === "req sent")) {
          this.violation(
            `${describe(delivery)} came again ${(delivery.notBeforeMs - nowMs).toFixed(1)} ms before its REQ's delay was over`,
          );
        }
        break;
      case "in flight":
        if (nowMs < delivery.heldUntilMs && !this.isStopping)
          this.violation(`${describe(delivery)} came again while it was held, after ${attempts} attempts`);
        break;
      case "fin sent":
        // If it had timed out first, the FIN fails; if not, confirm() finds it out. Without time-outs it is plain.
        if (!timesOut && !this.isStopping) this.violation(`${describe(delivery)} came again although a FIN for it was on its way`);
        break;
      case "finished":
        this.checkResurrection(delivery);
        break;
      case "maybe finished":
        break;
    }
    const crashedSince = this.endings.some((ending, life) => life >= delivery.life && ending.kind === "crash");
    const undisturbed =
      delivery.life === this.life && consumer.channel.disturbedMs < delivery.message.sentMs && this.stall() < EXACT_BELOW_STALL_MS;
    if (attempts < 1 || (!crashedSince && attempts <= delivery.attempts) || (undisturbed && attempts !== delivery.attempts + 1)) {
      this.violation(`${describe(delivery)} came with attempts ${attempts} after attempts ${delivery.attempts}`);
    }
  }

  private checkResurrection(delivery: Delivery): void {
    const ending = this.endings[delivery.finishedLife];
    if (ending === undefined) return this.violation(`${describe(delivery)} came again in the life it was finished in`);
    const agoMs = ending.atMs - delivery.finishedMs;
    const end = ending.kind === "clean" ? "a clean stop" : "the kill";
    if (agoMs >= ending.durableMs) this.violation(`${describe(delivery)} was finished ${agoMs.toFixed(0)} ms before ${end} and came again`);
  }

  private checkPromptness(delivery: Delivery, nowMs: number): void {
    const dueByMs = delivery.channel.dueBy.get(delivery.message.facts.number);
    if (dueByMs === undefined) return;
    const lateMs = nowMs - Math.max(dueByMs, delivery.channel.attachedMs) - this.stall();
    if (lateMs > this.promises.lateBoundMs) this.violation(`${describe(delivery)} came ${lateMs.toFixed(0)} ms late`);
  }

  private endChannelsLife(channel: ChannelLedger, { kind, atMs, durableMs }: Ending): void {
    for (const [number, dueByMs] of channel.dueBy) {
      const lateMs = atMs - Math.max(dueByMs, channel.attachedMs) - this.stall();
      if (lateMs > this.promises.lateBoundMs) {
        this.violation(
          `${describeMessage(this.messages[number] as Message, channel)} is ${lateMs.toFixed(0)} ms late at the end of a life`,
        );
      }
    }
    channel.attachedMs = Number.POSITIVE_INFINITY;
    channel.disturbedMs = Math.max(channel.disturbedMs, atMs);
    if (kind === "clean") return;
    for (const delivery of channel.requeued) {
      const survives = delivery.requeueDelayMs >= this.promises.durableRequeueMs && atMs - delivery.requeuedMs >= durableMs;
      if (!survives) delivery.notBeforeMs = 0;
    }
  }

  /** A publish call without an OK may have happened or not, but not in part, and not in one channel only. */
  private checkWhole(batch: readonly Message[]): void {
    const first = batch[0] as Message;
    const counts = first.topic.channels
      .filter((channel) => channel.isFirst || channel.createdMs <= first.sentMs)
      .map((channel) => batch.reduce((count, message) => count + (channel.deliveries.has(message.facts.number) ? 1 : 0), 0));
    if (counts.some((count) => count !== 0 && count !== batch.length) || new Set(counts).size > 1) {
      const acknowledged = first.acknowledgedMs < Number.POSITIVE_INFINITY ? "acknowledged" : "unacknowledged";
      this.violation(
        `${acknowledged} batch ${first.facts.batch} of ${batch.length} on ${first.topic.name} came in part: ${counts} per channel`,
      );
    }
  }
}

function isDone(delivery: Delivery): boolean {
  return delivery.state === "finished" || delivery.state === "fin sent" || delivery.state === "maybe finished";
}

function mustReach(message: Message, channel: ChannelLedger): boolean {
  if (message.acknowledgedMs === Number.POSITIVE_INFINITY) return false;
  return channel.isFirst || channel.createdMs <= message.sentMs;
}

function mayReach(message: Message, channel: ChannelLedger): boolean {
  // A deferred message joins its topic when it falls due, or after that when the broker was not there: a channel made before that may have it.
  return channel.mayBeFirst || message.delayMs > 0 || message.acknowledgedMs >= channel.creatingMs;
}

function describeMessage({ facts, delayMs, sentMs, acknowledgedMs }: Message, channel: ChannelLedger): string {
  const size = facts.batchSize > 1 ? ` (${facts.index + 1}/${facts.batchSize} of batch ${facts.batch})` : "";
  const delay = delayMs > 0 ? `, deferred by ${delayMs} ms` : "";
  const ok = acknowledgedMs === Number.POSITIVE_INFINITY ? "no OK" : `OK at ${acknowledgedMs.toFixed(0)}`;
  return `message ${facts.number}${size} in ${channel.topic.name}/${channel.name} (sent at ${sentMs.toFixed(0)}, ${ok}${delay})`;
}

function describeOwed({ message, channel, delivery }: Owed): string {
  return delivery ? describe(delivery) : `${describeMessage(message, channel)}, never delivered`;
}

function describe(delivery: Delivery): string {
  const { message, channel, state, life, attempts, history } = delivery;
  return `${describeMessage(message, channel)} [${state} in life ${life}, attempts ${attempts}${history === "" ? "" : `: ${history}`}]`;
}
