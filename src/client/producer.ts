import { isValidName } from "../frame/names.ts";
import { Batch, type Done, type Publication, publicationBytes, type Receipt } from "./batch.ts";
import { BrokerList, type BrokerSource } from "./broker-list.ts";
import {
  type ConnectionOptions,
  type ConnectionSettings,
  checkPartition,
  connectionSettings,
  notNegative,
  positive,
} from "./connection-options.ts";
import { ClientError, PublishError } from "./errors.ts";
import { EventHub } from "./event-hub.ts";
import type { LinkEvent, ProducerEvent } from "./events.ts";
import { encodeHeader, type MessageOptions, needsHeader } from "./message-header.ts";
import { type Body, packedBody } from "./outbox.ts";
import { PartitionLeaders } from "./partition-leaders.ts";
import { ProducerPool } from "./producer-pool.ts";
import type { Strategy } from "./strategy.ts";

/** Options of a Producer. Give `brokers`, or `lookups` to publish to all brokers that these know. */
export interface ProducerOptions extends ConnectionOptions, BrokerSource {
  /** How a broker is chosen for each message that has no key. Default "round-robin". */
  strategy?: Strategy;
  /**
   * Messages of one turn of the event loop travel in one command, or those of `lingerMs`. False sends each in a command of its own.
   * Default: no linger, up to 1,000 messages and 1 MiB.
   */
  batch?: false | { lingerMs?: number; maxMessages?: number; maxBytes?: number };
  /**
   * How many messages and bytes may be on their way. Default 50,000 and 64 MiB. Beyond that publish() waits for room, or, with
   * "reject", fails with QUEUE_FULL.
   */
  queue?: { maxMessages?: number; maxBytes?: number; overflow?: "wait" | "reject" };
  /**
   * What happens to messages that were on a connection when it broke. "safe", the default: they are sent again if the broker knew
   * their idempotency key. "always": they are sent again, and may be there twice. "never": they are rejected.
   */
  retry?: "safe" | "always" | "never";
  /** How long such messages wait for their own broker, where they cannot become duplicates, before another gets them, ms. Default 1,000. */
  sameBrokerMs?: number;
  /** How long a publish is tried again that brokers of a cluster refuse: one that takes a leader's place is there in seconds, ms. Default 10,000. */
  failOverMs?: number;
  /** How long a message may wait for its acknowledgement, ms. Default 60,000. */
  timeoutMs?: number;
  /** Whether to send idempotency keys to brokers that know them (bunsq). Default true. */
  idempotency?: boolean;
  /** Called for each event. */
  onEvent?: (event: ProducerEvent) => void;
}

/** Options of one publish. */
export interface PublishOptions extends MessageOptions {
  /** The partition of the topic, instead of that of the key. The message travels in a command of its own. */
  partition?: number;
  /** Delivered only after this time, ms. */
  deferMs?: number;
  /** A publish that is repeated with the same key is not published again: 1 to 255 printable characters without spaces. */
  idempotencyKey?: string;
  /** Gives up waiting. A message that was sent may still be published. */
  signal?: AbortSignal;
}

/** A message of a batch, with what it carries. */
export interface BatchMessage extends MessageOptions {
  readonly body: Body;
}

const MAX_KEY_CHARACTERS = 255;
const KEY = /^[!-~]+$/;
const NO_OPTIONS: PublishOptions = {};

/**
 * Publishes to one broker, or to several. Connects by itself, and again when a connection is lost. Nothing has to be awaited
 * before the first publish.
 */
export class Producer implements AsyncDisposable {
  private readonly settings: ConnectionSettings;
  private readonly hub: EventHub<ProducerEvent>;
  private readonly list: BrokerList;
  private readonly pool: ProducerPool;
  private readonly leaders: PartitionLeaders;
  private readonly timeoutMs: number;
  private readonly isRejecting: boolean;
  private readonly newKey: () => string | undefined;
  private closing: Promise<void> | undefined;

  /** @throws ClientError INVALID_OPTION */
  constructor(options: ProducerOptions) {
    const batch = options.batch === false ? undefined : (options.batch ?? {});
    this.settings = connectionSettings(options, options.idempotency ?? true);
    this.hub = new EventHub(options.onEvent);
    this.list = new BrokerList(options, undefined, this.settings.clock, {
      onBrokers: (brokers) => this.pool.setBrokers(brokers),
      emit: (event) => this.hub.emit(event),
    });
    this.timeoutMs = positive("timeoutMs", options.timeoutMs ?? 60_000);
    this.isRejecting = options.queue?.overflow === "reject";
    this.newKey = options.idempotency === false ? () => undefined : keySource();
    const leadersOwner = { onLeaders: () => this.pool.onLeaders(), emit: (event: LinkEvent) => this.hub.emit(event) };
    this.leaders = new PartitionLeaders(this.list.clients, this.list.pollMs, this.settings.clock, leadersOwner);
    this.pool = new ProducerPool({
      connection: this.settings,
      batches: {
        isOn: batch !== undefined,
        maxMessages: positive("batch.maxMessages", batch?.maxMessages ?? 1_000),
        maxBytes: positive("batch.maxBytes", batch?.maxBytes ?? 1024 * 1024),
        maxUnanswered: batch === undefined ? 1_000 : 16,
      },
      strategy: options.strategy ?? "round-robin",
      lingerMs: notNegative("batch.lingerMs", batch?.lingerMs ?? 0),
      timeoutMs: this.timeoutMs,
      sameBrokerMs: notNegative("sameBrokerMs", options.sameBrokerMs ?? 1_000),
      failOverMs: notNegative("failOverMs", options.failOverMs ?? 10_000),
      retry: options.retry ?? "safe",
      maxMessages: positive("queue.maxMessages", options.queue?.maxMessages ?? 50_000),
      maxBytes: positive("queue.maxBytes", options.queue?.maxBytes ?? 64 * 1024 * 1024),
      newKey: this.newKey,
      emit: (event) => this.hub.emit(event),
      onLost: () => this.list.pollSoon(),
      leaders: this.leaders,
    });
    this.list.start();
  }

  /** How many messages have no acknowledgement yet. */
  get pending(): number {
    return this.pool.count;
  }

  /** Whether a publish would be sent without waiting for room. */
  get hasRoom(): boolean {
    return !this.pool.isFull;
  }

  /** The addresses of the brokers that are connected. */
  get connected(): string[] {
    return this.pool.connected;
  }

  /** The events from now on. */
  events(signal?: AbortSignal): AsyncIterableIterator<ProducerEvent> {
    return this.hub.stream(signal);
  }

  /** Waits until a broker is connected, and each broker was tried. @throws ClientError NO_BROKER, CLOSED; the signal's reason */
  async ready({ signal, timeoutMs = this.timeoutMs }: { signal?: AbortSignal; timeoutMs?: number } = {}): Promise<void> {
    this.checkOpen();
    const isReady = await this.until(() => this.pool.isReady || this.closing !== undefined, timeoutMs, signal);
    signal?.throwIfAborted();
    this.checkOpen();
    if (!isReady) throw new ClientError("NO_BROKER", `no broker was reached within ${timeoutMs} ms`);
  }

  /** Waits until publish() does not have to wait for room. @throws the signal's reason */
  async room(signal?: AbortSignal): Promise<void> {
    await this.until(() => this.hasRoom || this.closing !== undefined, undefined, signal);
    signal?.throwIfAborted();
  }

  /**
   * Publishes a message.
   *
   * @param body must not be changed until the call has ended
   * @returns once a broker has acknowledged it
   * @throws ClientError INVALID_TOPIC, INVALID_MESSAGE, INVALID_OPTION, CLOSED; BrokerError; PublishError TIMEOUT, NO_BROKER,
   *   CONNECTION_LOST, QUEUE_FULL, CLOSED; the signal's reason
   */
  publish(topic: string, body: Body, options: PublishOptions = NO_OPTIONS): Promise<Receipt> {
    return new Promise((resolve, reject) => {
      this.send(topic, body, (error, receipt) => (receipt === undefined ? reject(error) : resolve(receipt)), options);
    });
  }

  /**
   * Publishes a message as publish() does, without a promise for each. @param done called once
   *
   * @throws ClientError for a bad argument, and after close()
   */
  send(topic: string, body: Body, done: Done, options: PublishOptions = NO_OPTIONS): void {
    this.checkOpen();
    checkTopic(topic);
    checkBody(body);
    const { deferMs, idempotencyKey, signal, partition } = options;
    signal?.throwIfAborted();
    if (this.isRejecting && this.pool.isFull) return done(queueFull(topic), undefined);
    const publication = this.publication(body, options, done);
    if (signal !== undefined) cancelOn(signal, publication, this.pool.onThrown);
    if (deferMs === undefined && idempotencyKey === undefined && partition === undefined) return this.pool.add(topic, publication);
    const key = checkKey(idempotencyKey) ?? this.newKey();
    const batch = new Batch(topic, checkDelay(deferMs), true, key, undefined, checkPartition(partition));
    batch.add(publication);
    this.pool.addBatch(batch);
  }

  /**
   * Publishes several messages in one command: all of them or none, on one broker. Messages with different keys may belong to different
   * brokers and partitions. Those of one key then are all published, or none of them, and the call succeeds when all are.
   *
   * @param messages bodies, or bodies with what they carry; `options` say what they carry where they do not
   * @returns and throws as publish(); the receipt is that of the first
   */
  async publishBatch(
    topic: string,
    messages: readonly (Body | BatchMessage)[],
    options: Omit<PublishOptions, "deferMs"> = NO_OPTIONS,
  ): Promise<Receipt> {
    this.checkOpen();
    checkTopic(topic);
    if (messages.length === 0) throw new ClientError("INVALID_MESSAGE", "a batch needs a message");
    const partition = checkPartition(options.partition);
    const idempotencyKey = checkKey(options.idempotencyKey);
    const byKey = new Map<string | undefined, Publication[]>();
    for (const message of messages) {
      const isBody = typeof message === "string" || message instanceof Uint8Array;
      const body = isBody ? message : message.body;
      checkBody(body);
      const publication = this.publication(body, isBody ? options : { ...options, ...message }, undefined);
      const key = partition === undefined ? publication.key : undefined;
      const same = byKey.get(key);
      if (same === undefined) byKey.set(key, [publication]);
      else same.push(publication);
    }
    if (byKey.size > 1 && idempotencyKey !== undefined) {
      throw new ClientError("INVALID_OPTION", "an idempotency key is for messages of one key");
    }
    options.signal?.throwIfAborted();
    if (this.isRejecting && this.pool.isFull) throw queueFull(topic);
    const sent = [...byKey.values()].map((same) => this.sendWhole(topic, same, idempotencyKey, options.signal, partition));
    const [receipt] = await Promise.all(sent);
    return receipt as Receipt;
  }

  private sendWhole(
    topic: string,
    items: readonly Publication[],
    idempotencyKey: string | undefined,
    signal: AbortSignal | undefined,
    partition: number | undefined,
  ): Promise<Receipt> {
    return new Promise((resolve, reject) => {
      const done: Done = (error, receipt) => (receipt === undefined ? reject(error) : resolve(receipt));
      const needsHeader = items.some((item) => item.needsHeader);
      let bytes = 0;
      for (const item of items) bytes += item.bytes;
      const publication: Publication = { ...(items[0] as Publication), done, needsHeader, bytes };
      if (signal !== undefined) cancelOn(signal, publication, this.pool.onThrown);
      const batch = new Batch(topic, undefined, true, idempotencyKey ?? this.newKey(), items, partition);
      batch.add(publication);
      this.pool.addBatch(batch);
    });
  }

  /**
   * Waits for the acknowledgements of what was published, up to `drainMs` (default 30,000), and ends the connections. What is not
   * acknowledged by then is rejected with CLOSED. Publishing is refused from the call on.
   */
  close({ drainMs = 30_000, signal }: { drainMs?: number; signal?: AbortSignal } = {}): Promise<void> {
    this.closing ??= this.end(drainMs, signal);
    return this.closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private async end(drainMs: number, signal: AbortSignal | undefined): Promise<void> {
    this.pool.flush();
    await this.until(() => this.pool.count === 0, drainMs, signal);
    this.list.stop();
    this.leaders.stop();
    this.pool.end(({ topic, sentTo }) => new PublishError("CLOSED", "the producer was closed", topic, sentTo !== undefined));
    this.hub.close();
  }

  /** @returns whether the condition holds: false after the time, or the signal */
  private until(condition: () => boolean, timeoutMs: number | undefined, signal: AbortSignal | undefined): Promise<boolean> {
    if (condition()) return Promise.resolve(true);
    if (signal?.aborted || timeoutMs === 0) return Promise.resolve(false);
    const { clock } = this.settings;
    return new Promise((resolve) => {
      const end = (holds: boolean) => {
        unlisten();
        if (timer !== undefined) clock.cancel(timer);
        signal?.removeEventListener("abort", abort);
        resolve(holds);
      };
      const abort = () => end(false);
      const unlisten = this.pool.listen(() => {
        if (condition()) end(true);
      });
      const timer = timeoutMs === undefined ? undefined : clock.callAfter(timeoutMs, () => end(false));
      signal?.addEventListener("abort", abort, { once: true });
    });
  }

  private publication(given: Body, options: MessageOptions, done: Done | undefined): Publication {
    const deadlineMs = this.settings.clock.steadyMs() + this.timeoutMs;
    const body = packedBody(given);
    // Most messages carry nothing.
    const isPlain = options === NO_OPTIONS;
    const header = isPlain ? undefined : encodeHeader(options);
    const bytes = publicationBytes(body, header);
    const needs = !isPlain && needsHeader(options);
    return { body, header, key: options.key, needsHeader: needs, bytes, deadlineMs, done, isCancelled: false };
  }

  private checkOpen(): void {
    if (this.closing !== undefined) throw new ClientError("CLOSED", "the producer was closed");
  }
}

/** Keys that no other producer makes. */
function keySource(): () => string {
  const prefix = `${crypto.randomUUID().replaceAll("-", "").slice(0, 16)}-`;
  let keys = 0;
  return () => prefix + (keys++).toString(36);
}

/** @param onThrown gets what the publication's callback throws, which would end a process of Node's */
function cancelOn(signal: AbortSignal, publication: Publication, onThrown: (thrown: unknown) => void): void {
  const { done } = publication;
  if (done === undefined) return;
  const abort = () => {
    publication.isCancelled = true;
    publication.done = undefined;
    try {
      done(signal.reason as Error, undefined);
    } catch (thrown) {
      onThrown(thrown);
    }
  };
  publication.done = (error, receipt) => {
    signal.removeEventListener("abort", abort);
    done(error, receipt);
  };
  signal.addEventListener("abort", abort, { once: true });
}

/** @throws ClientError INVALID_TOPIC */
function checkTopic(topic: string): void {
  if (!isValidName(topic)) throw new ClientError("INVALID_TOPIC", `invalid topic name ${JSON.stringify(topic)}`);
}

/** @throws ClientError INVALID_MESSAGE */
function checkBody(body: Body): void {
  if (typeof body !== "string" && !(body instanceof Uint8Array)) {
    throw new ClientError("INVALID_MESSAGE", "a message is a string or a Uint8Array; JSON.stringify() makes one of a value");
  }
  if (body.length === 0) throw new ClientError("INVALID_MESSAGE", "a message must not be empty");
}

/** @throws ClientError INVALID_OPTION */
function checkDelay(deferMs: number | undefined): number | undefined {
  if (deferMs === undefined) return undefined;
  if (deferMs >= 0 && deferMs <= Number.MAX_SAFE_INTEGER) return Math.round(deferMs);
  throw new ClientError("INVALID_OPTION", `invalid delay of ${deferMs} ms`);
}

/** @throws ClientError INVALID_OPTION */
function checkKey(key: string | undefined): string | undefined {
  if (key === undefined || (key.length <= MAX_KEY_CHARACTERS && KEY.test(key))) return key;
  throw new ClientError("INVALID_OPTION", "an idempotency key has 1 to 255 printable ASCII characters, without spaces");
}

function queueFull(topic: string): PublishError {
  return new PublishError("QUEUE_FULL", "too many messages wait for their acknowledgement", topic, false);
}
