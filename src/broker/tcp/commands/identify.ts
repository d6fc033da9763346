import { fieldsOf, parseDocument } from "../../../base/go/json.ts";
import { goQuote } from "../../../base/go/quote.ts";
import { fatal, type ProtocolError } from "../../../frame/error.ts";
import { encodeFrame, FRAME_TYPE_RESPONSE } from "../../../frame/frame.ts";
import { NSQ_VERSION } from "../../../version.ts";
import { isOrder } from "../../topics/channel/channel-settings.ts";
import type { Upgrade } from "../transport/layers.ts";
import { type Client, type IdentifyingClient, STATE_INIT } from "./client.ts";
import { type BodyCommand, checkBodySize, SIZED_BODY } from "./command.ts";
import { type YouzanIdentity, youzanIdentity } from "./youzan/identify-fields.ts";

/** What a client may tell about itself, with the values that count where it does not. Durations in ms, as the client sent them. */
const DEFAULTS = {
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
  /** Not nsqd's: the client's publishes may have keys (docs/replay.md). */
  idempotency: false,
  /** Nor this: the order that the client wants of its channel (docs/order.md). Empty: any. */
  channel_order: "",
  /** Nor this: FIN, REQ and TOUCH may say which delivery they mean. */
  delivery_tokens: false,
  /** Not nsqd's: the client publishes with headers, in NSQ's form of the protocol (docs/youzan.md). */
  message_headers: false,
};
/** The defaults for a broker that knows its location: only such a broker reads where a client is. */
const DEFAULTS_WITH_LOCATION = { ...DEFAULTS, topology_region: "", topology_zone: "" };
type Fields = typeof DEFAULTS & Partial<typeof DEFAULTS_WITH_LOCATION>;

const DEFAULT_DEFLATE_LEVEL = 6;

/** A client's body is logged up to this length. */
const LOGGED_CHARACTERS = 1024;

/** `IDENTIFY\n size json`: the client introduces itself and negotiates. https://nsq.io/clients/tcp_protocol_spec.html#identify */
export const IDENTIFY: BodyCommand = {
  ...SIZED_BODY,

  execute({ state }: Client): ProtocolError | undefined {
    return state === STATE_INIT ? undefined : fatal("E_INVALID", "cannot IDENTIFY in current state");
  },

  size(client: Client, size: number): ProtocolError | undefined {
    return checkBodySize(client, "IDENTIFY", size);
  },

  body(client: IdentifyingClient, bytes: Buffer, from: number, to: number): ProtocolError | undefined {
    const text = bytes.toString("utf8", from, to);
    const document = parseDocument(text);
    // A number that a double cannot hold is a bigint there. It is beyond every limit, and its error shows the digits that were sent.
    const defaults = client.identity.isLocated ? DEFAULTS_WITH_LOCATION : DEFAULTS;
    const fields = document === undefined ? undefined : (fieldsOf(document, defaults, ["sample_rate"]) as Fields | undefined);
    if (document === undefined || fields === undefined) return fatal("E_BAD_BODY", "IDENTIFY failed to decode JSON body");
    const youzan = youzanIdentity(document);
    client.logger.info(`[${client.remoteAddress}] IDENTIFY: ${text.slice(0, LOGGED_CHARACTERS)}`, client);
    if (youzan !== undefined && "code" in youzan) return youzan;
    const refused = apply(client, fields, youzan !== undefined) ?? applyWishes(client, fields, youzan);
    if (refused !== undefined) return refused;
    if (!fields.feature_negotiation) {
      client.respondOk();
      return undefined;
    }
    const agreed = agree(client, fields);
    if (agreed.deflate && agreed.snappy) return fatal("E_IDENTIFY_FAILED", "cannot enable both deflate and snappy compression");
    const upgrades: Upgrade[] = [];
    if (agreed.tls) upgrades.push({ layer: "tls" });
    if (agreed.snappy) upgrades.push({ layer: "snappy" });
    if (agreed.deflate) upgrades.push({ layer: "deflate", level: agreed.deflateLevel });
    if (upgrades.length > 0 && client.isUpgraded) return fatal("E_IDENTIFY_FAILED", "IDENTIFY failed: the connection was upgraded before");
    client.respond(encodeFrame(FRAME_TYPE_RESPONSE, describe(client, fields, agreed, youzan?.answer)));
    if (upgrades.length > 0) client.upgrade(upgrades);
    return undefined;
  },

  truncated(hasSize: boolean): ProtocolError {
    return fatal("E_BAD_BODY", `IDENTIFY failed to read body${hasSize ? "" : " size"}`);
  },
};

/**
 * Applies the client's settings.
 *
 * @param isYouzan it is one of Youzan's: their servers raise an output buffer timeout that is too short
 * @returns the first one that is out of range, in nsqd's words and order
 */
function apply(client: IdentifyingClient, fields: Fields, isYouzan: boolean): ProtocolError | undefined {
  const { options, identity } = client;
  identity.clientId = fields.client_id;
  identity.hostname = fields.hostname;
  identity.userAgent = fields.user_agent;
  identity.locate(fields.topology_region ?? "", fields.topology_zone ?? "");
  client.publisher.negotiateKeys(fields.idempotency);
  identity.deliveryTokens = fields.delivery_tokens;
  client.publisher.makesTopics = fields.message_headers;

  const heartbeat = fields.heartbeat_interval;
  if (heartbeat === -1) client.heartbeatIntervalMs = 0;
  else if (heartbeat >= 1000 && heartbeat <= options.maxHeartbeatIntervalMs) client.heartbeatIntervalMs = heartbeat;
  else if (heartbeat !== 0) return invalid("heartbeat interval", heartbeat);

  // nsqd rounds this limit down to whole milliseconds.
  const shortest = Math.trunc(options.minOutputBufferTimeoutMs);
  const { output_buffer_timeout: asked } = fields;
  const timeout = isYouzan && asked > 0 && asked < shortest ? shortest : asked;
  if (timeout === -1) identity.outputBufferTimeoutMs = 0;
  else if (timeout !== 0) {
    if (timeout < shortest || timeout > options.maxOutputBufferTimeoutMs) return invalid("output buffer timeout", timeout);
    identity.outputBufferTimeoutMs = timeout;
  }

  const size = fields.output_buffer_size;
  if (size === -1) {
    identity.outputBufferSizeBytes = 1;
    identity.outputBufferTimeoutMs = 0;
  } else if (size !== 0) {
    if (size < 64 || size > options.maxOutputBufferSizeBytes) return invalid("output buffer size", size);
    identity.outputBufferSizeBytes = size;
  }

  const sampleRate = fields.sample_rate;
  if (sampleRate < 0 || sampleRate > 99) return invalid("sample rate", sampleRate);
  client.sampleRate = sampleRate;

  const msgTimeout = fields.msg_timeout;
  if (msgTimeout !== 0) {
    if (msgTimeout < 1000 || msgTimeout > options.maxMsgTimeoutMs) return invalid("msg timeout", msgTimeout);
    client.msgTimeoutMs = msgTimeout;
  }
  client.restartHeartbeat();
  return undefined;
}

function applyWishes(client: IdentifyingClient, { channel_order: order }: Fields, youzan?: YouzanIdentity): ProtocolError | undefined {
  if (order !== "" && !isOrder(order)) return fatal("E_BAD_BODY", `IDENTIFY channel_order ${goQuote(order)} is not none, key or partition`);
  client.wishes = { tag: youzan?.tag, filter: youzan?.filter, order: order === "" ? undefined : order };
  if (youzan === undefined) return undefined;
  client.identity.extendSupport = youzan.extendSupport;
  client.speakYouzan();
  return undefined;
}

function invalid(setting: string, value: number): ProtocolError {
  return fatal("E_BAD_BODY", `IDENTIFY ${setting} (${value}) is invalid`);
}

/** Which of the layers that the client asks for it gets. */
interface Agreement {
  tls: boolean;
  deflate: boolean;
  /** The client is told a level also without deflate. */
  deflateLevel: number;
  snappy: boolean;
}

function agree(client: IdentifyingClient, fields: Fields): Agreement {
  const { maxDeflateLevel } = client.options;
  const deflate = client.offers("deflate") && fields.deflate;
  // No arithmetic, because a number that a double cannot hold is a bigint.
  const wanted = deflate && fields.deflate_level > 0 ? fields.deflate_level : DEFAULT_DEFLATE_LEVEL;
  return {
    tls: client.offers("tls") && fields.tls_v1,
    deflate,
    deflateLevel: Number(wanted) > maxDeflateLevel ? maxDeflateLevel : wanted,
    snappy: fields.snappy && client.offers("snappy"),
  };
}

/** The response to a client that negotiates. The keys and their order are nsqd's. */
function describe(
  client: IdentifyingClient,
  fields: Fields,
  { tls, deflate, deflateLevel, snappy }: Agreement,
  youzan: YouzanIdentity["answer"] | undefined,
): string {
  const { options, identity } = client;
  return JSON.stringify({
    max_rdy_count: options.maxRdyCount,
    version: NSQ_VERSION,
    max_msg_timeout: Math.trunc(options.maxMsgTimeoutMs),
    msg_timeout: Math.trunc(client.msgTimeoutMs),
    tls_v1: tls,
    deflate,
    deflate_level: deflateLevel,
    max_deflate_level: options.maxDeflateLevel,
    snappy,
    sample_rate: client.sampleRate,
    auth_required: client.auth !== undefined,
    output_buffer_size: identity.outputBufferSizeBytes,
    output_buffer_timeout: Math.trunc(identity.outputBufferTimeoutMs),
    // nsqd does not have these, so only a client that asks for them is told.
    ...youzan,
    ...(fields.channel_order === "" ? {} : { channel_order: fields.channel_order }),
    ...(fields.delivery_tokens ? { delivery_tokens: true } : {}),
    ...(fields.idempotency ? { idempotency: client.publisher.idempotent, ...client.topics.clusterFields } : {}),
    ...(fields.message_headers ? { message_headers: true } : {}),
  });
}
