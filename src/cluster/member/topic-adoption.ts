import type { Durability } from "../../broker/options.ts";
import type { Topic } from "../../broker/topics/topic.ts";
import type { Etcd } from "../etcd/etcd.ts";
import { EtcdError } from "../etcd/etcd-error.ts";
import { firstFree } from "../placement/prefixes.ts";
import type { ClusterView } from "../state/cluster-view.ts";
import type { ClusterKeys } from "../state/keys.ts";
import { type PartitionRecord, PREFIXES_SHAPE, SHAPES, type TopicRecord } from "../state/records.ts";
import { BadValue } from "../state/shape.ts";

/** What a transaction takes, beside the topic and the prefixes. */
const MOST_PARTITIONS = 126;

export interface AdoptionParts {
  readonly etcd: Etcd;
  readonly keys: ClusterKeys;
  readonly view: ClusterView;
  /** This broker's data path uid. */
  readonly uid: string;
  /** What `--durability` says. */
  readonly durability: Durability;
  readonly topics: ReadonlyMap<string, Topic>;
  /** Draws a uid for a topic. */
  newUid(): string;
}

/**
 * Makes topics that this broker has alone topics of the cluster: etcd gets their records, with this broker as the only replica and the
 * prefixes that their message ids begin with. Then they get more replicas as others do.
 */
export class TopicAdoption {
  constructor(private readonly parts: AdoptionParts) {}

  /** @returns why it cannot be, in words; undefined: it is in etcd */
  async adopt(name: string): Promise<Error | undefined> {
    const { etcd, keys, uid, topics } = this.parts;
    const topic = topics.get(name);
    if (topic === undefined) return new Error(`this broker has no topic ${name}`);
    const unfit = whyUnfit(topic);
    if (unfit !== undefined) return new Error(unfit);
    const read = await etcd.txn([], [{ get: keys.topic(name) }, { get: keys.prefixes }]);
    if (read instanceof EtcdError) return new Error(`etcd cannot be asked: ${read.message}`);
    const [there, stored] = read.entries;
    if (there !== undefined) return this.isOwn(name) ? undefined : new Error(`the cluster has another topic ${name}`);
    const prefixes = stored === undefined ? { next: 1, taken: [] } : PREFIXES_SHAPE.read(stored.value);
    if (prefixes instanceof BadValue) return new Error(`what etcd has for prefixes cannot be read: ${prefixes.message}`);
    const own = topic.partitions.map(({ log }) => log.prefix);
    const given = own.find((prefix) => firstFree(prefixes, this.givenPrefixes(), 1, prefix) !== prefix);
    if (given !== undefined)
      return new Error(
        `the ids of its messages begin with ${given.toString(16).padStart(6, "0")}, which the cluster has given to another topic; make a topic of another name, copy the messages with nsq_to_nsq, and delete this one`,
      );
    const record = this.recordOf(topic);
    const result = await etcd.txn(
      [
        { key: keys.topic(name), modRevision: 0 },
        { key: keys.prefixes, modRevision: stored?.modRevision ?? 0 },
      ],
      [
        { put: keys.topic(name), value: SHAPES.topics.write(record) },
        { put: keys.prefixes, value: PREFIXES_SHAPE.write({ ...prefixes, taken: [...prefixes.taken, ...own] }) },
        ...topic.partitions.map(({ index, log }) => {
          const partition: PartitionRecord = { uid: record.uid, prefix: log.prefix, replicas: [uid], leader: "", epoch: 0, inSync: [uid] };
          return { put: keys.partition(name, index), value: SHAPES.partitions.write(partition) };
        }),
      ],
    );
    if (result instanceof EtcdError) return new Error(`it is not known whether it was done: ${result.message}`);
    return result.succeeded ? undefined : new Error("the cluster's topics changed meanwhile: try again");
  }

  /** Whether the cluster's topic of this name is what this broker has. */
  private isOwn(name: string): boolean {
    const { view, topics } = this.parts;
    const partitions = topics.get(name)?.partitions ?? [];
    return partitions.every(({ index, log }) => view.partitions.get(`${name}/${index}`)?.value.prefix === log.prefix);
  }

  private givenPrefixes(): Set<number> {
    return new Set([...this.parts.view.partitions.values()].map(({ value }) => value.prefix));
  }

  private recordOf({ settings, partitions, durability, retention, channels, paused, keyPartitions }: Topic): TopicRecord {
    const { ordered = false, multiPart, extended, fixedChannels, channelOrder } = settings;
    return {
      uid: this.parts.newUid(),
      partitions: partitions.length,
      replicas: 1,
      minInSync: 1,
      ordered,
      durability: durability ?? this.parts.durability,
      retentionMs: retention.timeMs,
      retentionBytes: retention.bytes,
      channels: [...channels.keys()].filter((channel) => !channel.endsWith("#ephemeral")),
      paused,
      keyPartitions,
      multiPart,
      extended,
      fixedChannels,
      channelOrder,
    };
  }
}

/** Why a topic cannot be one of the cluster; undefined: it can. */
function whyUnfit({ ephemeral, partitions, settings, name }: Topic): string | undefined {
  if (ephemeral) return `topic ${name} is ephemeral, and stays at its broker`;
  if (partitions.length < settings.partitions)
    return `this broker has only ${partitions.length} of ${settings.partitions} partitions of topic ${name}; make a topic of another name in the cluster, and copy the messages with nsq_to_nsq`;
  if (partitions.length > MOST_PARTITIONS) return `topic ${name} has more than ${MOST_PARTITIONS} partitions`;
  return undefined;
}
