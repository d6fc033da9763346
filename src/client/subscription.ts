import type { Clock, Timer } from "../base/clock.ts";
import type { Connection } from "./connection.ts";
import type { Wishes } from "./consumer-options.ts";
import { type BrokerError, ClientError } from "./errors.ts";
import type { Features } from "./events.ts";
import { bodyStart, Message, type MessageSource, type Outcome } from "./message.ts";
import type { ReadyConnection } from "./ready.ts";

/** What a consumer does for its subscriptions. */
export interface SubscriptionOwner {
  readonly topic: string;
  readonly channel: string;
  readonly wishes: Wishes;
  readonly clock: Clock;
  /** Whether messages are touched until they are answered. */
  readonly isTouching: boolean;
  onSubscribed(subscription: Subscription): void;
  onMessage(message: Message): void;
  /** A message is about to be finished or requeued. What this does about RDY is sent first. */
  beforeAnswer(outcome: Exclude<Outcome, "none">): void;
  onAnswered(subscription: Subscription): void;
  /** The delay of a message that is requeued without one, ms. */
  requeueDelayMs(message: Message): number;
  /** The broker reports something that no call waits for. */
  onBrokerError(error: BrokerError): void;
}

/** What waits for the answer to a publish on this connection. */
type Published = (error: ClientError | undefined) => void;

/** A channel on one connection: what comes from it, and the answers to it. It ends with the connection. */
export class Subscription implements MessageSource, ReadyConnection {
  inFlight = 0;
  received = 0;
  isSubscribed = false;
  private isClosing = false;
  private hasEnded = false;
  /** The broker sends no more messages. */
  private isDry = false;
  private readonly publishing: Published[] = [];
  /** Messages that are touched, and until when. */
  private readonly touched = new Map<Message, number>();
  private touchTimer: Timer | undefined;

  /** @throws ClientError HEADERS_UNSUPPORTED, ORDER_UNSUPPORTED if the broker does not have what the consumer asks for */
  constructor(
    private readonly connection: Connection,
    private readonly owner: SubscriptionOwner,
  ) {
    const { topic, channel, wishes } = owner;
    checkWishes(wishes, connection.features, connection.broker);
    const { partition } = wishes;
    connection.outbox.ascii(partition === undefined ? `SUB ${topic} ${channel}\n` : `SUB ${topic} ${channel} ${partition}\n`);
    connection.planFlush();
    if (owner.isTouching) this.planTouch();
  }

  get broker(): string {
    return this.connection.broker;
  }

  get topic(): string {
    return this.owner.topic;
  }

  get channel(): string {
    return this.owner.channel;
  }

  get maxReady(): number {
    return this.connection.features.maxRdyCount;
  }

  get roundTripMs(): number {
    return this.connection.roundTripMs;
  }

  sendReady(count: number): void {
    if (this.isClosing || this.hasEnded) return;
    this.connection.outbox.ascii(`RDY ${count}\n`);
    this.connection.planFlush();
  }

  /** Publishes a message that came on this connection, with its header. @returns when the broker has acknowledged it. @throws ClientError */
  publish(topic: string, message: Message): Promise<void> {
    const { connection } = this;
    const { outbox } = connection;
    const { idempotency, messageHeaders } = connection.features;
    // Ids of two topics may be the same, and those of a topic that was deleted and made again.
    const key = idempotency ? ` dead-${message.topic}-${message.channel}-${message.timestamp}-${message.id}` : "";
    const header = messageHeaders ? message.headerText : undefined;
    return new Promise((resolve, reject) => {
      if (this.hasEnded) throw new ClientError("CONNECTION_LOST", "the connection is closed", { broker: this.broker, command: "PUB" });
      this.publishing.push((error) => (error === undefined ? resolve() : reject(error)));
      if (header === undefined) outbox.ascii(`PUB ${topic}${key}\n`).sized(message.body);
      else outbox.ascii(`PUB_EXT ${topic} -1${key}\n`).sizedWithHeader({ header, body: message.body });
      connection.planFlush();
    });
  }

  /** Asks the broker to send no more messages. The connection ends when those in flight are answered. */
  startClosing(): void {
    if (this.isClosing || this.hasEnded) return;
    this.isClosing = true;
    if (!this.isSubscribed) return this.connection.end();
    this.connection.outbox.ascii("CLS\n");
    this.connection.planFlush();
  }

  // ---- what comes

  receive(bytes: Uint8Array, from: number, to: number): void {
    const bodyFrom = bodyStart(bytes, from, to, this.hasHeaders);
    if (bodyFrom > to) {
      return this.connection.fail(new ClientError("PROTOCOL", "a message is too short", { broker: this.broker }));
    }
    this.inFlight++;
    this.received++;
    const message = new Message(this, bytes, from, bodyFrom, to);
    const { owner } = this;
    if (owner.isTouching) this.touched.set(message, owner.clock.steadyMs() + this.connection.features.maxMsgTimeoutMs);
    owner.onMessage(message);
  }

  onResponse(text: string): void {
    if (text === "CLOSE_WAIT") {
      this.isDry = true;
      this.endIfDone();
    } else if (!this.isSubscribed) {
      this.isSubscribed = true;
      this.owner.onSubscribed(this);
    } else {
      this.publishing.shift()?.(undefined);
    }
  }

  onError(error: BrokerError): void {
    if (!this.isSubscribed) {
      this.connection.fail(new ClientError(error.code, error.text, { broker: this.broker, command: "SUB" }));
    } else if (/^E_(FIN|REQ|TOUCH)_FAILED$/.test(error.code) || this.publishing.length === 0) {
      this.owner.onBrokerError(error);
    } else {
      this.publishing.shift()?.(error);
    }
  }

  /** The connection is closed. Its messages are delivered again. */
  end(): void {
    this.hasEnded = true;
    this.inFlight = 0;
    this.touched.clear();
    if (this.touchTimer !== undefined) this.owner.clock.cancel(this.touchTimer);
    const error = new ClientError("CONNECTION_LOST", "the connection was lost", { broker: this.broker, command: "PUB" });
    for (const published of this.publishing.splice(0)) published(error);
  }

  // ---- MessageSource

  get hasHeaders(): boolean {
    return this.connection.features.extendSupport;
  }

  get isOver(): boolean {
    return this.hasEnded;
  }

  finish(message: Message, bytes: Uint8Array, at: number, outcome: Outcome): boolean {
    if (message.isAnswered || this.hasEnded) return false;
    message.isAnswered = true;
    this.inFlight--;
    if (outcome !== "none") this.owner.beforeAnswer(outcome);
    this.connection.outbox.message("FIN ", bytes, at, this.token(message));
    this.answered(message);
    return true;
  }

  requeue(message: Message, bytes: Uint8Array, at: number, delayMs: number | undefined, outcome: Outcome): boolean {
    if (message.isAnswered || this.hasEnded) return false;
    message.isAnswered = true;
    this.inFlight--;
    if (outcome !== "none") this.owner.beforeAnswer(outcome);
    const delay = Math.max(0, Math.round(delayMs ?? this.owner.requeueDelayMs(message)));
    this.connection.outbox.message("REQ ", bytes, at, ` ${delay}${this.token(message)}`);
    this.answered(message);
    return true;
  }

  touch(message: Message, bytes: Uint8Array, at: number): boolean {
    if (message.isAnswered || this.hasEnded) return false;
    this.connection.outbox.message("TOUCH ", bytes, at, this.token(message));
    this.connection.planFlush();
    return true;
  }

  /** Says which delivery an answer is about, so that a late one does not count for the next. */
  private token({ attempts }: Message): string {
    return this.connection.features.deliveryTokens ? ` ${attempts}` : "";
  }

  private answered(message: Message): void {
    if (this.owner.isTouching) this.touched.delete(message);
    this.connection.planFlush();
    this.owner.onAnswered(this);
    this.endIfDone();
  }

  private endIfDone(): void {
    if (this.isDry && this.inFlight === 0) this.connection.end();
  }

  private planTouch(): void {
    const { clock } = this.owner;
    const { msgTimeoutMs } = this.connection.features;
    this.touchTimer = clock.callAfter(msgTimeoutMs / 2, () => {
      const nowMs = clock.steadyMs();
      for (const [message, untilMs] of this.touched) {
        // The broker grants no more than the maximum.
        if (nowMs < untilMs) message.touch();
        else this.touched.delete(message);
      }
      this.planTouch();
    });
  }
}

function checkWishes({ order, isChoosing }: Wishes, features: Features, broker: string): void {
  const context = { broker, command: "IDENTIFY" };
  if (isChoosing && !features.extendSupport) {
    throw new ClientError("HEADERS_UNSUPPORTED", "the broker has no partitions, tags and filters", context);
  }
  if (order === undefined || order === features.channelOrder) return;
  throw new ClientError("ORDER_UNSUPPORTED", "the broker's channels have no order", context);
}
