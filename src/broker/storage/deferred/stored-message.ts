import type { Bucket } from "./bucket.ts";
import type { ScannedEntry } from "./entry.ts";

/**
 * A message of the deferred store while it is in memory: it is about to fall due, or it is due and in flight or ready in
 * its channel.
 */
export class StoredMessage {
  /** State of the delivery, in the channel's own values; the channel sets it when the message is due. */
  state = 0;
  /** Id of the connection that has the message in flight. */
  owner = 0;
  deadlineMs = 0;
  deliveredAtMs = 0;
  /** Holds the frame, at `pageAt`, until the message is due. */
  page: EntryPage | undefined = undefined;
  pageAt = 0;

  constructor(
    readonly kind: number,
    readonly topicId: number,
    readonly channelId: number,
    readonly number: number,
    readonly sequence: number,
    /** When the message is due. A requeue makes a new message. */
    public dueMs: number,
    public attempts: number,
    /** Undefined for a message that is in memory only (#ephemeral); `frame` is set then. */
    readonly bucket: Bucket | undefined,
    /** The entry's offset in the bucket's file. */
    readonly offset: number,
    readonly frameBytes: number,
    readonly frame: Buffer | undefined,
  ) {}

  /** Makes a message of an entry that a scan presents. */
  static fromScan(entry: ScannedEntry, bucket: Bucket): StoredMessage {
    const { kind, topicId, channelId, number, sequence, dueMs, attempts, offset, frameBytes } = entry;
    return new StoredMessage(kind, topicId, channelId, number, sequence, dueMs, attempts, bucket, offset, frameBytes, undefined);
  }
}

/** A part of a bucket in memory. It is reused when the last of the messages that have their frame in it is due. */
export interface EntryPage {
  buffer: Buffer;
  /** How many messages have their frame in it. */
  messages: number;
}
