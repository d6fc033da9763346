import { murmur3 } from "../../frame/murmur3.ts";
import { isEphemeral } from "../../frame/names.ts";
import type { Topic } from "../topics/topic.ts";
import type { TopicPartition } from "../topics/topic-partition.ts";
import type { Forwarder } from "./forwarder.ts";

/** Where a publish goes that this broker does not carry out itself now. */
export class Elsewhere {
  constructor(
    readonly topic: string,
    /** Undefined: that of `keyHash`. */
    readonly partition: number | undefined,
    /** The hash of the key whose partition it is; undefined: any partition. */
    readonly keyHash: number | undefined,
  ) {}
}

/**
 * Where a publish goes on a broker of a cluster.
 *
 * @param topic that this broker has of the name; undefined: none
 * @param index of the partition that is named; undefined: none is
 * @param keyHash the hash of the message's key; undefined: it has none
 * @param key idempotency key: a repetition has to come to the same partition, so it stands in for a message's key; empty: none
 * @returns undefined: the topic is not the cluster's, but this broker's alone
 */
export function placeOf(
  forwarder: Forwarder,
  name: string,
  topic: Topic | undefined,
  index: number | undefined,
  keyHash: number | undefined,
  key: string,
): TopicPartition | Elsewhere | undefined {
  const here = topic && servedHere(topic, index, keyHash !== undefined || key !== "");
  if (here !== undefined) return here;
  const routed = forwarder.topic(name);
  // While this broker does not know the cluster yet, it knows by its logs what is the cluster's.
  const isLone = topic === undefined ? isEphemeral(name) || forwarder.isWaiting(name) : topic.partitions[0].replicated === undefined;
  if (routed === undefined && isLone) return undefined;
  const hash = keyHash ?? (key === "" ? undefined : hashOf(key));
  if (routed === undefined) return new Elsewhere(name, index, hash);
  const wanted = index ?? (hash === undefined ? undefined : hash % routed.keyPartitions);
  const partition = wanted === undefined ? nextServed(topic) : topic?.partition(wanted);
  return partition?.serving === true ? partition : new Elsewhere(name, wanted, undefined);
}

/** The partition of a publish, if it is clear without asking that it is one that this broker serves: so most publishes allocate nothing. */
function servedHere(topic: Topic, index: number | undefined, hasKey: boolean): TopicPartition | undefined {
  const isAny = index === undefined && (!hasKey || topic.settings.partitions === 1);
  const partition = index !== undefined ? topic.partition(index) : isAny ? nextServed(topic) : undefined;
  return partition?.serving === true ? partition : undefined;
}

function nextServed(topic: Topic | undefined): TopicPartition | undefined {
  return topic === undefined || topic.served.length === 0 ? undefined : topic.nextPartition();
}

function hashOf(key: string): number {
  const bytes = Buffer.from(key, "latin1");
  return murmur3(bytes, 0, bytes.length, 0);
}
