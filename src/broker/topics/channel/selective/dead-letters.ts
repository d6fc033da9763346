import { ID_OFFSET, MESSAGE_ID_BYTES } from "../../../../frame/frame.ts";
import { bodyAt, encodeHeader, HeaderReader, MAX_HEADER_TEXT_BYTES } from "../../../../frame/header.ts";
import type { TopicParts } from "../../topic-parts.ts";
import type { FoundRecord } from "./record-finder.ts";

/** The topic and channel whose dead letters are moved. */
export interface DeadLettersOf {
  readonly topicName: string;
  readonly channelName: string;
  /** Finishes a message that was published to the dead letters. */
  finish(sequence: number): void;
}

/** Moves messages that were delivered too often to a topic of their own, each with its header and with why. */
export class DeadLetters {
  /** How many were moved since the broker started. */
  count = 0;
  /** Sequences of those that are being published. */
  private moving = new Set<number>();

  constructor(
    private readonly of: DeadLettersOf,
    private readonly parts: Pick<TopicParts, "deadLetterDesk" | "rateLimitedLog">,
  ) {}

  /** The channel discards its messages. */
  restart(): void {
    // Those under way are published, and no message of that sequence is finished for them.
    this.moving = new Set();
  }

  /**
   * Publishes a message to the dead letters, and then finishes it. If that fails, the message stays, and the caller tries again. A crash
   * in between publishes it once nevertheless, as long as its key is remembered (docs/order.md).
   *
   * @param record of the message; it is copied
   */
  move(sequence: number, { buffer, from, to }: FoundRecord, attempts: number, topic: string): void {
    const { moving, of } = this;
    if (moving.has(sequence)) return;
    moving.add(sequence);
    const id = buffer.toString("latin1", from + ID_OFFSET, from + ID_OFFSET + MESSAGE_ID_BYTES);
    const idempotencyKey = `dead letter ${of.topicName} ${of.channelName} ${id}`;
    const { key, header } = this.headerOf(buffer, from, attempts);
    const body = Buffer.from(buffer.subarray(bodyAt(buffer, from), to));
    this.parts.deadLetterDesk.publish(topic, idempotencyKey, key, body, header).then(
      () => {
        if (!moving.delete(sequence) || moving !== this.moving) return;
        this.count++;
        of.finish(sequence);
      },
      (error: Error) => {
        moving.delete(sequence);
        const fields = { topic: of.topicName, channel: of.channelName };
        const what = `CHANNEL(${of.channelName}) of ${of.topicName}: message ${id} was delivered ${attempts} times`;
        this.parts.rateLimitedLog.error(`${what}, and cannot be moved to ${topic}: ${error.message}; it is tried again`, fields);
      },
    );
  }

  /** @returns the message's key, and its encoded header with why it is a dead letter */
  private headerOf(record: Buffer, at: number, attempts: number): { key: Buffer; header: Buffer } {
    const header = new HeaderReader();
    header.read(record, at);
    const text = record.toString("utf8", header.textFrom, header.textTo);
    const reason = JSON.stringify({
      "bunsq-dead-letter-topic": this.of.topicName,
      "bunsq-dead-letter-channel": this.of.channelName,
      "bunsq-dead-letter-reason": "max_attempts",
      "bunsq-dead-letter-attempts": `${attempts}`,
    });
    const joined = Buffer.from(withMembers(text, reason));
    const key = Buffer.from(record.subarray(header.keyFrom, header.keyTo));
    const encoded = encodeHeader({
      traceId: header.traceId,
      key,
      tag: record.subarray(header.tagFrom, header.tagTo),
      text: joined.length > MAX_HEADER_TEXT_BYTES ? record.subarray(header.textFrom, header.textTo) : joined,
    });
    return { key, header: encoded };
  }
}

/** Adds the members of one JSON object to another text, whose bytes stay as they are. One that is no object becomes a member itself. */
function withMembers(text: string, members: string): string {
  const trimmed = text.trim();
  if (trimmed === "" || /^\{\s*\}$/.test(trimmed)) return members;
  if (trimmed.startsWith("{") && trimmed.endsWith("}")) return `${trimmed.slice(0, -1)},${members.slice(1)}`;
  return `${members.slice(0, -1)},"bunsq-dead-letter-header":${JSON.stringify(text)}}`;
}
