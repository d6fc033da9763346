import type { Clock } from "../base/clock.ts";
import { Backoff } from "./backoff.ts";
import { BrokerList } from "./broker-list.ts";
import { type ConnectionSettings, connectionSettings, notNegative, positive } from "./connection-options.ts";
import { ConsumerBroker, type ConsumerBrokerOwner } from "./consumer-broker.ts";
import { type ConsumerOptions, type ConsumerSettings, consumerSettings, wantsHeaders } from "./consumer-options.ts";
import { asError, ClientError } from "./errors.ts";
import { EventHub } from "./event-hub.ts";
import type { ConsumerEvent } from "./events.ts";
import type { Message } from "./message.ts";
import { ReadyDistribution } from "./ready.ts";
import { Worklist } from "./worklist.ts";

/** What is done with a message. Its end finishes the message, and what it throws requeues it, unless it did so itself. */
export type Handler = (message: Message) => unknown;

/** How messages are handled. */
export interface RunOptions {
  /** How many handlers may be under way. Default: as many as messages may be in flight. */
  concurrency?: number;
  /** The handler's end does not finish the message: the program does, later. A handler that throws still requeues it. */
  manual?: boolean;
  /** Closes the consumer. */
  signal?: AbortSignal;
}

/**
 * Receives the messages of a channel, from one broker or several. `run(handler)`, or a `for await` loop over the consumer, starts
 * it; it connects by itself, and again when a connection is lost.
 */
export class Consumer implements AsyncDisposable, AsyncIterable<Message> {
  private readonly settings: ConsumerSettings;
  private readonly connection: ConnectionSettings;
  private readonly clock: Clock;
  private readonly hub: EventHub<ConsumerEvent>;
  private readonly list: BrokerList;
  private readonly distribution: ReadyDistribution;
  private readonly backoff: Backoff;
  private readonly owner: ConsumerBrokerOwner;
  private readonly brokers = new Map<string, ConsumerBroker>();
  private wanted: ReadonlySet<string> = new Set();
  private readonly work = new Worklist();
  private handler: Handler | undefined;
  private isManual = false;
  private hasStarted = false;
  private closing: Promise<void> | undefined;
  private readonly listeners = new Set<() => void>();

  /** @throws ClientError INVALID_OPTION */
  constructor(options: ConsumerOptions) {
    this.settings = consumerSettings(options);
    this.connection = connectionSettings({ ...options, headers: wantsHeaders(options) }, this.settings.deadLetterTopic !== undefined);
    this.clock = this.connection.clock;
    this.hub = new EventHub(options.onEvent);
    this.list = new BrokerList(options, this.settings.topic, this.clock, {
      onBrokers: (brokers) => this.setBrokers(brokers),
      emit: (event) => this.hub.emit(event),
    });
    const { maxInFlight, backoff } = this.settings;
    this.distribution = new ReadyDistribution(maxInFlight, this.clock, backoff.random);
    this.backoff = new Backoff(backoff, this.clock, {
      onPause: (level, durationMs) => {
        this.hub.emit({ type: "backoff", level, durationMs });
        this.distribution.pause();
      },
      onProbe: (level) => {
        const hasBroker = this.distribution.probe();
        if (hasBroker) this.hub.emit({ type: "backoff-probe", level });
        return hasBroker;
      },
      onResume: () => {
        this.hub.emit({ type: "backoff-ended" });
        this.distribution.resume();
      },
    });
    this.owner = this.subscriptionOwner();
  }

  /** How many messages were received and not answered. */
  get inFlight(): number {
    let sum = 0;
    for (const { subscription } of this.brokers.values()) sum += subscription?.inFlight ?? 0;
    return sum;
  }

  get maxInFlight(): number {
    return this.distribution.maxInFlight;
  }

  /** The addresses of the brokers that are connected and subscribed. */
  get connected(): string[] {
    return [...this.brokers.values()].filter(({ subscription }) => subscription?.isSubscribed === true).map(({ broker }) => broker);
  }

  /** Changes how many messages may be in flight; 0 stops receiving. @throws ClientError INVALID_OPTION */
  setMaxInFlight(maxInFlight: number): void {
    this.distribution.setMaxInFlight(Math.floor(notNegative("maxInFlight", maxInFlight)));
  }

  /** The events from now on. */
  events(signal?: AbortSignal): AsyncIterableIterator<ConsumerEvent> {
    return this.hub.stream(signal);
  }

  /** Waits until the consumer, which was started, is subscribed at a broker. @throws ClientError NO_BROKER, CLOSED, INVALID_OPTION; the signal's reason */
  async ready({ signal, timeoutMs = 60_000 }: { signal?: AbortSignal; timeoutMs?: number } = {}): Promise<void> {
    if (!this.hasStarted) throw new ClientError("INVALID_OPTION", "run() or a loop over the consumer starts it");
    const isReady = await this.until(() => this.connected.length > 0 || this.closing !== undefined, timeoutMs, signal);
    signal?.throwIfAborted();
    if (this.closing !== undefined) throw new ClientError("CLOSED", "the consumer was closed");
    if (!isReady) throw new ClientError("NO_BROKER", `no broker was reached within ${timeoutMs} ms`);
  }

  /**
   * Handles messages until the consumer is closed.
   *
   * @returns once it is closed. The promise is never rejected
   * @throws ClientError CLOSED, INVALID_OPTION, at once
   */
  run(handler: Handler, { concurrency, manual = false, signal }: RunOptions = {}): Promise<void> {
    this.start();
    this.handler = handler;
    this.isManual = manual;
    this.work.concurrency = concurrency === undefined ? Number.POSITIVE_INFINITY : positive("concurrency", concurrency);
    const close = () => void this.close();
    if (signal?.aborted) close();
    signal?.addEventListener("abort", close, { once: true });
    return new Promise((resolve) => {
      if (this.work.isOver) return resolve();
      this.work.onOver = () => {
        signal?.removeEventListener("abort", close);
        resolve();
      };
    });
  }

  /**
   * Messages as they come, to be finished or requeued in the loop. Leaving the loop closes the consumer, and requeues what was received
   * and not given to the loop.
   *
   * @throws ClientError CLOSED, INVALID_OPTION
   */
  [Symbol.asyncIterator](): AsyncIterator<Message, undefined> {
    this.start();
    return {
      next: () => this.work.next(),
      return: async () => {
        await this.close();
        return { done: true, value: undefined };
      },
    };
  }

  /**
   * Receives no more messages, waits until those in flight are answered, up to `drainMs` (default 30,000), and ends the connections.
   * What is not answered by then is delivered again.
   */
  close({ drainMs = 30_000, signal }: { drainMs?: number; signal?: AbortSignal } = {}): Promise<void> {
    this.closing ??= this.end(drainMs, signal);
    return this.closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private async end(drainMs: number, signal: AbortSignal | undefined): Promise<void> {
    this.list.stop();
    this.backoff.stop();
    this.distribution.stop();
    for (const { link, subscription } of this.brokers.values()) {
      link.stop();
      subscription?.startClosing();
    }
    // A handler gets what was received; a loop may be waiting for this call, and gets no more.
    if (this.handler === undefined) {
      for (const message of this.work.takeWaiting()) message.requeue(0, { backoff: false });
      this.work.end();
    }
    this.notify();
    await this.until(() => [...this.brokers.values()].every(({ link }) => link.connection === undefined), drainMs, signal);
    for (const { link } of this.brokers.values()) link.connection?.destroy();
    this.work.end();
    this.hub.close();
  }

  private start(): void {
    if (this.closing !== undefined) throw new ClientError("CLOSED", "the consumer was closed");
    if (this.hasStarted) throw new ClientError("INVALID_OPTION", "a consumer runs once: run() or one loop over it");
    this.hasStarted = true;
    this.list.start();
  }

  // ---- brokers

  private setBrokers(wanted: ReadonlySet<string>): void {
    this.wanted = wanted;
    for (const address of wanted) {
      if (this.brokers.has(address)) continue;
      const broker = new ConsumerBroker(address, this.connection, this.owner);
      this.brokers.set(address, broker);
      this.hub.emit({ type: "broker-found", broker: address });
      broker.link.start();
    }
    for (const broker of this.brokers.values()) this.forgetGone(broker);
  }

  /** Forgets a broker that no lookup server knows and that is not connected. */
  private forgetGone(broker: ConsumerBroker): void {
    if (this.wanted.has(broker.broker) || broker.link.connection !== undefined || !this.brokers.delete(broker.broker)) return;
    broker.link.stop();
    this.hub.emit({ type: "broker-forgotten", broker: broker.broker });
  }

  private subscriptionOwner(): ConsumerBrokerOwner {
    const { topic, channel, wishes, isTouching, backsOff, requeueDelayMs } = this.settings;
    const { backoff } = this;
    return {
      topic,
      channel,
      wishes,
      isTouching,
      clock: this.clock,
      emit: (event) => this.hub.emit(event),
      onSubscribed: (subscription) => {
        if (this.closing !== undefined) return subscription.startClosing();
        this.distribution.add(subscription);
        this.notify();
      },
      onLost: (broker, subscription) => {
        if (subscription !== undefined) this.distribution.remove(subscription);
        if (subscription !== undefined && this.closing === undefined) this.list.pollSoon();
        // Another broker of the cluster may deliver its messages now.
        if (subscription?.isSubscribed === true) for (const other of this.brokers.values()) if (other !== broker) other.link.hurry();
        this.forgetGone(broker);
        this.notify();
      },
      onMessage: (message) => this.receive(message),
      beforeAnswer: (outcome) => {
        if (!backsOff || this.closing !== undefined) return;
        if (outcome === "finished") backoff.succeeded();
        else if (outcome === "failed") backoff.failed();
        else backoff.unchanged();
      },
      onAnswered: (subscription) => this.distribution.onAnswered(subscription),
      requeueDelayMs: (message) => requeueDelayMs(message.attempts),
      onBrokerError: (error) => this.hub.emit({ type: "broker-error", broker: error.broker ?? "", error }),
    };
  }

  // ---- messages

  private receive(message: Message): void {
    const { maxAttempts } = this.settings;
    if (this.distribution.isTakingTurns && this.distribution.excess > 0) return void message.giveBack();
    if (maxAttempts > 0 && message.attempts > maxAttempts) return void this.giveUp(message, undefined);
    const { handler, work } = this;
    // What was on its way when the loop ended would be waited for.
    if (handler === undefined && this.closing !== undefined) return void message.requeue(0, { backoff: false });
    if (handler === undefined) return work.push(message);
    if (work.hasRoom) this.handle(handler, message);
    else work.wait(message);
  }

  private handle(handler: Handler, message: Message): void {
    const { work } = this;
    work.running++;
    try {
      const result = handler(message);
      if (isThenable(result)) {
        result.then(
          () => this.onHandled(handler, message, undefined),
          (error: unknown) => this.onHandled(handler, message, asError(error)),
        );
        return;
      }
    } catch (error) {
      work.running--;
      return this.fail(message, asError(error));
    }
    work.running--;
    if (!this.isManual) message.finish();
  }

  private onHandled(handler: Handler, message: Message, error: Error | undefined): void {
    const { work } = this;
    work.running--;
    if (error !== undefined) this.fail(message, error);
    else if (!this.isManual) message.finish();
    for (let next = work.takeNext(); next !== undefined; next = work.takeNext()) this.handle(handler, next);
  }

  private fail(message: Message, error: Error): void {
    const { broker, id, attempts } = message;
    this.hub.emit({ type: "handler-failed", broker, id, attempts, error });
    const { maxAttempts } = this.settings;
    if (message.isAnswered) return;
    if (maxAttempts > 0 && attempts >= maxAttempts) {
      if (this.settings.backsOff && this.closing === undefined) this.backoff.failed();
      void this.giveUp(message, error);
    } else {
      message.requeue();
    }
  }

  /** Finishes a message that has used up its attempts. Never rejects. */
  private async giveUp(message: Message, failure: Error | undefined): Promise<void> {
    const { deadLetterTopic, onGiveUp } = this.settings;
    const { broker, id, attempts } = message;
    try {
      await onGiveUp?.(message, failure);
      if (message.isAnswered) return;
      if (deadLetterTopic !== undefined) await this.brokers.get(broker)?.subscription?.publish(deadLetterTopic, message);
      if (message.finishQuietly()) this.hub.emit({ type: "gave-up", broker, id, attempts, deadLetterTopic });
    } catch (thrown) {
      this.hub.emit({ type: "handler-failed", broker, id, attempts, error: asError(thrown) });
      message.requeue(undefined, { backoff: false });
    }
  }

  // ---- waiting

  private notify(): void {
    for (const listener of this.listeners) listener();
  }

  /** @returns whether the condition holds: false after the time, or the signal */
  private until(condition: () => boolean, timeoutMs: number, signal: AbortSignal | undefined): Promise<boolean> {
    if (condition()) return Promise.resolve(true);
    if (signal?.aborted || timeoutMs === 0) return Promise.resolve(false);
    const { clock, listeners } = this;
    return new Promise((resolve) => {
      const end = (holds: boolean) => {
        listeners.delete(listener);
        clock.cancel(timer);
        signal?.removeEventListener("abort", abort);
        resolve(holds);
      };
      const listener = () => {
        if (condition()) end(true);
      };
      const abort = () => end(false);
      const timer = clock.callAfter(timeoutMs, () => end(false));
      listeners.add(listener);
      signal?.addEventListener("abort", abort, { once: true });
    });
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}
