import { type Clock, systemClock } from "../base/clock.ts";
import { ClientError } from "./errors.ts";
import { type MessageFilter, wireFilter } from "./message-filter.ts";
import { type RemoteAddress, standardTransport, type TlsOptions, type Transport } from "./transport.ts";

/** How a client introduces itself to brokers, and what it asks of them. */
export interface ConnectionOptions {
  /** Names of this client in the brokers' statistics. Default: the host name up to its first dot, and the host name. */
  clientId?: string;
  hostname?: string;
  userAgent?: string;
  /** True, or how to encrypt. A broker that does not offer TLS is refused. */
  tls?: boolean | TlsOptions;
  /** Compression, if the broker has it. Snappy needs the packages `snappy` and `@node-rs/crc32`. Not both. */
  snappy?: boolean;
  /** True, or a level from 1 (fastest) to 9 (smallest). */
  deflate?: boolean | number;
  /** The secret for AUTH, sent to brokers that ask for it. */
  authSecret?: string;
  /** How often the broker sends a heartbeat, ms. A connection that is silent twice as long is ended. Default 30,000. */
  heartbeatMs?: number;
  /** How long connecting may take, with all handshakes, ms. Default 5,000. */
  connectTimeoutMs?: number;
  /** The longest pause between two attempts to connect, ms. The first is 100 ms, each doubles. Default 5,000. */
  maxReconnectMs?: number;
  /** Where the client is, for brokers that prefer near consumers. */
  topology?: { region: string; zone: string };
  /** The largest frame that is accepted, bytes. Default 64 MiB. */
  maxFrameBytes?: number;
  /** The sockets; set by the package for Node and for Bun. */
  transport?: Transport;
  /** The clock; tests give one that they move. */
  clock?: Clock;
}

/** What only consumers ask for. */
export interface DeliveryOptions {
  /** Percentage of the messages to receive, 1 to 99. Default: all. */
  sampleRate?: number;
  /** How long a message may stay unanswered, ms. Default: the broker's. */
  msgTimeoutMs?: number;
  /** How many bytes the broker gathers before it sends, and for how long, ms; -1 for not at all. Default: the broker's. */
  outputBufferBytes?: number;
  outputBufferMs?: number;
  /**
   * The order of the channel (bunsq): with "key" one message of each key is delivered at a time, with "partition" one of each
   * partition. The first consumer says it; others may ask for a stricter one. Default: that of the channel.
   */
  order?: "none" | "key" | "partition";
  /** Messages with this tag are wanted, and no others (bunsq). Default: those with a tag that no consumer has, and those without. */
  tag?: string;
  /** Which messages are wanted, by their headers (bunsq). Default: all. */
  filter?: MessageFilter;
  /** Only messages of this partition are wanted (bunsq). Default: those of all. */
  partition?: number;
  /**
   * Whether messages come with headers, key, tag and trace id, where the broker has them. Default: only with `order`, `tag`, `filter`,
   * `partition` or `deadLetterTopic`, since the broker then has to copy messages.
   */
  headers?: boolean;
}

/** The options of a connection with their defaults. */
export interface ConnectionSettings {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly identity: Readonly<Record<string, unknown>>;
  readonly tls: TlsOptions | undefined;
  readonly authSecret: string | undefined;
  readonly heartbeatMs: number;
  readonly connectTimeoutMs: number;
  readonly maxReconnectMs: number;
  readonly maxFrameBytes: number;
}

const MAX_PARTITION = 1023;
const USER_AGENT = "bunsq-client/0.1.0";

/** @throws ClientError INVALID_OPTION */
export function connectionSettings(options: ConnectionOptions & DeliveryOptions, idempotency: boolean): ConnectionSettings {
  const transport = options.transport ?? standardTransport();
  const hostname = options.hostname ?? transport.hostname();
  const heartbeatMs = positive("heartbeatMs", options.heartbeatMs ?? 30_000);
  if (options.snappy && options.deflate) throw new ClientError("INVALID_OPTION", "snappy and deflate cannot both be used");
  const level = typeof options.deflate === "number" ? options.deflate : 6;
  if (!(level >= 1 && level <= 9)) throw new ClientError("INVALID_OPTION", "deflate must be a level from 1 to 9");
  const wanted = {
    client_id: options.clientId ?? hostname.split(".", 1)[0],
    hostname,
    user_agent: options.userAgent ?? USER_AGENT,
    feature_negotiation: true,
    heartbeat_interval: heartbeatMs,
    tls_v1: Boolean(options.tls) || undefined,
    snappy: options.snappy || undefined,
    deflate: Boolean(options.deflate) || undefined,
    deflate_level: options.deflate ? level : undefined,
    sample_rate: options.sampleRate,
    msg_timeout: options.msgTimeoutMs,
    output_buffer_size: options.outputBufferBytes,
    output_buffer_timeout: options.outputBufferMs,
    topology_region: options.topology?.region,
    topology_zone: options.topology?.zone,
    // bunsq's own. Other brokers ignore it.
    idempotency: idempotency || undefined,
    message_headers: true,
    channel_order: options.order,
    delivery_tokens: options.order === undefined ? undefined : true,
    extend_support: options.headers || undefined,
    desired_tag: options.tag,
    ext_filter: options.filter && wireFilter(options.filter),
  };
  return {
    transport,
    clock: options.clock ?? systemClock,
    identity: wanted,
    tls: options.tls ? (options.tls === true ? {} : options.tls) : undefined,
    authSecret: options.authSecret,
    heartbeatMs,
    connectTimeoutMs: positive("connectTimeoutMs", options.connectTimeoutMs ?? 5_000),
    maxReconnectMs: positive("maxReconnectMs", options.maxReconnectMs ?? 5_000),
    maxFrameBytes: positive("maxFrameBytes", options.maxFrameBytes ?? 64 * 1024 * 1024),
  };
}

/** @throws ClientError INVALID_OPTION */
export function positive(name: string, value: number): number {
  if (value > 0 && Number.isFinite(value)) return value;
  throw new ClientError("INVALID_OPTION", `${name} must be a positive number, not ${value}`);
}

/** @throws ClientError INVALID_OPTION */
export function notNegative(name: string, value: number): number {
  if (value >= 0) return value;
  throw new ClientError("INVALID_OPTION", `${name} must not be negative: ${value}`);
}

/** @throws ClientError INVALID_OPTION */
export function checkPartition(partition: number | undefined): number | undefined {
  if (partition === undefined || (Number.isInteger(partition) && partition >= 0 && partition <= MAX_PARTITION)) return partition;
  throw new ClientError("INVALID_OPTION", `a partition is a number from 0 to ${MAX_PARTITION}, not ${partition}`);
}

const HOST_AND_PORT = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/;

/** Parses `host:port`, `[address]:port` or the path of a unix socket, `/run/bunsq.sock`. @throws ClientError INVALID_OPTION */
export function parseBroker(text: string): RemoteAddress {
  if (text.startsWith("/")) return { path: text };
  const match = HOST_AND_PORT.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535 || port === 0) {
    throw new ClientError("INVALID_OPTION", `invalid address "${text}": give it as host:port, for instance 127.0.0.1:4150`);
  }
  return { host: match[1] ?? match[2] ?? "", port };
}
