import type { ProtocolError } from "../../frame/error.ts";
import type { Line } from "../../frame/line.ts";
import { MpubCheck } from "../../frame/mpub.ts";
import { isEphemeral, isValidName } from "../../frame/names.ts";
import type { HeldPublish } from "../acks/pending-publish.ts";
import type { Topic } from "../topics/topic.ts";
import { badTopic, type CommandResult } from "./commands/command.ts";
import type { Connection } from "./connection.ts";

/** What a client publishes: the topic that its last publish named, the publish whose body is under way, and its counts. */
export class Publisher {
  /** The walk over an MPUB's body that is under way. */
  readonly mpub = new MpubCheck();
  /** When a DPUB whose body is under way falls due, from now, ms. */
  deferMs = 0;
  /** It negotiated that its publishes may have keys. */
  idempotent = false;
  /** Of the publish whose body is under way; empty for none. */
  key = "";

  private readonly published = new Map<string, { count: number }>();
  private lastTopic: Topic | undefined;
  private lastTopicName: Buffer = Buffer.alloc(0);
  private lastPublished: { count: number } | undefined;

  constructor(private readonly client: Connection) {}

  /** Published messages by topic: a client with any is a producer in the statistics. */
  get counts(): Map<string, number> {
    return new Map([...this.published].map(([topic, { count }]) => [topic, count]));
  }

  get hasPublished(): boolean {
    return this.published.size > 0;
  }

  /** Takes note of the topic that a publish's line names. One that exists costs no string; the same as last time no look-up. */
  nameTopic(command: string, line: Line): ProtocolError | undefined {
    const { buffer } = line;
    const start = line.start(1);
    const end = line.end(1);
    if (this.lastTopic !== undefined && !this.lastTopic.deleted && this.lastTopic.isNamed(buffer, start, end)) return undefined;
    const topic = this.client.broker.registry.knownTopic(buffer, start, end);
    if (topic === undefined && !isValidName(line.text(1))) return badTopic(command, line);
    this.lastTopic = topic;
    this.lastTopicName = topic?.nameBytes ?? Buffer.from(buffer.subarray(start, end));
    this.lastPublished = undefined;
    return undefined;
  }

  /** Whether it may publish to the topic that nameTopic() noted. */
  mayPublish(command: string): CommandResult {
    return this.client.auth?.checkPublish(command, this.lastTopicName);
  }

  /** The topic that nameTopic() noted; it is made if it does not exist. @returns why it cannot be had */
  namedTopic(): Topic | Error {
    const { broker } = this.client;
    if (broker.refusal !== undefined && (broker.closing || !isEphemeral(this.topicName))) return broker.refusal;
    if (this.lastTopic !== undefined && !this.lastTopic.deleted) return this.lastTopic;
    try {
      this.lastTopic = broker.topic(this.topicName);
    } catch (error) {
      return error as Error;
    }
    return this.lastTopic;
  }

  /** Whether the publish that is under way repeats an earlier one by its key; then it is answered here. */
  isRepeated(topic: Topic, held: HeldPublish): boolean {
    const repeated = this.client.broker.repeated(topic, this.key, held);
    this.key = "";
    if (repeated === undefined) return false;
    this.client.hold(repeated);
    return true;
  }

  /** Counts what it published to its named topic. */
  count(topic: Topic, messages: number): void {
    this.lastPublished ??= this.publishedTo(topic);
    this.lastPublished.count += messages;
  }

  private publishedTo({ name }: Topic): { count: number } {
    let published = this.published.get(name);
    if (published === undefined) {
      published = { count: 0 };
      this.published.set(name, published);
    }
    return published;
  }

  private get topicName(): string {
    return this.lastTopicName.toString("latin1");
  }
}
