import { fatal, nonFatal, type ProtocolError } from "../../frame/error.ts";
import { NO_BYTES } from "../../frame/header.ts";
import type { Line } from "../../frame/line.ts";
import type { MessageBatch } from "../../frame/message-batch.ts";
import { MpubCheck } from "../../frame/mpub.ts";
import { murmur3 } from "../../frame/murmur3.ts";
import { isValidName } from "../../frame/names.ts";
import { PendingPublish } from "../acks/pending-publish.ts";
import { SplitCommit } from "../acks/split-commit.ts";
import { MAX_KEY_BYTES } from "../storage/idempotency/key-store.ts";
import type { Publishing } from "../topics/publishing.ts";
import type { Topic } from "../topics/topic.ts";
import { TopicPartition } from "../topics/topic-partition.ts";
import type { Origin } from "../trace/trace-name.ts";
import type { ClientAuth } from "./client-auth.ts";
import { badTopic, type CommandResult, publishFailed } from "./commands/command.ts";
import { ANY_PARTITION, TOPIC_NOT_EXIST } from "./commands/youzan/parameters.ts";
import { TracedAnswer } from "./traced-answer.ts";

/** What publishing needs of the broker. */
export interface PublisherServices {
  readonly publishing: Publishing;
  readonly registry: {
    /** The topic whose name is in [from, to), if there is one. The look-up makes no string. */
    knownTopic(bytes: Uint8Array, from: number, to: number): Topic | undefined;
  };
  /** Whether publishes may have keys. */
  readonly keys: { readonly enabled: boolean };
}

/** Where the acknowledgements of publishes wait for their commit. */
interface Acks {
  add(pending: PendingPublish): void;
}

/** Youzan's answers to publishes. Where there is no text, their clients still expect the space in front of it. */
const NOT_WRITABLE = nonFatal("E_FAILED_ON_NOT_WRITABLE", "");
/** Another broker has the partition. */
const NOT_LEADER = nonFatal("E_FAILED_ON_NOT_LEADER", "");
const PARTITION_NEEDED = fatal("E_BAD_PARTITION", `topic partition is not valid for multi partition: ${ANY_PARTITION}`);

/** A batch of several partitions adds the index of each to its idempotency key. */
const MAX_SPLIT_KEY_BYTES = MAX_KEY_BYTES - 5;
const KEY_TOO_LONG = fatal("E_INVALID", `MPUB_EXT idempotency key longer than ${MAX_SPLIT_KEY_BYTES} bytes`);

/** Bytes of the number of messages at the start of a batch. */
const COUNT_BYTES = 4;

/** Publishes one client's messages: remembers the topic of its last publish and what is under way, and counts. */
export class Publisher {
  /** Checks the body of the MPUB that is under way. */
  readonly batch = new MpubCheck();
  /** The delay of the DPUB that is under way, ms. */
  deferMs = 0;
  /** The client negotiated that its publishes may have keys. */
  idempotent = false;
  /**
   * The client negotiated `message_headers`: the topics of its publishes with headers are made, their lines may have idempotency keys
   * behind the partition, and they do not make it one of Youzan's clients.
   */
  makesTopics = false;
  /** The key of the publish that is under way; empty for none. */
  key = "";

  private readonly counters = new Map<string, { count: number }>();
  /** The topic that the last publish named; undefined if it did not exist then. */
  private topic: Topic | undefined;
  private topicName: Buffer = Buffer.alloc(0);
  /** The counter of that topic. */
  private counter: { count: number } | undefined;
  /** The partition that the last publish named; ANY_PARTITION: none. */
  private partitionIndex = ANY_PARTITION;

  constructor(
    private readonly services: PublisherServices,
    private readonly auth: ClientAuth | undefined,
    private readonly acks: Acks,
    /** The client. */
    private readonly client: Origin & { readonly inFlightCount: number },
  ) {}

  /** Published messages by topic. A client with any is a producer in the statistics. */
  get counts(): Map<string, number> {
    return new Map([...this.counters].map(([topic, { count }]) => [topic, count]));
  }

  get hasPublished(): boolean {
    return this.counters.size > 0;
  }

  /** Allows keys if the client wants them and the broker has them. */
  negotiateKeys(isWanted: boolean): void {
    this.idempotent = isWanted && this.services.keys.enabled;
  }

  /** Notes the topic that a publish's line names. The topic of the last publish costs no look-up, and no existing one a string. */
  selectTopic(command: string | undefined, line: Line): ProtocolError | undefined {
    // A publish that failed may have left its key.
    this.key = "";
    if (this.isSelected(line)) return undefined;
    const topic = this.services.registry.knownTopic(line.buffer, line.start(1), line.end(1));
    if (topic === undefined && !isValidName(line.text(1))) return badTopic(command ?? line.text(0), line);
    this.select(topic, line);
    return undefined;
  }

  /**
   * Notes the topic that the line of a publish with headers, or of one of Youzan's clients, names, and the partition. Whether they
   * exist, checkTarget() says.
   */
  selectTarget(line: Line, partition: number): ProtocolError | undefined {
    this.partitionIndex = partition;
    this.key = "";
    if (this.makesTopics) return this.selectTopic(undefined, line);
    if (!this.isSelected(line)) this.select(this.services.registry.knownTopic(line.buffer, line.start(1), line.end(1)), line);
    return undefined;
  }

  private isSelected(line: Line): boolean {
    return this.topic !== undefined && !this.topic.deleted && this.topic.isNamed(line.buffer, line.start(1), line.end(1));
  }

  private select(topic: Topic | undefined, line: Line): void {
    this.topic = topic;
    this.topicName = topic?.nameBytes ?? Buffer.from(line.buffer.subarray(line.start(1), line.end(1)));
    this.counter = undefined;
  }

  /** PUB: publishes the message in [from, to) to the selected topic. */
  publish(bytes: Buffer, from: number, to: number): CommandResult {
    const refused = this.auth?.checkPublish("PUB", this.topicName);
    if (refused !== undefined) return refused;
    const topic = this.openTopic();
    if (topic instanceof Error) return publishFailed("PUB", topic);
    this.awaitAck(topic, this.services.publishing.append(topic.nextPartition(), this.key, bytes, from, to, this.client));
    return undefined;
  }

  /** DPUB: publishes the message in [from, to) after `deferMs`. */
  publishDeferred(bytes: Buffer, from: number, to: number): CommandResult {
    const refused = this.auth?.checkPublish("DPUB", this.topicName);
    if (refused !== undefined) return refused;
    const topic = this.openTopic();
    if (topic instanceof Error) return publishFailed("DPUB", topic);
    this.awaitAck(topic, this.services.publishing.defer(topic.nextPartition(), this.key, bytes, from, to, this.deferMs, this.client));
    return undefined;
  }

  /** MPUB, before its body is there: whether the client may publish the batch, and the topic accepts it. */
  prepareBatch(): CommandResult {
    const refused = this.auth?.checkPublish("MPUB", this.topicName);
    if (refused !== undefined) return refused;
    const topic = this.openTopic();
    return topic instanceof Error ? publishFailed("MPUB", topic) : undefined;
  }

  /** MPUB: publishes the messages that `batch` found in [from, to). */
  publishBatch(bytes: Buffer, from: number, to: number): CommandResult {
    const topic = this.openTopic();
    if (topic instanceof Error) return publishFailed("MPUB", topic);
    const { publishing } = this.services;
    const partition = topic.nextPartition();
    this.awaitAck(topic, publishing.appendBatch(partition, this.key, bytes, from + COUNT_BYTES, to, this.batch.count, this.client));
    return undefined;
  }

  // ---- for Youzan's clients, which publish to what exists

  /** Why nothing can be published to the selected topic and partition: there are none, at no broker, or it must be named. */
  checkTarget(): ProtocolError | undefined {
    const { topic, partitionIndex } = this;
    if (topic === undefined || topic.deleted) return this.makesTopics && partitionIndex === ANY_PARTITION ? undefined : TOPIC_NOT_EXIST;
    if (partitionIndex !== ANY_PARTITION) return topic.hasPartition(partitionIndex) ? undefined : TOPIC_NOT_EXIST;
    return topic.settings.ordered === true && !this.makesTopics ? PARTITION_NEEDED : undefined;
  }

  /** Why messages with headers are refused. */
  checkHeaders(): ProtocolError | undefined {
    if (this.topic?.settings.extended !== false) return undefined;
    return nonFatal("E_EXT_NOT_SUPPORT", `ext content not supported in topic ${this.topic.name}`);
  }

  /** Whether the client may publish to the selected topic. */
  checkPermission(command: string): CommandResult {
    return this.auth?.checkPublish(command, this.topicName);
  }

  /**
   * Publishes the message in [from, to) to the selected partition.
   *
   * @param header encoded (frame/header.ts); empty: none
   * @param key says which partition it is if none is selected; empty: each in turn
   * @param textBytes of the JSON in the header
   * @param traceId the answer has it, and says where the message is; undefined: the answer is OK
   */
  publishTo(
    header: Uint8Array,
    key: Uint8Array,
    textBytes: number,
    bytes: Buffer,
    from: number,
    to: number,
    traceId?: bigint,
  ): CommandResult {
    const partition = this.openPartition(key);
    if (!(partition instanceof TopicPartition)) return partition;
    const { publishing } = this.services;
    const answer = traceId === undefined ? undefined : new TracedAnswer(partition);
    const pending = publishing.append(partition, this.key, bytes, from, to, this.client, header);
    answer?.add(to - from, textBytes);
    this.awaitAck(partition.topic, this.isPlaced(answer) ? answer.to(pending, traceId ?? 0n) : pending);
    return undefined;
  }

  /** DPUB_EXT: publishes as publishTo(), after `deferMs`. */
  deferTo(header: Uint8Array, key: Uint8Array, bytes: Buffer, from: number, to: number): CommandResult {
    const partition = this.openPartition(key);
    if (!(partition instanceof TopicPartition)) return partition;
    const { publishing } = this.services;
    this.awaitAck(partition.topic, publishing.defer(partition, this.key, bytes, from, to, this.deferMs, this.client, header));
    return undefined;
  }

  /** Publishes the `count` messages of a batch in [from, to), whose lengths were checked, to the selected partition. */
  publishBatchTo(bytes: Buffer, from: number, to: number, count: number): CommandResult {
    const partition = this.openPartition();
    if (!(partition instanceof TopicPartition)) return partition;
    const { publishing } = this.services;
    this.awaitAck(partition.topic, publishing.appendBatch(partition, this.key, bytes, from + COUNT_BYTES, to, count, this.client));
    return undefined;
  }

  /** Whether messages belong to the partitions of their keys. */
  get goesByKey(): boolean {
    return this.partitionIndex === ANY_PARTITION && this.topic !== undefined && this.topic.settings.partitions > 1;
  }

  /** PUB_EXT: publishes the only message of a batch to the selected partition, or to that of its key. @param traceId as for publishTo() */
  publishMessage(bytes: Buffer, batch: MessageBatch, textBytes: number, traceId?: bigint): CommandResult {
    const partition = batch.hasKeys ? this.openPartitionOf(batch.keyHash(0)) : this.openPartition();
    if (!(partition instanceof TopicPartition)) return partition;
    const answer = traceId === undefined ? undefined : new TracedAnswer(partition);
    const { pendingPub, topic } = partition;
    const pending = this.services.publishing.appendMessages(partition, this.key, bytes, batch, 0, 1, this.client, pendingPub);
    answer?.add(batch.bodyBytesOf(0), textBytes);
    this.awaitAck(topic, this.isPlaced(answer) ? answer.to(pending, traceId ?? 0n) : pending);
    return undefined;
  }

  /**
   * Publishes messages with headers to the selected partition, or to those of their keys.
   *
   * @param isTraced the answer says where the first one is; they have neither keys nor JSON
   */
  publishMessages(bytes: Buffer, batch: MessageBatch, isTraced: boolean): CommandResult {
    if (batch.hasKeys) return this.publishByKeys(bytes, batch);
    const partition = this.openPartition();
    if (!(partition instanceof TopicPartition)) return partition;
    const answer = isTraced ? new TracedAnswer(partition) : undefined;
    const pending = this.services.publishing.appendMessages(partition, this.key, bytes, batch, 0, batch.count, this.client);
    if (answer !== undefined) for (let i = 0; i < batch.count; i++) answer.add(batch.bodyBytesOf(i), 0);
    this.awaitAck(partition.topic, this.isPlaced(answer) ? answer.to(pending, 0n) : pending);
    return undefined;
  }

  /** Whether a publish is answered with where it is. Of one that is repeated that is not known. */
  private isPlaced(answer: TracedAnswer | undefined): answer is TracedAnswer {
    return answer !== undefined && this.services.publishing.appended > 0;
  }

  /**
   * Publishes messages to the partitions of their keys, those without one together to the next partition. With an idempotency key,
   * they go to that key's partition, so that a repetition has the same parts; and each part has a key of its own, so that those that
   * an earlier publish did not get to are made up for.
   */
  private publishByKeys(bytes: Buffer, batch: MessageBatch): CommandResult {
    const { key } = this;
    const keyless = this.openPartition(Buffer.from(key));
    if (!(keyless instanceof TopicPartition)) return keyless;
    const { topic } = keyless;
    for (let i = 0; i < batch.count; i++) {
      const partition = batch.hasKey(i) ? topic.partitionOfHash(batch.keyHash(i)) : keyless;
      if (partition === undefined) return NOT_LEADER;
      batch.setPart(i, partition.index);
    }
    const parts = batch.split();
    if (parts.length > 1 && key.length > MAX_SPLIT_KEY_BYTES) return KEY_TOO_LONG;
    const { publishing } = this.services;
    let appended = 0;
    const pending: PendingPublish[] = [];
    for (const { part, first, count } of parts) {
      const partition = topic.partition(part) ?? keyless;
      const partKey = key === "" || parts.length === 1 ? key : `${key}/${part}`;
      pending.push(publishing.appendMessages(partition, partKey, bytes, batch, first, count, this.client));
      appended += publishing.appended;
    }
    const commits = pending.map(({ target }) => target);
    this.awaitAck(topic, pending.length === 1 ? pending[0] : new PendingPublish(new SplitCommit(commits), "MPUB"), appended);
    return undefined;
  }

  /** The selected partition, or why nothing can be published to it now. @param key of the message; empty: none */
  private openPartition(key: Uint8Array = NO_BYTES): TopicPartition | ProtocolError {
    return this.openPartitionOf(key.length === 0 ? undefined : murmur3(key, 0, key.length, 0));
  }

  /** @param keyHash of the key of the message; undefined: none */
  private openPartitionOf(keyHash: number | undefined): TopicPartition | ProtocolError {
    const topic = this.makesTopics ? this.openTopic() : this.topic;
    if (topic instanceof Error) return publishFailed("PUB", topic);
    if (topic === undefined || topic.deleted) return TOPIC_NOT_EXIST;
    if (this.services.publishing.refusalFor(topic, this.client.inFlightCount > 0) !== undefined) return NOT_WRITABLE;
    const { partitionIndex } = this;
    if (partitionIndex !== ANY_PARTITION) return topic.partition(partitionIndex) ?? NOT_LEADER;
    return keyHash === undefined ? topic.nextPartition() : (topic.partitionOfHash(keyHash) ?? NOT_LEADER);
  }

  /** The selected topic. It is made if it does not exist. @returns why nothing can be published to it */
  private openTopic(): Topic | Error {
    const { publishing } = this.services;
    const { topic: known } = this;
    if (known !== undefined && !known.deleted && publishing.refusal === undefined) return known;
    const isFinishing = this.client.inFlightCount > 0;
    if (known !== undefined && !known.deleted) return publishing.refusalFor(known, isFinishing) ?? known;
    const topic = publishing.topicNamed(this.topicName.toString("latin1"), isFinishing);
    if (!(topic instanceof Error)) this.topic = topic;
    return topic;
  }

  private awaitAck(topic: Topic, pending: PendingPublish, appended = this.services.publishing.appended): void {
    this.key = "";
    if (appended > 0) {
      this.counter ??= this.counterOf(topic.name);
      this.counter.count += appended;
    }
    this.acks.add(pending);
  }

  private counterOf(topicName: string): { count: number } {
    let counter = this.counters.get(topicName);
    if (counter === undefined) {
      counter = { count: 0 };
      this.counters.set(topicName, counter);
    }
    return counter;
  }
}
