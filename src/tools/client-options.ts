import { readFileSync } from "node:fs";
import { formatDuration, msToNs, nsToMs, parseDuration } from "../base/go/duration.ts";
import type { ListFlag } from "../cli/flag.ts";
import { BadValue } from "../cli/values.ts";
import type { ConsumerOptions, MessageFilter } from "../client/client.ts";
import { wireFilter } from "../client/message-filter.ts";
import { Fatal } from "./tool.ts";

/**
 * The options of Go's client library, as -consumer-opt and -producer-opt take them: `name,value`, or `name` for a bool. Those that
 * set something that bunsq's client decides by itself are checked and have no effect.
 *
 * Source: https://pkg.go.dev/github.com/nsqio/go-nsq#Config
 */

/** What these options can set. */
export type ClientOptions = Partial<Omit<ConsumerOptions, "topic" | "channel" | "brokers" | "lookups">>;

/** The options that were given, while they are read. */
interface Reading {
  client: ClientOptions;
  tls: { ca?: string; cert?: string; key?: string; rejectUnauthorized?: boolean };
  isTls: boolean;
  deflateLevel: number;
  heartbeatMs: number;
  readTimeoutMs: number;
}

/** Reads one option. @throws BadValue */
type Option = (text: string, into: Reading, name: string) => void;

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const NO_EFFECT = (): void => {};

const OPTIONS: Readonly<Record<string, Option>> = {
  dial_timeout: duration(0, Infinity, (ms, { client }) => (client.connectTimeoutMs = ms)),
  read_timeout: duration(100, 5 * MINUTE_MS, (ms, into) => (into.readTimeoutMs = ms)),
  write_timeout: duration(100, 5 * MINUTE_MS, NO_EFFECT),
  local_addr: refused("bunsq's client leaves the choice of a local address to the system"),
  lookupd_poll_interval: duration(10, 5 * MINUTE_MS, (ms, { client }) => (client.lookupPollMs = ms)),
  lookupd_poll_jitter: number(0, 1, (value, { client }) => (client.lookupJitter = value)),
  lookupd_poll_timeout: duration(0, Infinity, (ms, { client }) => (client.lookupTimeoutMs = ms)),
  max_requeue_delay: duration(0, HOUR_MS, (ms, { client }) => (client.maxRequeueDelayMs = ms)),
  default_requeue_delay: duration(0, HOUR_MS, (ms, { client }) => (client.requeueDelayMs = ms)),
  backoff_strategy: (text, { client }) => {
    if (!["", "exponential", "full_jitter"].includes(text)) throw new BadValue("invalid backoff_strategy: exponential or full_jitter");
    client.backoffStrategy = text === "full_jitter" ? "full-jitter" : "exponential";
  },
  max_backoff_duration: duration(0, HOUR_MS, (ms, { client }) => (client.maxBackoffMs = ms)),
  backoff_multiplier: duration(0, HOUR_MS, (ms, { client }) => (client.backoffMultiplierMs = ms)),
  max_attempts: integer(0, 65_535, (value, { client }) => (client.maxAttempts = value)),
  low_rdy_idle_timeout: duration(1_000, 5 * MINUTE_MS, NO_EFFECT),
  low_rdy_timeout: duration(1_000, 5 * MINUTE_MS, NO_EFFECT),
  rdy_redistribute_interval: duration(1, 5_000, NO_EFFECT),
  client_id: (text, { client }) => (client.clientId = text),
  hostname: (text, { client }) => (client.hostname = text),
  user_agent: NO_EFFECT,
  heartbeat_interval: duration(-Infinity, Infinity, (ms, into) => (into.heartbeatMs = ms)),
  sample_rate: integer(0, 99, (value, { client }) => (client.sampleRate = value)),
  tls_v1: bool((value, into) => (into.isTls = value)),
  tls_config: refused("give tls_root_ca_file, tls_cert, tls_key and the like instead"),
  tls_root_ca_file: (text, { tls }) => (tls.ca = pem(text, "ERROR: failed to read custom Certificate Authority file ")),
  tls_insecure_skip_verify: bool((value, { tls }) => (tls.rejectUnauthorized = !value)),
  tls_cert: (text, { tls }) => (tls.cert = pem(text, "")),
  tls_key: (text, { tls }) => (tls.key = pem(text, "")),
  tls_min_version: (text) => {
    if (!/^(ssl3\.0|tls1\.[012])$/.test(text)) throw new BadValue(`ERROR: ${text} is not a tls version`);
  },
  deflate: bool((value, { client }) => (client.deflate = value)),
  deflate_level: integer(1, 9, (value, into) => (into.deflateLevel = value)),
  snappy: bool((value, { client }) => (client.snappy = value)),
  output_buffer_size: integer(-1, Number.MAX_SAFE_INTEGER, (value, { client }) => (client.outputBufferBytes = value)),
  output_buffer_timeout: duration(-1, Infinity, (ms, { client }) => (client.outputBufferMs = ms)),
  // The tools have a flag of their own for it.
  max_in_flight: integer(0, Number.MAX_SAFE_INTEGER, NO_EFFECT),
  msg_timeout: duration(0, Infinity, (ms, { client }) => (client.msgTimeoutMs = ms)),
  auth_secret: (text, { client }) => (client.authSecret = text),
  skip_lookupd_authorization: bool(NO_EFFECT),
  // What bunsq's brokers have, and Go's library does not.
  order: (text, { client }) => (client.order = oneOf(text, "none", "key", "partition")),
  tag: (text, { client }) => (client.tag = text),
  filter: (text, { client }) => (client.filter = messageFilter(text)),
  partition: integer(0, 1_023, (value, { client }) => (client.partition = value)),
  headers: bool((value, { client }) => (client.headers = value)),
};

/** The flag -consumer-opt or -producer-opt. Each value is checked where it is read. */
export function clientOptionsFlag(who: "Consumer" | "Producer", see = ""): ListFlag {
  return {
    name: `${who.toLowerCase()}-opt`,
    kind: "list",
    isWhole: true,
    default: [],
    doc: `option to passthrough to nsq.${who} (may be given multiple times, ${see}http://godoc.org/github.com/nsqio/go-nsq#Config)`,
    check: (text) => readOption(text, newReading()),
  };
}

/** Makes a client's options of the values of such a flag. @throws Fatal */
export function readClientOptions(values: readonly string[], userAgent: string): ClientOptions {
  const into = newReading();
  for (const value of values) readOption(value, into);
  const { client, tls, isTls, deflateLevel, heartbeatMs, readTimeoutMs } = into;
  if (heartbeatMs > readTimeoutMs) {
    const show = (ms: number) => formatDuration(msToNs(ms));
    throw new Fatal(`HeartbeatInterval ${show(heartbeatMs)} must be less than ReadTimeout ${show(readTimeoutMs)}`);
  }
  client.heartbeatMs = heartbeatMs;
  client.userAgent = userAgent;
  if (client.deflate) client.deflate = deflateLevel;
  if (client.sampleRate === 0) delete client.sampleRate;
  if (isTls) client.tls = tls;
  return client;
}

function newReading(): Reading {
  return { client: { connectTimeoutMs: 1_000 }, tls: {}, isTls: false, deflateLevel: 6, heartbeatMs: 30_000, readTimeoutMs: MINUTE_MS };
}

/** @throws BadValue */
function readOption(given: string, into: Reading): void {
  const comma = given.indexOf(",");
  const name = (comma < 0 ? given : given.slice(0, comma)).replaceAll("-", "_");
  if (!Object.hasOwn(OPTIONS, name)) throw new BadValue(`invalid option ${name}`);
  OPTIONS[name]?.(comma < 0 ? "true" : given.slice(comma + 1), into, name);
}

function refused(why: string): Option {
  return (_text, _into, name) => {
    throw new BadValue(`invalid option ${name}: ${why}`);
  };
}

function duration(min: number, max: number, set: (ms: number, into: Reading) => void): Option {
  return (text, into, name) => {
    const ns = parseDuration(text);
    if (ns === undefined) {
      const why = /^[-+]?\d+$/.test(text) ? "missing unit in duration" : "invalid duration";
      throw notRead(name, text, `time: ${why} "${text}"`);
    }
    const show = (ms: number) => formatDuration(msToNs(ms));
    set(bounded(name, nsToMs(ns), min, max, show), into);
  };
}

function integer(min: number, max: number, set: (value: number, into: Reading) => void): Option {
  return (text, into, name) => {
    if (!/^[-+]?\d+$/.test(text)) throw notRead(name, text, `strconv.ParseInt: parsing "${text}": invalid syntax`);
    set(bounded(name, Number(text), min, max, String), into);
  };
}

function number(min: number, max: number, set: (value: number, into: Reading) => void): Option {
  return (text, into, name) => {
    const value = Number(text);
    if (text.trim() === "" || Number.isNaN(value)) throw notRead(name, text, `strconv.ParseFloat: parsing "${text}": invalid syntax`);
    set(bounded(name, value, min, max, String), into);
  };
}

function bool(set: (value: boolean, into: Reading) => void): Option {
  return (text, into, name) => {
    if (!/^(1|t|T|true|TRUE|True|0|f|F|false|FALSE|False)$/.test(text)) {
      throw notRead(name, text, `strconv.ParseBool: parsing "${text}": invalid syntax`);
    }
    set(/^[1tT]/.test(text), into);
  };
}

function oneOf<Value extends string>(text: string, ...values: Value[]): Value {
  const found = values.find((value) => value === text);
  if (found === undefined) throw new BadValue(`invalid order ${JSON.stringify(text)}: ${values.join(", ")}`);
  return found;
}

/** A filter as the client library has it, in JSON. @throws BadValue */
function messageFilter(text: string): MessageFilter {
  try {
    const filter = JSON.parse(text) as MessageFilter;
    wireFilter(filter);
    return filter;
  } catch (error) {
    throw new BadValue(`invalid filter ${text}: ${(error as Error).message}`);
  }
}

function bounded(name: string, value: number, min: number, max: number, show: (value: number) => string): number {
  if (value < min) throw new BadValue(`invalid ${name} ! ${show(value)} < ${show(min)}`);
  if (value > max) throw new BadValue(`invalid ${name} ! ${show(value)} > ${show(max)}`);
  return value;
}

function notRead(name: string, text: string, why: string): BadValue {
  return new BadValue(`failed to coerce option ${name} (${text}) - ${why}`);
}

/** The text of a PEM file. @throws BadValue */
function pem(path: string, what: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new BadValue(`${what}open ${path}: ${code === "ENOENT" ? "no such file or directory" : code}`);
  }
}
