import type { Features } from "./events.ts";

/** What holds for a broker that negotiates nothing. */
const DEFAULTS: Features = {
  maxRdyCount: 2500,
  version: "",
  msgTimeoutMs: 60_000,
  maxMsgTimeoutMs: 900_000,
  tls: false,
  snappy: false,
  deflate: false,
  deflateLevel: 6,
  sampleRate: 0,
  authRequired: false,
  outputBufferBytes: 16_384,
  outputBufferMs: 250,
  idempotency: false,
  cluster: undefined,
  clusterKeys: false,
  messageHeaders: false,
  extendSupport: false,
  channelOrder: undefined,
  deliveryTokens: false,
};

/** Reads a broker's answer to IDENTIFY. A field of another type than expected counts as missing. */
export function parseFeatures(text: string): Features {
  if (text === "OK") return DEFAULTS;
  const document: unknown = JSON.parse(text);
  const fields = (typeof document === "object" && document !== null ? document : {}) as Record<string, unknown>;
  const number = (name: string, fallback: number) => (typeof fields[name] === "number" ? (fields[name] as number) : fallback);
  return {
    maxRdyCount: Math.max(1, number("max_rdy_count", DEFAULTS.maxRdyCount)),
    version: typeof fields.version === "string" ? fields.version : "",
    msgTimeoutMs: number("msg_timeout", DEFAULTS.msgTimeoutMs),
    maxMsgTimeoutMs: number("max_msg_timeout", DEFAULTS.maxMsgTimeoutMs),
    tls: fields.tls_v1 === true,
    snappy: fields.snappy === true,
    deflate: fields.deflate === true,
    deflateLevel: number("deflate_level", DEFAULTS.deflateLevel),
    sampleRate: number("sample_rate", DEFAULTS.sampleRate),
    authRequired: fields.auth_required === true,
    outputBufferBytes: number("output_buffer_size", DEFAULTS.outputBufferBytes),
    outputBufferMs: number("output_buffer_timeout", DEFAULTS.outputBufferMs),
    idempotency: fields.idempotency === true,
    cluster: typeof fields.cluster === "string" ? fields.cluster : undefined,
    clusterKeys: fields.cluster_keys === true,
    messageHeaders: fields.message_headers === true,
    extendSupport: fields.extend_support === true,
    channelOrder: typeof fields.channel_order === "string" ? fields.channel_order : undefined,
    deliveryTokens: fields.delivery_tokens === true,
  };
}
