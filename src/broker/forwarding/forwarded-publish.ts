import type { PendingPublish } from "../acks/pending-publish.ts";

/** What a publish takes beside its messages, about, in bytes. */
const OVERHEAD_BYTES = 512;

/** Messages that are published together, to one partition. */
interface PublishedMessages {
  readonly topic: string;
  readonly command: PendingPublish["command"];
  /** Idempotency key in latin1; empty: none. */
  readonly key: string;
  /** How long a DPUB is deferred, ms; for others 0. */
  readonly deferMs: number;
  /** Who publishes, for a trace of the topic. */
  readonly origin: string;
  /** Whether the messages are records (frame/layout.ts), which may have headers. Else they are bodies. */
  readonly isRecords: boolean;
  /** As in the body of an MPUB: `count u32 { size u32, body or rest of a record }`. The lengths of bodies were checked. */
  readonly messages: Buffer;
}

/** A publish on its way to the broker that leads its partition. */
export interface ForwardedPublish extends PublishedMessages {
  readonly partition: number;
}

/** A publish that this broker cannot carry out itself. */
export interface ForwardRequest extends PublishedMessages {
  /** Undefined: that of `keyHash`. */
  readonly partition: number | undefined;
  /** The hash (murmur3) of the key whose partition it is; undefined: any partition that somebody leads. */
  readonly keyHash: number | undefined;
}

/** Where the first message of a publish is. */
export interface MessagePlace {
  readonly partition: number;
  readonly prefix: number;
  readonly sequence: number;
  /** Its position in the log. */
  readonly position: number;
}

/** What the leader says to a publish. */
export type ForwardAnswer =
  /** It is acknowledged; without a place it repeated an earlier one. */
  | { readonly kind: "done"; readonly place: MessagePlace | undefined }
  /** Nothing was written: another broker leads, or soon will. */
  | { readonly kind: "not-leader" }
  /** Nothing was written, and nothing would be at a second attempt. */
  | { readonly kind: "refused"; readonly reason: string }
  /** It was written, or may have been, and is not acknowledged. */
  | { readonly kind: "unknown"; readonly reason: string };

/** The bytes that a publish holds until it is answered. */
export function heldBytes({ messages }: PublishedMessages): number {
  return messages.length + OVERHEAD_BYTES;
}
