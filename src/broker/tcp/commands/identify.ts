import { readFields } from "../../../base/go/json.ts";
import { fatal, type ProtocolError } from "../../../frame/error.ts";
import { encodeFrame, FRAME_TYPE_RESPONSE } from "../../../frame/frame.ts";
import type { Line } from "../../../frame/line.ts";
import { NSQ_VERSION } from "../../../version.ts";
import { STATE_INIT } from "../client-state.ts";
import type { Connection } from "../connection.ts";
import type { Upgrade } from "../transport/upgrade.ts";
import { type BodyCommand, checkBodySize, SIZED_BODY } from "./command.ts";

/** What a client may say of itself; what it does not say is this. Durations in ms, as the client sent them. */
const NOTHING_SAID = {
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
  /** bunsq's own: its publishes may carry a key (docs/replay.md). */
  idempotency: false,
};
/** What is heard only by a broker that looks where consumers are. */
const NOTHING_SAID_OF_PLACE = { ...NOTHING_SAID, topology_region: "", topology_zone: "" };
type Identity = typeof NOTHING_SAID & Partial<typeof NOTHING_SAID_OF_PLACE>;

const DEFAULT_DEFLATE_LEVEL = 6;

/** Of a client's body, in the log. */
const LOGGED_CHARACTERS = 1024;

/** `IDENTIFY\n size json`: the client introduces itself and negotiates. https://nsq.io/clients/tcp_protocol_spec.html#identify */
export const IDENTIFY: BodyCommand = {
  ...SIZED_BODY,

  execute(connection: Connection, _line: Line): ProtocolError | undefined {
    return connection.state === STATE_INIT ? undefined : fatal("E_INVALID", "cannot IDENTIFY in current state");
  },

  size(connection: Connection, size: number): ProtocolError | undefined {
    return checkBodySize(connection, "IDENTIFY", size);
  },

  body(connection: Connection, bytes: Buffer, from: number, to: number): ProtocolError | undefined {
    const text = bytes.toString("utf8", from, to);
    // What is no double is a bigint there: outside all bounds, and refused with the digits that were sent.
    const { topology } = connection.broker;
    const known = topology === undefined ? NOTHING_SAID : NOTHING_SAID_OF_PLACE;
    const identity = readFields(text, known, ["sample_rate"]) as Identity | undefined;
    if (identity === undefined) return fatal("E_BAD_BODY", "IDENTIFY failed to decode JSON body");
    connection.broker.log.info(`[${connection.remoteAddress}] IDENTIFY: ${text.slice(0, LOGGED_CHARACTERS)}`);
    const refused = apply(connection, identity);
    if (refused !== undefined) return refused;
    if (!identity.feature_negotiation) {
      connection.ok();
      return undefined;
    }
    const agreed = agree(connection, identity);
    if (agreed.deflate && agreed.snappy) return fatal("E_IDENTIFY_FAILED", "cannot enable both deflate and snappy compression");
    const upgrades: Upgrade[] = [];
    if (agreed.tls) upgrades.push({ layer: "tls" });
    if (agreed.snappy) upgrades.push({ layer: "snappy" });
    if (agreed.deflate) upgrades.push({ layer: "deflate", level: agreed.deflateLevel });
    if (upgrades.length > 0 && connection.layers.agreed)
      return fatal("E_IDENTIFY_FAILED", "IDENTIFY failed: the connection was upgraded before");
    connection.respond(encodeFrame(FRAME_TYPE_RESPONSE, describe(connection, identity, agreed)));
    if (upgrades.length > 0) connection.layers.agree(upgrades);
    return undefined;
  },

  truncated(hasSize: boolean): ProtocolError {
    return fatal("E_BAD_BODY", `IDENTIFY failed to read body${hasSize ? "" : " size"}`);
  },
};

/** Takes over what was said. @returns the first value that is out of bounds, in nsqd's words and order */
function apply(connection: Connection, identity: Identity): ProtocolError | undefined {
  const { options } = connection.broker;
  connection.clientId = identity.client_id;
  connection.hostname = identity.hostname;
  connection.userAgent = identity.user_agent;
  connection.setPlace(identity.topology_region ?? "", identity.topology_zone ?? "");
  connection.publisher.idempotent = identity.idempotency && connection.broker.keys.enabled;

  const heartbeat = identity.heartbeat_interval;
  if (heartbeat === -1) connection.heartbeatIntervalMs = 0;
  else if (heartbeat >= 1000 && heartbeat <= options.maxHeartbeatIntervalMs) connection.heartbeatIntervalMs = heartbeat;
  else if (heartbeat !== 0) return invalid("heartbeat interval", heartbeat);

  const timeout = identity.output_buffer_timeout;
  if (timeout === -1) connection.outputBufferTimeoutMs = 0;
  else if (timeout !== 0) {
    // Of a bound between two milliseconds nsqd takes the whole ones.
    if (timeout < Math.trunc(options.minOutputBufferTimeoutMs) || timeout > options.maxOutputBufferTimeoutMs)
      return invalid("output buffer timeout", timeout);
    connection.outputBufferTimeoutMs = timeout;
  }

  const size = identity.output_buffer_size;
  if (size === -1) {
    connection.outputBufferSizeBytes = 1;
    connection.outputBufferTimeoutMs = 0;
  } else if (size !== 0) {
    if (size < 64 || size > options.maxOutputBufferSizeBytes) return invalid("output buffer size", size);
    connection.outputBufferSizeBytes = size;
  }

  const sampleRate = identity.sample_rate;
  if (sampleRate < 0 || sampleRate > 99) return invalid("sample rate", sampleRate);
  connection.sampleRate = sampleRate;

  const msgTimeout = identity.msg_timeout;
  if (msgTimeout !== 0) {
    if (msgTimeout < 1000 || msgTimeout > options.maxMsgTimeoutMs) return invalid("msg timeout", msgTimeout);
    connection.msgTimeoutMs = msgTimeout;
  }
  connection.heartbeatChanged();
  return undefined;
}

function invalid(name: string, value: number): ProtocolError {
  return fatal("E_BAD_BODY", `IDENTIFY ${name} (${value}) is invalid`);
}

/** What becomes of the layers that a client asks for. */
interface Agreement {
  tls: boolean;
  deflate: boolean;
  /** Told even when deflate is off. */
  deflateLevel: number;
  snappy: boolean;
}

function agree({ broker }: Connection, identity: Identity): Agreement {
  const { options } = broker;
  const deflate = options.deflate && identity.deflate;
  // Compared, not computed with: a number that is no double is a bigint.
  const wanted = deflate && identity.deflate_level > 0 ? identity.deflate_level : DEFAULT_DEFLATE_LEVEL;
  return {
    tls: broker.tls !== undefined && identity.tls_v1,
    deflate,
    deflateLevel: Number(wanted) > options.maxDeflateLevel ? options.maxDeflateLevel : wanted,
    snappy: identity.snappy && broker.listener.offersSnappy(),
  };
}

/** The answer to a client that negotiates: keys and their order are nsqd's. */
function describe(connection: Connection, identity: Identity, { tls, deflate, deflateLevel, snappy }: Agreement): string {
  const { options } = connection.broker;
  return JSON.stringify({
    max_rdy_count: options.maxRdyCount,
    version: NSQ_VERSION,
    max_msg_timeout: Math.trunc(options.maxMsgTimeoutMs),
    msg_timeout: Math.trunc(connection.msgTimeoutMs),
    tls_v1: tls,
    deflate,
    deflate_level: deflateLevel,
    max_deflate_level: options.maxDeflateLevel,
    snappy,
    sample_rate: connection.sampleRate,
    auth_required: connection.auth !== undefined,
    output_buffer_size: connection.outputBufferSizeBytes,
    output_buffer_timeout: Math.trunc(connection.outputBufferTimeoutMs),
    // Only who asks for it is told of what nsqd does not have.
    ...(identity.idempotency ? { idempotency: connection.publisher.idempotent } : {}),
  });
}
