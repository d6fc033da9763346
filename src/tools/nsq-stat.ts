import type { FlagTable } from "../cli/flags.ts";
import type { RequestLimits } from "../http/client/exchange.ts";
import { get } from "../http/client/get.ts";
import { type Address, parseRemoteAddress } from "../net/address.ts";
import { stopSignal } from "./stop-signal.ts";
import { ANY_INTEGER, durationFlag, Fatal, listFlag, print, runTool, type ToolOptions, versionFlag } from "./tool.ts";

/** nsq_stat: prints what a channel does, added up over its brokers, every few seconds. */

interface Options extends ToolOptions {
  topic: string;
  channel: string;
  intervalMs: number;
  connectTimeoutMs: number;
  requestTimeoutMs: number;
  count: number;
  nsqdHttpAddresses: string[];
  lookupdHttpAddresses: string[];
}

const FLAGS: FlagTable<Options> = {
  options: {
    version: { ...versionFlag, doc: "print version" },
    topic: { name: "topic", kind: "string", default: "", doc: "NSQ topic" },
    channel: { name: "channel", kind: "string", default: "", doc: "NSQ channel" },
    intervalMs: durationFlag("interval", 2_000, "duration of time between polling/printing output"),
    connectTimeoutMs: durationFlag("http-client-connect-timeout", 2_000, "timeout for HTTP connect"),
    requestTimeoutMs: durationFlag("http-client-request-timeout", 5_000, "timeout for HTTP request"),
    count: { name: "count", kind: "int", valueName: "value", default: 0, ...ANY_INTEGER, doc: "number of reports" },
    nsqdHttpAddresses: listFlag("nsqd-http-address", "nsqd HTTP address"),
    lookupdHttpAddresses: listFlag("lookupd-http-address", "lookupd HTTP address"),
  },
  others: [],
};

const MAX_ANSWER_BYTES = 256 * 1024 * 1024;
/** No broker has the topic. */
const NO_BROKER = "ERROR: failed to get nsqd stats - failed to query any nsqd: ";
/** After this many reports the heading is printed again. */
const HEADING_EVERY = 25;

const HEADING = `------rate------+----------------depth----------------+--------------metadata---------------
${columns([7, 7], ["ingress", "egress"])} | ${columns([7, 7, 7, 5, 5], ["total", "mem", "disk", "inflt", "def"])} | ${columns([7, 7, 12, 7], ["req", "t-o", "msgs", "clients"])}
`;

/** The numbers of a channel that are added up, by their names in /stats. */
const COUNTERS = [
  ...["depth", "backend_depth", "in_flight_count", "deferred_count"],
  ...["requeue_count", "timeout_count", "message_count", "client_count"],
] as const;
type ChannelStats = Record<(typeof COUNTERS)[number], number>;

export function runNsqStat(args: readonly string[]): Promise<number> {
  return runTool("nsq_stat", FLAGS, args, async (options, given) => {
    check(options, given.has(FLAGS.options.count.name));
    const end = Promise.withResolvers<undefined>();
    void stopSignal(["SIGHUP", "SIGINT", "SIGTERM"]).then(end.resolve);
    const { count } = options;
    const reporting = report(options, count === 0 ? Number.POSITIVE_INFINITY : count);
    return await Promise.race([end.promise, reporting]);
  });
}

/** @throws Fatal */
function check(options: Options, hasCount: boolean): void {
  const { nsqdHttpAddresses, lookupdHttpAddresses } = options;
  if (options.topic === "" || options.channel === "") throw new Fatal("--topic and --channel are required");
  if (options.intervalMs <= 0) throw new Fatal("--interval should be positive");
  if (options.connectTimeoutMs <= 0) throw new Fatal("--http-client-connect-timeout should be positive");
  if (options.requestTimeoutMs <= 0) throw new Fatal("--http-client-request-timeout should be positive");
  if (hasCount && options.count <= 0) throw new Fatal("--count should be positive");
  const [hasBrokers, hasLookups] = [nsqdHttpAddresses.length > 0, lookupdHttpAddresses.length > 0];
  if (!(hasBrokers || hasLookups)) throw new Fatal("--nsqd-http-address or --lookupd-http-address required");
  if (hasBrokers && hasLookups) throw new Fatal("use --nsqd-http-address or --lookupd-http-address not both");
  checkAddresses("nsqd", nsqdHttpAddresses);
  checkAddresses("lookupd", lookupdHttpAddresses);
}

/** @throws Fatal */
function checkAddresses(kind: string, addresses: readonly string[]): void {
  if (!addresses.some((address) => address.startsWith("http"))) return;
  throw new Fatal(`--${kind}-http-address error - address should not contain scheme`);
}

/** Prints reports. The first look only gives what the first rates are computed from. */
async function report(options: Options, count: number): Promise<undefined> {
  let before: ChannelStats | undefined;
  for (let looks = 0; looks <= count; looks++) {
    const now = await channelStats(options);
    if (looks % HEADING_EVERY === 0) await print(HEADING);
    if (before !== undefined) await print(line(before, now, options.intervalMs));
    before = now;
    await Bun.sleep(options.intervalMs);
  }
  return undefined;
}

function line(before: ChannelStats, now: ChannelStats, intervalMs: number): string {
  const published = now.message_count - before.message_count;
  const perSecond = (messages: number) => Math.trunc((messages * 1_000) / intervalMs);
  const rates = [perSecond(published), perSecond(published - (now.depth - before.depth))];
  const depths = [now.depth, now.depth - now.backend_depth, now.backend_depth, now.in_flight_count, now.deferred_count];
  const rest = [now.requeue_count, now.timeout_count, now.message_count, now.client_count];
  return `${columns([7, 7], rates)} | ${columns([7, 7, 7, 5, 5], depths)} | ${columns([7, 7, 12, 7], rest)}\n`;
}

/** @throws Fatal */
async function channelStats(options: Options): Promise<ChannelStats> {
  const { topic, channel } = options;
  const limits: RequestLimits = { ...options, responseBytes: MAX_ANSWER_BYTES };
  const brokers = await topicBrokers(options, limits);
  // Asked for a channel that it does not have, a broker does not say whether it has the topic.
  const path = `/stats?format=json&topic=${encodeURIComponent(topic)}&include_clients=false`;
  const answers = await askAll<{ topics?: Stats[] }>(brokers, path, limits);
  if (answers.errors.length > 0) {
    const failed = answers.values.length === 0 ? "failed to query any nsqd: " : "";
    // Go's tool asks brokers that are named twice, first which of them have the topic.
    const what = options.lookupdHttpAddresses.length > 0 ? "nsqd stats" : "topic producers";
    throw new Fatal(`ERROR: failed to get ${what} - ${failed}${answers.errors.join("\n")}`);
  }
  const topics = answers.values.flatMap(({ topics }) => topics ?? []).filter(({ topic_name }) => topic_name === topic);
  if (topics.length === 0) throw new Fatal(NO_BROKER);
  const found = topics.flatMap(({ channels }) => channels ?? []).filter(({ channel_name }) => channel_name === channel);
  if (found.length === 0) throw new Fatal(`ERROR: failed to find channel(${channel}) in stats metadata for topic(${topic})`);
  const sum = Object.fromEntries(COUNTERS.map((name) => [name, 0])) as ChannelStats;
  for (const one of found) for (const name of COUNTERS) sum[name] += one[name] ?? 0;
  return sum;
}

/** What /stats says about a topic. */
interface Stats {
  topic_name: string;
  channels?: ({ channel_name: string } & Partial<ChannelStats>)[];
}

/** The HTTP addresses of the brokers that have the topic. @throws Fatal */
async function topicBrokers(options: Options, limits: RequestLimits): Promise<Address[]> {
  const { topic, nsqdHttpAddresses, lookupdHttpAddresses } = options;
  if (lookupdHttpAddresses.length === 0) return addresses(nsqdHttpAddresses);
  const path = `/lookup?topic=${encodeURIComponent(topic)}`;
  const answers = await askAll<{ producers?: Producer[] }>(addresses(lookupdHttpAddresses), path, limits);
  if (answers.errors.length > 0) {
    const failed = answers.values.length === 0 ? "failed to query any nsqlookupd: " : "";
    throw new Fatal(`ERROR: failed to get topic producers - ${failed}${answers.errors.join("\n")}`);
  }
  const found = new Map<string, Address>();
  for (const { broadcast_address: hostname, http_port: port } of answers.values.flatMap(({ producers }) => producers ?? [])) {
    found.set(`${hostname} ${port}`, { hostname, port });
  }
  if (found.size === 0) throw new Fatal(NO_BROKER);
  return [...found.values()];
}

/** A broker in the answer to /lookup. */
interface Producer {
  broadcast_address: string;
  http_port: number;
}

/** @throws Fatal */
function addresses(texts: readonly string[]): Address[] {
  try {
    return texts.map(parseRemoteAddress);
  } catch (error) {
    throw new Fatal(`ERROR: ${(error as Error).message}`);
  }
}

/** Asks all servers at once. @returns what they answered, and why others did not */
async function askAll<Answer>(servers: readonly Address[], path: string, limits: RequestLimits) {
  const results = await Promise.allSettled(servers.map(async (server) => JSON.parse(await get(server, path, limits)) as Answer));
  return {
    values: results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : [])),
    errors: results.flatMap((result) => (result.status === "rejected" ? [(result.reason as Error).message] : [])),
  };
}

/** Values aligned to the right. @param widths characters */
function columns(widths: readonly number[], values: readonly (string | number)[]): string {
  return values.map((value, column) => String(value).padStart(widths[column] ?? 0)).join(" ");
}
