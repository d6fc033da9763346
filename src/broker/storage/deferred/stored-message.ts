import { IN_FLIGHT, READY } from "../../topics/channel/window.ts";
import type { Bucket } from "./bucket.ts";

/**
 * A message that stands in the deferred store rather than in its topic's log, while it is in memory:
 * about to fall due, or due and on its way through a channel.
 */
export class StoredMessage {
  /** READY until delivered, then IN_FLIGHT, as in a window. */
  state = READY;
  owner = 0;
  deadline = 0;
  deliveredAt = 0;
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

  get inFlight(): boolean {
    return this.state === IN_FLIGHT;
  }
}

/** Bytes of a bucket in memory, for the messages in them: reused when the last of these has fallen due. */
export interface EntryPage {
  buffer: Buffer;
  messages: number;
}
