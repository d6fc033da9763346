import type { ClientError } from "./errors.ts";

/** What happens to connections and lookups. */
export type LinkEvent =
  | { readonly type: "connected"; readonly broker: string; readonly features: Readonly<Features> }
  /** A connection has ended, with an error unless this side wanted it. */
  | { readonly type: "disconnected"; readonly broker: string; readonly error: ClientError | undefined }
  /** A broker cannot be reached; it is tried again after `retryMs`. */
  | { readonly type: "connect-failed"; readonly broker: string; readonly error: ClientError; readonly retryMs: number }
  /** The broker sent an error that no call waits for, such as E_FIN_FAILED for a message that timed out. */
  | { readonly type: "broker-error"; readonly broker: string; readonly error: ClientError }
  | { readonly type: "lookup-failed"; readonly lookup: string; readonly error: ClientError }
  | { readonly type: "broker-found"; readonly broker: string }
  | { readonly type: "broker-forgotten"; readonly broker: string };

/** What a producer reports. */
export type ProducerEvent =
  | LinkEvent
  /** The callback of a send() has thrown. */
  | { readonly type: "callback-failed"; readonly error: Error }
  /** Messages whose fate on a broken connection is unknown are sent to another broker: they may be there twice. */
  | {
      readonly type: "maybe-duplicated";
      readonly topic: string;
      readonly count: number;
      readonly from: string;
      readonly to: string;
      readonly key: string | undefined;
    };

/** What a consumer reports. */
export type ConsumerEvent =
  | LinkEvent
  /** All connections stop for `durationMs`. */
  | { readonly type: "backoff"; readonly level: number; readonly durationMs: number }
  /** One message is let through, to see whether it succeeds. */
  | { readonly type: "backoff-probe"; readonly level: number }
  | { readonly type: "backoff-ended" }
  | { readonly type: "handler-failed"; readonly broker: string; readonly id: string; readonly attempts: number; readonly error: Error }
  /** The message has used up its attempts. It is finished, after it was copied to `deadLetterTopic` if there is one. */
  | {
      readonly type: "gave-up";
      readonly broker: string;
      readonly id: string;
      readonly attempts: number;
      readonly deadLetterTopic: string | undefined;
    };

/** What a broker has agreed to. */
export interface Features {
  /** The largest RDY that the broker accepts. */
  maxRdyCount: number;
  version: string;
  msgTimeoutMs: number;
  maxMsgTimeoutMs: number;
  tls: boolean;
  snappy: boolean;
  deflate: boolean;
  deflateLevel: number;
  sampleRate: number;
  authRequired: boolean;
  outputBufferBytes: number;
  outputBufferMs: number;
  /** The broker recognizes a publish that is repeated with the same key. */
  idempotency: boolean;
  /** The cluster that the broker is in; undefined: it is alone, or not asked for keys. */
  cluster: string | undefined;
  /** Any broker of the cluster recognizes a publish that is repeated with the same key. */
  clusterKeys: boolean;
  /** Messages may be published with headers. */
  messageHeaders: boolean;
  /** Messages come with their headers, and with ids of 16 bytes. */
  extendSupport: boolean;
  /** The order that was asked for is known; undefined: none was, or the broker has none. */
  channelOrder: string | undefined;
  /** Answers say which delivery of their message they are about. */
  deliveryTokens: boolean;
}
