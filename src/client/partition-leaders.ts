import type { Clock, Timer } from "../base/clock.ts";
import { asError, ClientError } from "./errors.ts";
import type { LinkEvent } from "./events.ts";
import type { LookupClient, TopicPartitions } from "./lookup-client.ts";
import { murmur3 } from "./murmur3.ts";

/** What is said of a topic again and again is asked for at most this often, ms. */
const MIN_ASK_MS = 250;

/** A topic whose partitions are spread over brokers, or are all at one of several. */
class SpreadTopic {
  /** @param leaders the brokers by partition; undefined: no lookup server knows where the partition is */
  constructor(readonly leaders: readonly (string | undefined)[]) {}

  /** The broker that has the messages with a key: by murmur3 (32 bits, seed 0) modulo the number of partitions, as brokers count. */
  leaderOfKey(key: string): string | undefined {
    return this.leaders[murmur3(key) % this.leaders.length];
  }
}

/** What is known of a topic. */
interface Known {
  /** Undefined: no lookup server has answered. False: each broker of the topic has all of it, or there is none. */
  topic: SpreadTopic | false | undefined;
  askedAtMs: number;
  isAsking: boolean;
  timer: Timer | undefined;
}

/** Who uses the leaders. */
export interface LeadersOwner {
  /** What is known of a topic may have changed. */
  onLeaders(): void;
  emit(event: LinkEvent): void;
}

/** Which broker has which partition of the topics that messages with keys are published to, as lookup servers say. */
export class PartitionLeaders {
  private readonly topics = new Map<string, Known>();
  private readonly stopper = new AbortController();

  /** @param maxAgeMs what is older is asked for again, while it is used */
  constructor(
    private readonly clients: readonly LookupClient[],
    private readonly maxAgeMs: number,
    private readonly clock: Clock,
    private readonly owner: LeadersOwner,
  ) {}

  /** @returns false: the topic is not spread, and each broker may get all of it; undefined: that is not known yet */
  of(topic: string): SpreadTopic | false | undefined {
    if (this.clients.length === 0) return false;
    const known = this.topics.get(topic);
    if (known === undefined || this.clock.steadyMs() - known.askedAtMs > this.maxAgeMs) this.refresh(topic);
    return known?.topic;
  }

  /** Has the lookup servers asked, soon. @returns whether there are any */
  refresh(topic: string): boolean {
    if (this.clients.length === 0 || this.stopper.signal.aborted) return false;
    let known = this.topics.get(topic);
    if (known === undefined) {
      known = { topic: undefined, askedAtMs: Number.NEGATIVE_INFINITY, isAsking: false, timer: undefined };
      this.topics.set(topic, known);
    }
    if (!known.isAsking && known.timer === undefined) this.plan(topic, known);
    return true;
  }

  stop(): void {
    this.stopper.abort();
    for (const { timer } of this.topics.values()) if (timer !== undefined) this.clock.cancel(timer);
  }

  private plan(topic: string, known: Known): void {
    const waitMs = known.askedAtMs + MIN_ASK_MS - this.clock.steadyMs();
    if (waitMs <= 0) return void this.ask(topic, known);
    known.timer = this.clock.callAfter(waitMs, () => {
      known.timer = undefined;
      void this.ask(topic, known);
    });
  }

  /** Never rejects. */
  private async ask(topic: string, known: Known): Promise<void> {
    known.isAsking = true;
    known.askedAtMs = this.clock.steadyMs();
    const answers = (await Promise.all(this.clients.map((client) => this.askOne(client, topic)))).filter((one) => one !== undefined);
    known.isAsking = false;
    if (this.stopper.signal.aborted) return;
    if (answers.length > 0) known.topic = spreadTopic(answers);
    // Messages wait for the first answer.
    else if (known.topic === undefined) this.plan(topic, known);
    this.owner.onLeaders();
  }

  private async askOne(client: LookupClient, topic: string): Promise<TopicPartitions | undefined> {
    const { signal } = this.stopper;
    try {
      return await client.partitions(topic, signal);
    } catch (thrown) {
      if (signal.aborted) return undefined;
      const error = thrown instanceof ClientError ? thrown : new ClientError("LOOKUP_FAILED", asError(thrown).message, { cause: thrown });
      this.owner.emit({ type: "lookup-failed", lookup: client.address, error });
      return undefined;
    }
  }
}

/** What several lookup servers say together: one that was started a moment ago knows only some of the partitions. */
function spreadTopic(answers: readonly TopicPartitions[]): SpreadTopic | false {
  const count = Math.max(...answers.map(({ partitions }) => partitions));
  const brokers = new Set(answers.flatMap((answer) => answer.brokers));
  const leaders = Array.from({ length: count }, (_, i) => answers.map((answer) => answer.leaders.get(i)).find((one) => one !== undefined));
  const isSpread = count > 1 && (new Set(leaders.filter((leader) => leader !== undefined)).size > 1 || brokers.size === 1);
  return isSpread && new SpreadTopic(leaders);
}
