import { fatal, type ProtocolError } from "../../frame/error.ts";
import { encodeFrame, FRAME_TYPE_RESPONSE } from "../../frame/frame.ts";
import type { Line } from "../../frame/line.ts";
import { NSQ_VERSION } from "../../version.ts";
import { type Connection, STATE_INIT } from "../connection.ts";
import { type BodyCommand, SIZED_BODY } from "./command.ts";

/** What a client may say of itself. Durations in ms, as the client sent them. */
interface Identity {
  client_id: string;
  hostname: string;
  heartbeat_interval: number;
  output_buffer_size: number;
  output_buffer_timeout: number;
  feature_negotiation: boolean;
  tls_v1: boolean;
  deflate: boolean;
  deflate_level: number;
  snappy: boolean;
  sample_rate: number;
  user_agent: string;
  msg_timeout: number;
}

const NOTHING_SAID: Identity = {
  client_id: "",
  hostname: "",
  heartbeat_interval: 0,
  output_buffer_size: 0,
  output_buffer_timeout: 0,
  feature_negotiation: false,
  tls_v1: false,
  deflate: false,
  deflate_level: 0,
  snappy: false,
  sample_rate: 0,
  user_agent: "",
  msg_timeout: 0,
};

/** Of a client's body, in the log. */
const LOGGED_CHARACTERS = 1024;

/** A number as it stood in the text: Go takes `1000` for an integer and neither `1000.0` nor `1e3`. */
class Literal {
  constructor(readonly source: string) {}
}

/** What JSON.parse tells a reviver beside the value, where the engine does (TC39: JSON.parse source text access). */
type Reviver = (key: string, value: unknown, context: { source?: string }) => unknown;
const keepLiterals: Reviver = (_key, value, { source }) => (typeof value === "number" ? new Literal(source ?? String(value)) : value);
const parseJson = JSON.parse as (text: string, reviver: Reviver) => unknown;

/** `IDENTIFY\n size json`: the client introduces itself and negotiates. https://nsq.io/clients/tcp_protocol_spec.html#identify */
export const IDENTIFY: BodyCommand = {
  ...SIZED_BODY,

  execute(connection: Connection, _line: Line): ProtocolError | undefined {
    return connection.state === STATE_INIT ? undefined : fatal("E_INVALID", "cannot IDENTIFY in current state");
  },

  size(connection: Connection, size: number): ProtocolError | undefined {
    const limit = connection.broker.options.maxBodySizeBytes;
    if (size > limit) return fatal("E_BAD_BODY", `IDENTIFY body too big ${size} > ${limit}`);
    if (size <= 0) return fatal("E_BAD_BODY", `IDENTIFY invalid body size ${size}`);
    return undefined;
  },

  body(connection: Connection, bytes: Buffer, from: number, to: number): ProtocolError | undefined {
    const text = bytes.toString("utf8", from, to);
    const identity = parseIdentity(text);
    if (identity === undefined) return fatal("E_BAD_BODY", "IDENTIFY failed to decode JSON body");
    connection.broker.log.info(`[${connection.remoteAddress}] IDENTIFY: ${text.slice(0, LOGGED_CHARACTERS)}`);
    const problem = apply(connection, identity);
    if (problem !== undefined) return fatal("E_BAD_BODY", `IDENTIFY ${problem}`);
    if (identity.feature_negotiation) connection.respond(encodeFrame(FRAME_TYPE_RESPONSE, negotiate(connection)));
    else connection.ok();
    return undefined;
  },

  truncated(hasSize: boolean): ProtocolError {
    return fatal("E_BAD_BODY", `IDENTIFY failed to read body${hasSize ? "" : " size"}`);
  },
};

/**
 * Reads the body as Go's encoding/json reads it into nsqd's struct: unknown keys are ignored, keys match in any
 * case, null says nothing, a value of another type is an error.
 */
function parseIdentity(text: string): Identity | undefined {
  let parsed: unknown;
  try {
    parsed = parseJson(text, keepLiterals);
  } catch {
    return undefined;
  }
  if (parsed === null) return { ...NOTHING_SAID };
  if (typeof parsed !== "object" || Array.isArray(parsed) || parsed instanceof Literal) return undefined;
  const identity: Record<string, unknown> = { ...NOTHING_SAID };
  for (const [given, value] of Object.entries(parsed)) {
    const key = given in NOTHING_SAID ? given : given.toLowerCase();
    if (!(key in NOTHING_SAID) || value === null) continue;
    const field = key as keyof Identity;
    if (value instanceof Literal) {
      const number = typeof NOTHING_SAID[field] === "number" ? parseInteger(value.source, field === "sample_rate" ? 32 : 64) : undefined;
      if (number === undefined) return undefined;
      identity[field] = number;
    } else {
      if (typeof value !== typeof NOTHING_SAID[field]) return undefined;
      identity[field] = value;
    }
  }
  return identity as unknown as Identity;
}

/** @returns undefined for what is no integer or does not fit in so many bits; a bigint where a double is not exact: it is beyond every bound */
function parseInteger(source: string, bits: number): number | bigint | undefined {
  if (!/^-?\d+$/.test(source)) return undefined;
  const value = BigInt(source);
  if (BigInt.asIntN(bits, value) !== value) return undefined;
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** Takes over what was said. @returns which value is out of bounds, in nsqd's words and order */
function apply(connection: Connection, identity: Identity): string | undefined {
  const { options } = connection.broker;
  connection.clientId = identity.client_id;
  connection.hostname = identity.hostname;
  connection.userAgent = identity.user_agent;

  const heartbeat = identity.heartbeat_interval;
  if (heartbeat === -1) connection.heartbeatIntervalMs = 0;
  else if (heartbeat >= 1000 && heartbeat <= options.maxHeartbeatIntervalMs) connection.heartbeatIntervalMs = heartbeat;
  else if (heartbeat !== 0) return `heartbeat interval (${heartbeat}) is invalid`;

  const timeout = identity.output_buffer_timeout;
  if (timeout === -1) connection.outputBufferTimeoutMs = 0;
  else if (timeout !== 0) {
    if (timeout < options.minOutputBufferTimeoutMs || timeout > options.maxOutputBufferTimeoutMs)
      return `output buffer timeout (${timeout}) is invalid`;
    connection.outputBufferTimeoutMs = timeout;
  }

  const size = identity.output_buffer_size;
  if (size === -1) {
    connection.outputBufferSizeBytes = 1;
    connection.outputBufferTimeoutMs = 0;
  } else if (size !== 0) {
    if (size < 64 || size > options.maxOutputBufferSizeBytes) return `output buffer size (${size}) is invalid`;
    connection.outputBufferSizeBytes = size;
  }

  const sampleRate = identity.sample_rate;
  if (sampleRate < 0 || sampleRate > 99) return `sample rate (${sampleRate}) is invalid`;
  connection.sampleRate = sampleRate;

  const msgTimeout = identity.msg_timeout;
  if (msgTimeout !== 0) {
    if (msgTimeout < 1000 || msgTimeout > options.maxMsgTimeoutMs) return `msg timeout (${msgTimeout}) is invalid`;
    connection.msgTimeoutMs = msgTimeout;
  }
  connection.heartbeatChanged();
  return undefined;
}

/** The answer to a client that negotiates: keys and their order are nsqd's. TLS and compression are not offered yet. */
function negotiate(connection: Connection): string {
  const { options } = connection.broker;
  return JSON.stringify({
    max_rdy_count: options.maxRdyCount,
    version: NSQ_VERSION,
    max_msg_timeout: Math.trunc(options.maxMsgTimeoutMs),
    msg_timeout: Math.trunc(connection.msgTimeoutMs),
    tls_v1: false,
    deflate: false,
    deflate_level: Math.min(6, options.maxDeflateLevel),
    max_deflate_level: options.maxDeflateLevel,
    snappy: false,
    sample_rate: connection.sampleRate,
    auth_required: false,
    output_buffer_size: connection.outputBufferSizeBytes,
    output_buffer_timeout: Math.trunc(connection.outputBufferTimeoutMs),
  });
}
