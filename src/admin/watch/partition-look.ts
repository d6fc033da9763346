import type { ReplicaRole } from "../partition-api.ts";
import { type Fields, fieldsOf, listOf, numberOf, textOf } from "../upstream/fields.ts";
import { askBrokers } from "./ask-brokers.ts";
import type { Look } from "./look-cache.ts";
import type { WatchedBroker } from "./watched-broker.ts";
import type { Watcher } from "./watcher.ts";

/** One partition at one broker, of a topic or of a channel. */
export interface PartitionAtBroker {
  partition: number;
  /** Undefined: the broker has it alone. */
  role: ReplicaRole | undefined;
  depth: number;
  inFlight: number;
  deferred: number;
  blocked: number;
  messageCount: number;
  /** NaN for a channel. */
  messageBytes: number;
  logBytes: number;
}

/** The partitions of a topic, or of a channel, at the brokers that have it: asked for while somebody looks at them, and not with each poll. */
export class PartitionLook implements Look {
  readonly byBroker = new Map<string, readonly PartitionAtBroker[]>();

  /** @param channel empty: the topic with all its channels */
  constructor(
    private readonly topic: string,
    private readonly channel: string,
    private readonly watcher: Watcher,
  ) {}

  get size(): number {
    let size = 0;
    for (const partitions of this.byBroker.values()) size += partitions.length;
    return size;
  }

  async refresh(): Promise<void> {
    const brokers = [...this.watcher.cluster.brokers.values()].filter((broker) => this.hasSome(broker)).map(({ address }) => address);
    for (const known of this.byBroker.keys()) if (!brokers.includes(known)) this.byBroker.delete(known);
    await askBrokers(brokers, async (broker) => void this.byBroker.set(broker, await this.ask(broker)));
  }

  private hasSome({ isUp, topics }: WatchedBroker): boolean {
    const topic = topics.get(this.topic);
    return isUp && topic !== undefined && topic.partitions > 1 && (this.channel === "" || topic.channels.has(this.channel));
  }

  private async ask(broker: string): Promise<PartitionAtBroker[]> {
    const query = `topic=${encodeURIComponent(this.topic)}&channel=${encodeURIComponent(this.channel)}`;
    const stats = await this.watcher.ask(broker, `/stats?format=json&include_clients=false&include_mem=false&${query}`);
    const answer = fieldsOf(listOf(fieldsOf(stats), "topics")[0]);
    const roles = new Map(
      listOf(answer, "replicas")
        .map(fieldsOf)
        .map((replica) => [numberOf(replica, "partition"), roleIn(replica)]),
    );
    return listOf(answer, "partitions").map((item) => this.read(fieldsOf(item), roles));
  }

  private read(fields: Fields, roles: ReadonlyMap<number, ReplicaRole | undefined>): PartitionAtBroker {
    const all = listOf(fields, "channels").map(fieldsOf);
    const isTopic = this.channel === "";
    const channels = isTopic ? all : all.filter((channel) => textOf(channel, "channel_name") === this.channel);
    const sum = (name: string) => channels.reduce((total, channel) => total + numberOf(channel, name), 0);
    return {
      partition: numberOf(fields, "partition"),
      role: roles.get(numberOf(fields, "partition")),
      // What waits for a topic is in it and in its channels.
      depth: sum("depth") + (isTopic ? numberOf(fields, "depth") : 0),
      inFlight: sum("in_flight_count"),
      deferred: sum("deferred_count"),
      blocked: sum("blocked_count"),
      messageCount: isTopic ? numberOf(fields, "message_count") : sum("message_count"),
      messageBytes: isTopic ? numberOf(fields, "message_bytes") : Number.NaN,
      logBytes: isTopic ? numberOf(fields, "log_bytes") : Number.NaN,
    };
  }
}

const ROLES = ["leader", "follower", "out"] as const;

function roleIn(replica: Fields): ReplicaRole | undefined {
  return ROLES.find((known) => known === replica.role);
}
