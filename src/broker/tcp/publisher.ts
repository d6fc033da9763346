import type { ProtocolError } from "../../frame/error.ts";
import type { Line } from "../../frame/line.ts";
import { MpubCheck } from "../../frame/mpub.ts";
import { isValidName } from "../../frame/names.ts";
import type { PendingPublish } from "../acks/pending-publish.ts";
import type { Publishing } from "../topics/publishing.ts";
import type { Topic } from "../topics/topic.ts";
import type { Origin } from "../trace/trace-name.ts";
import type { ClientAuth } from "./client-auth.ts";
import { badTopic, type CommandResult, publishFailed } from "./commands/command.ts";

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
  /** The topic that the last publish named; undefined if it did not exist then. */
  private topic: Topic | undefined;
  private topicName: Buffer = Buffer.alloc(0);
  /** The counter of that topic. */
  private counter: { count: number } | undefined;

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
  selectTopic(command: string, line: Line): ProtocolError | undefined {
    const { buffer } = line;
    const start = line.start(1);
    const end = line.end(1);
    if (this.topic !== undefined && !this.topic.deleted && this.topic.isNamed(buffer, start, end)) return undefined;
    const topic = this.services.registry.knownTopic(buffer, start, end);
    if (topic === undefined && !isValidName(line.text(1))) return badTopic(command, line);
    this.topic = topic;
    this.topicName = topic?.nameBytes ?? Buffer.from(buffer.subarray(start, end));
    this.counter = undefined;
    return undefined;
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

  private awaitAck(topic: Topic, pending: PendingPublish): void {
    this.key = "";
    const { appended } = this.services.publishing;
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
