import { fatal, nonFatal, type ProtocolError } from "../../frame/error.ts";
import { NO_BYTES } from "../../frame/header.ts";
import type { Line } from "../../frame/line.ts";
import type { MessageBatch } from "../../frame/message-batch.ts";
import { murmur3 } from "../../frame/murmur3.ts";
import { isValidName } from "../../frame/names.ts";
import { Elsewhere, placeOf } from "../forwarding/place.ts";
import { MAX_PARTITIONS } from "../storage/metadata/partition-name.ts";
import type { Publishing } from "../topics/publishing.ts";
import type { Topic } from "../topics/topic.ts";
import { TopicPartition } from "../topics/topic-partition.ts";
import { badTopic, publishFailed } from "./commands/command.ts";
import { ANY_PARTITION, TOPIC_NOT_EXIST } from "./commands/youzan/parameters.ts";

/** Youzan's answers to publishes. Where there is no text, their clients still expect the space in front of it. */
const NOT_WRITABLE = nonFatal("E_FAILED_ON_NOT_WRITABLE", "");
/** Another broker has the partition. */
const NOT_LEADER = nonFatal("E_FAILED_ON_NOT_LEADER", "");
/** Stands among the parts of a batch for those of its messages that any partition may get. */
const ANY_PART = MAX_PARTITIONS;
const PARTITION_NEEDED = fatal("E_BAD_PARTITION", `topic partition is not valid for multi partition: ${ANY_PARTITION}`);

type Place = TopicPartition | Elsewhere;

/** What finding topics needs of the broker. */
export interface SelectedTopicServices {
  readonly publishing: Publishing;
  readonly registry: {
    /** The topic whose name is in [from, to), if there is one. The look-up makes no string. */
    knownTopic(bytes: Uint8Array, from: number, to: number): Topic | undefined;
  };
}

/** The topic that the last publish of a client named, and the partition. It says where a publish goes. */
export class SelectedTopic {
  /** As of Publisher. */
  makesTopics = false;
  /** ANY_PARTITION: none is named. */
  partitionIndex = ANY_PARTITION;
  nameBytes: Buffer = Buffer.alloc(0);
  /** Undefined if this broker did not have it then. */
  private topic: Topic | undefined;

  constructor(
    private readonly services: SelectedTopicServices,
    private readonly client: { readonly inFlightCount: number },
  ) {}

  get name(): string {
    return this.topic?.name ?? this.nameBytes.toString("latin1");
  }

  get isExtended(): boolean {
    return this.topic?.settings.extended === true;
  }

  /** A line names the same topic. */
  isNamed(line: Line): boolean {
    return this.topic !== undefined && !this.topic.deleted && this.topic.isNamed(line.buffer, line.start(1), line.end(1));
  }

  /** Notes the topic that a line names. @param command for the error of a name that is not valid; undefined: such a topic does not exist */
  select(line: Line, command: string | undefined): ProtocolError | undefined {
    const topic = this.services.registry.knownTopic(line.buffer, line.start(1), line.end(1));
    if (topic === undefined && command !== undefined && !isValidName(line.text(1))) return badTopic(command, line);
    this.topic = topic;
    this.nameBytes = topic?.nameBytes ?? Buffer.from(line.buffer.subarray(line.start(1), line.end(1)));
    return undefined;
  }

  /** Why nothing can be published to the selected topic and partition: there are none, at no broker, or it must be named. */
  check(): ProtocolError | undefined {
    const { topic, partitionIndex } = this;
    const routed = this.services.publishing.forwarder?.topic(this.name);
    if (routed !== undefined) return partitionIndex < routed.partitions ? undefined : TOPIC_NOT_EXIST;
    if (topic === undefined || topic.deleted) return this.makesTopics && partitionIndex === ANY_PARTITION ? undefined : TOPIC_NOT_EXIST;
    if (partitionIndex !== ANY_PARTITION) return topic.hasPartition(partitionIndex) ? undefined : TOPIC_NOT_EXIST;
    return topic.settings.ordered === true && !this.makesTopics ? PARTITION_NEEDED : undefined;
  }

  /** Why messages with headers are refused. */
  checkHeaders(): ProtocolError | undefined {
    if (this.topic?.settings.extended !== false) return undefined;
    return nonFatal("E_EXT_NOT_SUPPORT", `ext content not supported in topic ${this.topic.name}`);
  }

  /** Whether messages belong to the partitions of their keys. */
  get goesByKey(): boolean {
    if (this.partitionIndex !== ANY_PARTITION) return false;
    const { forwarder } = this.services.publishing;
    if (forwarder !== undefined && (this.topic === undefined || forwarder.topic(this.name) !== undefined)) return true;
    return this.topic !== undefined && this.topic.settings.partitions > 1;
  }

  /** Why nothing can be published to the selected topic, before it is said where it goes. A topic of this broker's alone is made if there is none. */
  checkOpen(command: string): ProtocolError | undefined {
    const { publishing } = this.services;
    const refusal = publishing.forwarder === undefined ? this.openTopic() : publishing.leavingRefusal(this.client.inFlightCount > 0);
    return refusal instanceof Error ? publishFailed(command, refusal) : undefined;
  }

  /** The partition that a publish goes to which names none and has no key; or why nothing can be published to the selected topic. */
  openAny(key: string, command: string): Place | ProtocolError {
    const place = this.services.publishing.forwarder === undefined ? undefined : this.placeOf(undefined, undefined, key);
    if (place !== undefined) return this.open(place, command);
    const topic = this.openTopic();
    return topic instanceof Error ? publishFailed(command, topic) : topic.nextPartition();
  }

  /** A place in the cluster, or why nothing can be published there. */
  private open(place: Place, command: string): Place | ProtocolError {
    const { publishing } = this.services;
    const isFinishing = this.client.inFlightCount > 0;
    const refusal =
      place instanceof Elsewhere
        ? publishing.leavingRefusal(isFinishing)
        : (publishing.refusalFor(place.topic, isFinishing) ?? place.replicated?.[0].publishRefusal);
    return refusal === undefined ? place : publishFailed(command, refusal);
  }

  /**
   * The selected partition, or why nothing can be published to it now.
   *
   * @param idempotencyKey of the publish; empty: none
   * @param key of the message; empty: none
   */
  openPartition(idempotencyKey: string, key: Uint8Array = NO_BYTES): Place | ProtocolError {
    return this.openPartitionOf(idempotencyKey, key.length === 0 ? undefined : murmur3(key, 0, key.length, 0));
  }

  /** @param keyHash of the key of the message; undefined: none */
  openPartitionOf(idempotencyKey: string, keyHash: number | undefined): Place | ProtocolError {
    const { publishing } = this.services;
    const { partitionIndex } = this;
    const index = partitionIndex === ANY_PARTITION ? undefined : partitionIndex;
    const place = publishing.forwarder === undefined ? undefined : this.placeOf(index, keyHash, idempotencyKey);
    if (place instanceof Elsewhere) return publishing.leavingRefusal(this.client.inFlightCount > 0) === undefined ? place : NOT_WRITABLE;
    const topic = this.makesTopics ? this.openTopic() : this.topic;
    if (topic instanceof Error) return publishFailed("PUB", topic);
    if (topic === undefined || topic.deleted) return TOPIC_NOT_EXIST;
    if (publishing.refusalFor(topic, this.client.inFlightCount > 0) !== undefined) return NOT_WRITABLE;
    if (place !== undefined) return place.replicated?.[0].publishRefusal === undefined ? place : NOT_WRITABLE;
    if (index !== undefined) return topic.partition(index) ?? NOT_LEADER;
    return keyHash === undefined ? topic.nextPartition() : (topic.partitionOfHash(keyHash) ?? NOT_LEADER);
  }

  /** In a cluster: which of its partitions a publish goes to, or that it goes elsewhere; undefined: the topic is this broker's alone. */
  private placeOf(index: number | undefined, keyHash: number | undefined, idempotencyKey: string): Place | undefined {
    const { forwarder } = this.services.publishing;
    const topic = this.topic?.deleted === true ? undefined : this.topic;
    return forwarder && placeOf(forwarder, this.name, topic, index, keyHash, idempotencyKey);
  }

  /**
   * Says to which part of a batch each of its messages belongs: a part is for one partition.
   *
   * @param keyless where those without a key go
   * @returns where each part goes, if the topic is the cluster's; undefined: to the partition of its number
   */
  placeMessages(batch: MessageBatch, keyless: Place): Map<number, Place> | ProtocolError | undefined {
    const routed = this.services.publishing.forwarder?.topic(this.name);
    if (routed !== undefined) return this.placeInCluster(batch, keyless, routed.keyPartitions);
    // A topic that is being made has one partition.
    if (keyless instanceof Elsewhere) return this.placeInCluster(batch, keyless, 0);
    const { topic } = keyless;
    for (let i = 0; i < batch.count; i++) {
      const partition = batch.hasKey(i) ? topic.partitionOfHash(batch.keyHash(i)) : keyless;
      if (partition === undefined) return NOT_LEADER;
      batch.setPart(i, partition.index);
    }
    return undefined;
  }

  /** @param keyPartitions 0: messages with a key go where those without one go */
  private placeInCluster(batch: MessageBatch, keyless: Place, keyPartitions: number): Map<number, Place> | ProtocolError {
    const others = keyless instanceof TopicPartition ? keyless.index : (keyless.partition ?? ANY_PART);
    const places = new Map<number, Place>();
    for (let i = 0; i < batch.count; i++) {
      const hash = keyPartitions > 0 && batch.hasKey(i) ? batch.keyHash(i) : undefined;
      const part = hash === undefined ? others : hash % keyPartitions;
      batch.setPart(i, part);
      if (places.has(part)) continue;
      const place = hash === undefined ? keyless : this.openPartitionOf("", hash);
      if (!(place instanceof TopicPartition || place instanceof Elsewhere)) return place;
      places.set(part, place);
    }
    return places;
  }

  /** The selected topic. It is made if it does not exist. @returns why nothing can be published to it */
  private openTopic(): Topic | Error {
    const { publishing } = this.services;
    const { topic: known } = this;
    if (known !== undefined && !known.deleted && publishing.refusal === undefined) return known;
    const isFinishing = this.client.inFlightCount > 0;
    if (known !== undefined && !known.deleted) return publishing.refusalFor(known, isFinishing) ?? known;
    const topic = publishing.topicNamed(this.name, isFinishing);
    if (!(topic instanceof Error)) this.topic = topic;
    return topic;
  }
}
