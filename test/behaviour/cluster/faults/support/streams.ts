import type { StallMonitor } from "../../../../support/stall-monitor.ts";
import { type ClientKind, ClientProcess } from "../../support/client-programs.ts";
import { type FaultWindow, StreamLedger } from "./stream-ledger.ts";

/** Messages of one topic: who publishes and who consumes them. */
export interface StreamPlan {
  readonly topic: string;
  readonly partitions: number;
  readonly publisher: ClientKind;
  readonly consumer: ClientKind;
  /** The part of all messages, of 1. */
  readonly share: number;
  /** Above 0: as many keys as messages have; each key is delivered in order. */
  readonly keys: number;
  /** Above 0: the delay of messages, ms. Every other one is published with it, and the rest is requeued with it at the first attempt. */
  readonly delayMs?: number;
}

const CHANNEL = "all";

/** Four kinds of clients, each as publisher and as consumer, where they can run. */
export function planStreams(programs: ReadonlyMap<ClientKind, unknown>): StreamPlan[] {
  const or = (kind: ClientKind): ClientKind => (programs.has(kind) ? kind : "ours");
  return [
    { topic: "spread", partitions: 4, publisher: "ours", consumer: or("go-nsq"), share: 0.4, keys: 0 },
    { topic: "plain", partitions: 1, publisher: or("go-nsq"), consumer: or("nsqjs"), share: 0.2, keys: 0 },
    { topic: "pairs", partitions: 2, publisher: or("nsqjs"), consumer: or("go-nsq"), share: 0.2, keys: 0 },
    { topic: "later", partitions: 1, publisher: "ours", consumer: "ours", share: 0.02, keys: 0, delayMs: 600 },
    { topic: "orders", partitions: 2, publisher: "ours", consumer: "ours", share: 0.1, keys: 64 },
    {
      topic: "others",
      partitions: 2,
      publisher: programs.has("Youzan's go-nsq") ? "Youzan's go-nsq" : or("go-nsq"),
      consumer: programs.has("Youzan's go-nsq") ? "Youzan's go-nsq" : "ours",
      share: 0.1,
      keys: 0,
    },
  ];
}

/** A stream at work. */
export class Stream {
  readonly ledger: StreamLedger;
  private readonly publisher: ClientProcess;
  private readonly consumer: ClientProcess;
  private ackedMs = performance.now();
  private deliveredMs = performance.now();
  /** The longest time without an acknowledgement, and without a delivery, since takeGaps(). */
  private gaps = { publish: 0, deliver: 0 };

  constructor(
    readonly plan: StreamPlan,
    programs: ReadonlyMap<ClientKind, string[]>,
    site: { brokers: readonly string[]; lookups: readonly string[]; rate: number },
    windows: readonly FaultWindow[],
    stall: StallMonitor,
  ) {
    const { topic, publisher, consumer, share, keys, delayMs = 0 } = plan;
    this.ledger = new StreamLedger(`${topic} (${publisher} to ${consumer})`, keys, windows, () => stall.ms());
    const rate = Math.max(1, Math.round(site.rate * share));
    const batch = Math.max(1, Math.min(100, Math.round(rate / 50)));
    const job = { brokers: site.brokers, lookups: site.lookups, topic, channel: CHANNEL, rate, batch, keys, delayMs };
    const command = (kind: ClientKind) => programs.get(kind) ?? [];
    this.consumer = new ClientProcess(`consumer of ${topic}`, command(consumer), { ...job, act: "consume" }, (line) => this.read(line));
    this.publisher = new ClientProcess(`publisher of ${topic}`, command(publisher), { ...job, act: "publish" }, (line) => this.read(line));
  }

  /** Publishes nothing new. @returns once all is acknowledged */
  finish(): Promise<void> {
    return this.publisher.finish();
  }

  async end(): Promise<void> {
    await Promise.all([this.publisher.kill(), this.consumer.kill()]);
  }

  /** The longest pauses since the last call, ms. */
  takeGaps(): { publish: number; deliver: number } {
    const { gaps } = this;
    this.gaps = { publish: 0, deliver: 0 };
    return gaps;
  }

  /** What its clients complained of last. */
  get complaints(): string {
    return [this.publisher, this.consumer].map(({ name, complaints }) => [`--- ${name}`, ...complaints].join("\n")).join("\n");
  }

  private read(line: string): void {
    this.ledger.read(line);
    const now = performance.now();
    if (line[0] === "a") {
      this.gaps.publish = Math.max(this.gaps.publish, now - this.ackedMs);
      this.ackedMs = now;
    } else if (line[0] === "d") {
      this.gaps.deliver = Math.max(this.gaps.deliver, now - this.deliveredMs);
      this.deliveredMs = now;
    }
  }
}
