import { fatal, nonFatal, type ProtocolError } from "../../frame/error.ts";
import { NO_BYTES } from "../../frame/header.ts";
import type { Line } from "../../frame/line.ts";
import { murmur3 } from "../../frame/murmur3.ts";
import { isValidName } from "../../frame/names.ts";
import { Elsewhere, placeOf } from "../forwarding/place.ts";
import type { Publishing } from "../topics/publishing.ts";
import type { Topic } from "../topics/topic.ts";
import { TopicPartition } from "../topics/topic-partition.ts";
import { badTopic, publishFailed } from "./commands/command.ts";
import { ANY_PARTITION, TOPIC_NOT_EXIST } from "./commands/youzan/parameters.ts";

/** Youzan's answers to publishes. Where there is no text, their clients still expect the space in front of it. */
const NOT_WRITABLE = nonFatal("E_FAILED_ON_NOT_WRITABLE", "");
/** Another broker has the partition. */
const NOT_LEADER = nonFatal("E_FAILED_ON_NOT_LEADER", "");
const PARTITION_NEEDED = fatal("E_BAD_PARTITION", `topic partition is not valid for multi partition: ${ANY_PARTITION}`);

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
  openAny(key: string, command: string): TopicPartition | Elsewhere | ProtocolError {
    const { publishing } = this.services;
    const place = publishing.forwarder === undefined ? undefined : this.placeOf(undefined, undefined, key);
    if (place instanceof Elsewhere) {
      const leaving = publishing.leavingRefusal(this.client.inFlightCount > 0);
      return leaving === undefined ? place : publishFailed(command, leaving);
    }
    const topic = this.openTopic();
    if (topic instanceof Error) return publishFailed(command, topic);
    const partition = place ?? topic.nextPartition();
    const refusal = partition.replicated?.[0].publishRefusal;
    return refusal === undefined ? partition : publishFailed(command, refusal);
  }

  /**
   * The selected partition, or why nothing can be published to it now.
   *
   * @param idempotencyKey of the publish; empty: none
   * @param key of the message; empty: none
   */
  openPartition(idempotencyKey: string, key: Uint8Array = NO_BYTES): TopicPartition | Elsewhere | ProtocolError {
    return this.openPartitionOf(idempotencyKey, key.length === 0 ? undefined : murmur3(key, 0, key.length, 0));
  }

  /** @param keyHash of the key of the message; undefined: none */
  openPartitionOf(idempotencyKey: string, keyHash: number | undefined): TopicPartition | Elsewhere | ProtocolError {
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
  private placeOf(index: number | undefined, keyHash: number | undefined, idempotencyKey: string): TopicPartition | Elsewhere | undefined {
    const { forwarder } = this.services.publishing;
    const topic = this.topic?.deleted === true ? undefined : this.topic;
    return forwarder && placeOf(forwarder, this.name, topic, index, keyHash, idempotencyKey);
  }

  /**
   * Where a message of a batch goes.
   *
   * @param keyless where those without a key go
   * @param known places that were asked for, by partition
   * @param keyHash of its key
   */
  openKeyed(
    keyless: TopicPartition | Elsewhere,
    known: ReadonlyMap<number, TopicPartition | Elsewhere>,
    keyHash: number,
  ): TopicPartition | Elsewhere | ProtocolError {
    const { forwarder } = this.services.publishing;
    const name = keyless instanceof TopicPartition ? keyless.topic.name : keyless.topic;
    const routed = forwarder?.topic(name);
    if (routed !== undefined) return known.get(keyHash % routed.keyPartitions) ?? this.openPartitionOf("", keyHash);
    // A topic that is being made has one partition.
    if (keyless instanceof Elsewhere) return keyless;
    return keyless.topic.partitionOfHash(keyHash) ?? NOT_LEADER;
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
