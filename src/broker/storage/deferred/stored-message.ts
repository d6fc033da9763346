import type { Bucket } from "./bucket.ts";
import type { ScannedEntry } from "./entry.ts";

/**
 * A message that stands in the deferred store rather than in its topic's log, while it is in memory:
 * about to fall due, or due and on its way through a channel.
 */
export class StoredMessage {
  /** The channel's, from when the message falls due on: its state, who has it, until when, and since when. */
  state = 0;
  owner = 0;
  deadlineMs = 0;
  deliveredAtMs = 0;
  /** Its frame stands here, at `pageAt`, until it falls due. */
  page: EntryPage | undefined = undefined;
  pageAt = 0;

  constructor(
    readonly kind: number,
    readonly topicId: number,
    readonly channelId: number,
    readonly number: number,
    readonly sequence: number,
    /** When it falls due; a requeue of it makes a new message. */
    public dueMs: number,
    public attempts: number,
    /** Undefined for what lives in memory only (#ephemeral); then `frame` is set. */
    readonly bucket: Bucket | undefined,
    /** Of the entry in the bucket's file. */
    readonly offset: number,
    readonly frameBytes: number,
    readonly frame: Buffer | undefined,
  ) {}

  /** The message of an entry that a scan has come to. */
  static fromScan(entry: ScannedEntry, bucket: Bucket): StoredMessage {
    const { kind, topicId, channelId, number, sequence, dueMs, attempts, offset, frameBytes } = entry;
    return new StoredMessage(kind, topicId, channelId, number, sequence, dueMs, attempts, bucket, offset, frameBytes, undefined);
  }
}

/** Bytes of a bucket in memory, for the messages in them: reused when the last of these has fallen due. */
export interface EntryPage {
  buffer: Buffer;
  messages: number;
}
