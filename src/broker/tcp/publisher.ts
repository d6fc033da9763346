import { fatal, type ProtocolError } from "../../frame/error.ts";
import { NO_BYTES } from "../../frame/header.ts";
import type { Line } from "../../frame/line.ts";
import type { MessageBatch } from "../../frame/message-batch.ts";
import { MpubCheck } from "../../frame/mpub.ts";
import { rawBytes } from "../../frame/youzan.ts";
import { PendingPublish } from "../acks/pending-publish.ts";
import { SplitCommit } from "../acks/split-commit.ts";
import { batchMessages, type ForwardedMessages, manyMessages, oneMessage } from "../forwarding/forwarded-messages.ts";
import type { MessagePlace } from "../forwarding/forwarded-publish.ts";
import { Elsewhere } from "../forwarding/place.ts";
import { MAX_KEY_BYTES } from "../storage/idempotency/key-store.ts";
import type { Publishing } from "../topics/publishing.ts";
import type { Topic } from "../topics/topic.ts";
import { TopicPartition } from "../topics/topic-partition.ts";
import type { Origin } from "../trace/trace-name.ts";
import type { ClientAuth } from "./client-auth.ts";
import { type CommandResult, WAIT } from "./commands/command.ts";
import { RemotePublishes, type RemotePublishesParts } from "./remote-publishes.ts";
import { SelectedTopic } from "./selected-topic.ts";
import { TracedAnswer, tracedFrame } from "./traced-answer.ts";

/** What publishing needs of the broker. */
export interface PublisherServices {
  readonly publishing: Publishing;
  readonly registry: {
    /** The topic whose name is in [from, to), if there is one. The look-up makes no string. */
    knownTopic(bytes: Uint8Array, from: number, to: number): Topic | undefined;
  };
  /** Whether publishes may have keys. */
  readonly keys: { readonly enabled: boolean };
  readonly turn: RemotePublishesParts["turn"];
}

/** Makes the answer to a publish of where it is. */
type AnswerFrom = (place: MessagePlace) => Buffer;

/** Where the acknowledgements of publishes wait for their commit. */
interface Acks {
  add(pending: PendingPublish): void;
}

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
  /** The key of the publish that is under way; empty for none. */
  key = "";

  private readonly counters = new Map<string, { count: number }>();
  /** What the last publish named. */
  private readonly selected: SelectedTopic;
  /** The counter of that topic. */
  private counter: { count: number } | undefined;
  private readonly remote: RemotePublishes;

  constructor(
    private readonly services: PublisherServices,
    private readonly auth: ClientAuth | undefined,
    private readonly acks: Acks,
    /** The client. */
    private readonly client: Origin & RemotePublishesParts["client"] & { readonly inFlightCount: number },
  ) {
    this.selected = new SelectedTopic(services, client);
    this.remote = new RemotePublishes({ turn: services.turn, client });
  }

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

  /**
   * The client negotiated `message_headers`: the topics of its publishes with headers are made, their lines may have idempotency keys
   * behind the partition, and they do not make it one of Youzan's clients.
   */
  get makesTopics(): boolean {
    return this.selected.makesTopics;
  }

  set makesTopics(makesTopics: boolean) {
    this.selected.makesTopics = makesTopics;
  }

  // ---- what a publish names

  /** Notes the topic that a publish's line names. The topic of the last publish costs no look-up, and no existing one a string. */
  selectTopic(command: string | undefined, line: Line): ProtocolError | undefined {
    // A publish that failed may have left its key.
    this.key = "";
    if (this.selected.isNamed(line)) return undefined;
    this.counter = undefined;
    return this.selected.select(line, command ?? line.text(0));
  }

  /**
   * Notes the topic that the line of a publish with headers, or of one of Youzan's clients, names, and the partition. Whether they
   * exist, checkTarget() says.
   */
  selectTarget(line: Line, partition: number): ProtocolError | undefined {
    this.selected.partitionIndex = partition;
    this.key = "";
    if (this.makesTopics) return this.selectTopic(undefined, line);
    if (this.selected.isNamed(line)) return undefined;
    this.counter = undefined;
    return this.selected.select(line, undefined);
  }

  /** Why nothing can be published to the selected topic and partition: there are none, at no broker, or it must be named. */
  checkTarget(): ProtocolError | undefined {
    return this.selected.check();
  }

  /** Why messages with headers are refused. */
  checkHeaders(): ProtocolError | undefined {
    return this.selected.checkHeaders();
  }

  /** Whether messages belong to the partitions of their keys. */
  get goesByKey(): boolean {
    return this.selected.goesByKey;
  }

  /** PUB: publishes the message in [from, to) to the selected topic. */
  publish(bytes: Buffer, from: number, to: number): CommandResult {
    const refused = this.auth?.checkPublish("PUB", this.selected.nameBytes);
    if (refused !== undefined) return refused;
    const place = this.selected.openAny(this.key, "PUB");
    if (place instanceof TopicPartition) {
      this.awaitAck(place.topic, this.services.publishing.append(place, this.key, bytes, from, to, this.client));
      return undefined;
    }
    return place instanceof Elsewhere ? this.oneElsewhere(place, "PUB", NO_BYTES, bytes, from, to) : place;
  }

  /** DPUB: publishes the message in [from, to) after `deferMs`. */
  publishDeferred(bytes: Buffer, from: number, to: number): CommandResult {
    const refused = this.auth?.checkPublish("DPUB", this.selected.nameBytes);
    if (refused !== undefined) return refused;
    const partition = this.selected.openAny(this.key, "DPUB");
    if (partition instanceof Elsewhere) return this.oneElsewhere(partition, "DPUB", NO_BYTES, bytes, from, to);
    if (!(partition instanceof TopicPartition)) return partition;
    this.awaitAck(partition.topic, this.services.publishing.defer(partition, this.key, bytes, from, to, this.deferMs, this.client));
    return undefined;
  }

  /** MPUB, before its body is there: whether the client may publish the batch, and the topic accepts it. */
  prepareBatch(): CommandResult {
    const refused = this.auth?.checkPublish("MPUB", this.selected.nameBytes);
    if (refused !== undefined) return refused;
    return this.selected.checkOpen("MPUB");
  }

  /** MPUB: publishes the messages that `batch` found in [from, to). */
  publishBatch(bytes: Buffer, from: number, to: number): CommandResult {
    const { batch } = this;
    const partition = this.selected.openAny(this.key, "MPUB");
    if (partition instanceof Elsewhere) return this.manyElsewhere(partition, bytes, from, to, batch.count);
    if (!(partition instanceof TopicPartition)) return partition;
    const { publishing } = this.services;
    this.awaitAck(partition.topic, publishing.appendBatch(partition, this.key, bytes, from + COUNT_BYTES, to, batch.count, this.client));
    return undefined;
  }

  // ---- for Youzan's clients, which publish to what exists

  /** Whether the client may publish to the selected topic. */
  checkPermission(command: string): CommandResult {
    return this.auth?.checkPublish(command, this.selected.nameBytes);
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
    const partition = this.selected.openPartition(this.key, key);
    if (partition instanceof Elsewhere) {
      const traced = traceId === undefined ? undefined : this.tracedBy(traceId, to - from, textBytes);
      return this.oneElsewhere(partition, "PUB", header, bytes, from, to, traced);
    }
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
    const partition = this.selected.openPartition(this.key, key);
    if (partition instanceof Elsewhere) return this.oneElsewhere(partition, "DPUB", header, bytes, from, to);
    if (!(partition instanceof TopicPartition)) return partition;
    const { publishing } = this.services;
    this.awaitAck(partition.topic, publishing.defer(partition, this.key, bytes, from, to, this.deferMs, this.client, header));
    return undefined;
  }

  /** Publishes the `count` messages of a batch in [from, to), whose lengths were checked, to the selected partition. */
  publishBatchTo(bytes: Buffer, from: number, to: number, count: number): CommandResult {
    const partition = this.selected.openPartition(this.key);
    if (partition instanceof Elsewhere) return this.manyElsewhere(partition, bytes, from, to, count);
    if (!(partition instanceof TopicPartition)) return partition;
    const { publishing } = this.services;
    this.awaitAck(partition.topic, publishing.appendBatch(partition, this.key, bytes, from + COUNT_BYTES, to, count, this.client));
    return undefined;
  }

  /** PUB_EXT: publishes the only message of a batch to the selected partition, or to that of its key. @param traceId as for publishTo() */
  publishMessage(bytes: Buffer, batch: MessageBatch, textBytes: number, traceId?: bigint): CommandResult {
    const partition = batch.hasKeys ? this.selected.openPartitionOf(this.key, batch.keyHash(0)) : this.selected.openPartition(this.key);
    if (partition instanceof Elsewhere) {
      const traced = traceId === undefined ? undefined : this.tracedBy(traceId, batch.bodyBytesOf(0), textBytes);
      return this.batchElsewhere(partition, "PUB", batch, bytes, traced);
    }
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
    const partition = this.selected.openPartition(this.key);
    if (partition instanceof Elsewhere) {
      let bodyBytes = 0;
      for (let i = 0; i < batch.count; i++) bodyBytes += batch.bodyBytesOf(i);
      const traced = isTraced ? this.tracedBy(0n, bodyBytes, 0, batch.count) : undefined;
      return this.batchElsewhere(partition, "MPUB", batch, bytes, traced);
    }
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
   * an earlier publish did not get to are made up for. Each part is published or refused by itself, and one that is refused refuses all.
   */
  private publishByKeys(bytes: Buffer, batch: MessageBatch): CommandResult {
    const { key } = this;
    const keyless = this.selected.openPartition(key, Buffer.from(key));
    if (!(keyless instanceof TopicPartition || keyless instanceof Elsewhere)) return keyless;
    const { publishing } = this.services;
    const { forwarder } = publishing;
    const places = this.selected.placeMessages(batch, keyless);
    if (!(places === undefined || places instanceof Map)) return places;
    const parts = batch.split();
    if (parts.length > 1 && key.length > MAX_SPLIT_KEY_BYTES) return KEY_TOO_LONG;
    // Before anything is published.
    for (const place of places?.values() ?? []) {
      if (place instanceof Elsewhere && forwarder !== undefined && !this.remote.hasRoom(forwarder, place)) return WAIT;
    }
    let appended = 0;
    const pending: PendingPublish[] = [];
    for (const { part, first, count } of parts) {
      const partition = places?.get(part) ?? (keyless instanceof TopicPartition ? keyless.topic.partition(part) : undefined) ?? keyless;
      const partKey = key === "" || parts.length === 1 ? key : `${key}/${part}`;
      if (partition instanceof TopicPartition) {
        pending.push(publishing.appendMessages(partition, partKey, bytes, batch, first, count, this.client));
        appended += publishing.appended;
      } else if (forwarder !== undefined) {
        const messages = batchMessages(batch, first, count, bytes);
        pending.push(this.remote.publish(forwarder, partition, { ...messages, command: "MPUB", key: partKey, deferMs: 0 }));
        appended += count;
      }
    }
    const commits = pending.map(({ target }) => target);
    this.awaitAck(undefined, pending.length === 1 ? pending[0] : new PendingPublish(new SplitCommit(commits), "MPUB"), appended);
    return undefined;
  }

  // ---- what other brokers carry out. A function that keeps its arguments costs each of its calls: none of the above does.

  private oneElsewhere(
    place: Elsewhere,
    command: PendingPublish["command"],
    header: Uint8Array,
    bytes: Buffer,
    from: number,
    to: number,
    answer?: AnswerFrom,
  ): CommandResult {
    return this.publishElsewhere(place, command, () => oneMessage(header, bytes, from, to), answer);
  }

  private manyElsewhere(place: Elsewhere, bytes: Buffer, from: number, to: number, count: number): CommandResult {
    return this.publishElsewhere(place, "MPUB", () => manyMessages(bytes, from, to, count));
  }

  private batchElsewhere(
    place: Elsewhere,
    command: PendingPublish["command"],
    batch: MessageBatch,
    bytes: Buffer,
    answer?: AnswerFrom,
  ): CommandResult {
    return this.publishElsewhere(place, command, () => batchMessages(batch, 0, batch.count, bytes), answer);
  }

  /** @param messages called if there is room for them */
  private publishElsewhere(
    place: Elsewhere,
    command: PendingPublish["command"],
    messages: () => ForwardedMessages,
    answer?: AnswerFrom,
  ): CommandResult {
    const { forwarder } = this.services.publishing;
    if (forwarder === undefined || !this.remote.hasRoom(forwarder, place)) return WAIT;
    const { key } = this;
    const deferMs = command === "DPUB" ? this.deferMs : 0;
    const publish = { ...messages(), command, key, deferMs, answer };
    this.awaitAck(undefined, this.remote.publish(forwarder, place, publish), publish.count);
    return undefined;
  }

  /** What makes the answer to a publish with a trace id that is carried out elsewhere. */
  private tracedBy(traceId: bigint, bodyBytes: number, textBytes: number, count = 1): AnswerFrom {
    const isExtended = this.selected.isExtended;
    const sizeBytes = rawBytes(bodyBytes, textBytes, isExtended) + (count - 1) * rawBytes(0, 0, isExtended);
    return ({ partition, sequence, position }) => tracedFrame(partition, sequence, position, traceId, sizeBytes);
  }

  /** @param topic undefined: the selected one */
  private awaitAck(topic: Topic | undefined, pending: PendingPublish, appended = this.services.publishing.appended): void {
    this.key = "";
    if (appended > 0) {
      this.counter ??= this.counterOf(topic?.name ?? this.selected.name);
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
