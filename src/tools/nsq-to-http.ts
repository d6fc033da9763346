import type { FlagTable } from "../cli/flags.ts";
import type { Message } from "../client/bun.ts";
import { KEY_NAME, TAG_NAME, TRACE_ID_NAME } from "../client/message-header.ts";
import { NSQ_VERSION } from "../version.ts";
import { clientOptionsFlag, readClientOptions } from "./client-options.ts";
import { checkSources, maxInFlightFlag, openConsumer, type Sources, sourceFlags, untilStopped } from "./consumers.ts";
import { EpsilonGreedyPool, type HostChooser, HostPool, RoundRobin } from "./host-pool.ts";
import { HttpTargets, type TargetRequest } from "./http-target.ts";
import { stopSignal } from "./stop-signal.ts";
import { RequestMetrics } from "./timer-metrics.ts";
import { ANY_INTEGER, durationFlag, Fatal, listFlag, logLine, runTool, type ToolOptions, versionFlag } from "./tool.ts";

/** nsq_to_http: sends the messages of a topic to HTTP servers, a request each. */

interface Options extends Sources, ToolOptions {
  topic: string;
  channel: string;
  maxInFlight: number;
  concurrency: number;
  mode: string;
  sample: number;
  connectTimeoutMs: number;
  requestTimeoutMs: number;
  statusEvery: number;
  contentType: string;
  gets: string[];
  posts: string[];
  headers: string[];
  consumerOpts: string[];
}

const DEFAULT_CONTENT_TYPE = "application/octet-stream";

const FLAGS: FlagTable<Options> = {
  options: {
    version: versionFlag,
    topic: { name: "topic", kind: "string", default: "", doc: "nsq topic" },
    channel: { name: "channel", kind: "string", default: "nsq_to_http", doc: "nsq channel" },
    maxInFlight: maxInFlightFlag,
    concurrency: { name: "n", kind: "int", default: 100, ...ANY_INTEGER, doc: "number of concurrent publishers" },
    mode: {
      name: "mode",
      kind: "string",
      default: "hostpool",
      doc: "the upstream request mode options: round-robin, hostpool (default), epsilon-greedy",
    },
    sample: { name: "sample", kind: "float", default: 1, ...ANY_INTEGER, doc: "% of messages to publish (float b/w 0 -> 1)" },
    connectTimeoutMs: durationFlag("http-client-connect-timeout", 2_000, "timeout for HTTP connect"),
    requestTimeoutMs: durationFlag("http-client-request-timeout", 20_000, "timeout for HTTP request"),
    statusEvery: {
      name: "status-every",
      kind: "int",
      default: 250,
      ...ANY_INTEGER,
      doc: "the # of requests between logging status (per handler), 0 disables",
    },
    contentType: {
      name: "content-type",
      kind: "string",
      default: DEFAULT_CONTENT_TYPE,
      doc: "the Content-Type used for POST requests",
    },
    posts: listFlag("post", "HTTP address to make a POST request to.  data will be in the body"),
    headers: listFlag("header", "Custom header for HTTP requests"),
    gets: listFlag("get", "HTTP address to make a GET request to. '%s' will be printf replaced with data"),
    ...sourceFlags,
    consumerOpts: clientOptionsFlag("Consumer"),
  },
  others: [],
};

const MAX_TIMER_MS = 2 ** 31 - 1;

export function runNsqToHttp(args: readonly string[]): Promise<number> {
  return runTool("nsq_to_http", FLAGS, args, async (options) => {
    const { topic, channel, maxInFlight, concurrency } = options;
    const headers = parseHeaders(options.headers);
    check(options);
    const client = { headers: true, ...readClientOptions(options.consumerOpts, `nsq_to_http/${NSQ_VERSION}`), maxInFlight };
    const end = Promise.withResolvers<unknown>();
    void stopSignal().then(end.resolve);
    const watch = { log: logLine, onUnreachable: (error: Error) => end.reject(new Fatal(error.message)) };
    const consumer = openConsumer(topic, channel, options, client, watch);
    const forwarder = new HttpForwarder(options, headers);
    void consumer.run((message) => forwarder.forward(message), { concurrency });
    await untilStopped([consumer], end.promise);
    return undefined;
  });
}

/** @throws Fatal */
function parseHeaders(texts: readonly string[]): Map<string, string> {
  const headers = new Map<string, string>();
  for (const text of texts) {
    const colon = text.indexOf(":");
    const [name, value] = [text.slice(0, Math.max(0, colon)).trim(), text.slice(colon + 1).trim()];
    if (name === "" || value === "") throw new Fatal("--header value format should be 'key=value'");
    try {
      new Headers({ [name]: value });
    } catch (error) {
      throw new Fatal(`invalid --header: ${(error as Error).message}`);
    }
    // Names are equal in any case, and the last of several counts.
    headers.set(name.toLowerCase(), value);
  }
  return headers;
}

/** @throws Fatal */
function check(options: Options): void {
  const { contentType, gets, posts, sample, concurrency } = options;
  if (options.topic === "" || options.channel === "") throw new Fatal("--topic and --channel are required");
  if (contentType !== DEFAULT_CONTENT_TYPE) {
    if (posts.length === 0) throw new Fatal("--content-type only used with --post");
    if (contentType === "") throw new Fatal("--content-type requires a value when used");
  }
  checkSources(options);
  if (gets.length === 0 && posts.length === 0) throw new Fatal("--get or --post required");
  if (gets.length > 0 && posts.length > 0) throw new Fatal("use --get or --post not both");
  if (gets.some((get) => get.split("%s").length !== 2)) throw new Fatal("invalid GET address - must be a printf string");
  for (const address of [...gets, ...posts]) {
    if (!/^https?:\/\//.test(address) || !URL.canParse(urlOf(address, ""))) {
      throw new Fatal(`invalid address ${JSON.stringify(address)}: give a URL, such as http://127.0.0.1:8080/`);
    }
  }
  if (sample > 1 || sample < 0) throw new Fatal("ERROR: --sample must be between 0.0 and 1.0");
  if (concurrency < 1) throw new Fatal("--n should be positive");
  for (const timeoutMs of [options.connectTimeoutMs, options.requestTimeoutMs]) {
    if (timeoutMs <= 0 || timeoutMs > MAX_TIMER_MS) throw new Fatal("timeouts should be positive, and shorter than 24 days");
  }
}

/** Sends messages to one of the addresses each, or to all of them. */
class HttpForwarder {
  private readonly addresses: readonly string[];
  private readonly isPost: boolean;
  /** Undefined where each message goes to all addresses. */
  private readonly chooser: HostChooser | undefined;
  private readonly targets: HttpTargets;
  private readonly metrics: RequestMetrics;
  private readonly headers: Readonly<Record<string, string>>;
  private readonly sample: number;

  constructor(options: Options, headers: ReadonlyMap<string, string>) {
    const { gets, posts, contentType, statusEvery } = options;
    this.isPost = posts.length > 0;
    this.addresses = this.isPost ? posts : gets;
    this.chooser = chooserOf(options.mode, this.addresses);
    this.targets = new HttpTargets({ connectMs: options.connectTimeoutMs, requestMs: options.requestTimeoutMs });
    this.metrics = new RequestMetrics(statusEvery, this.addresses);
    const usual = { "user-agent": `nsq_to_http v${NSQ_VERSION}`, ...(this.isPost ? { "content-type": contentType } : {}) };
    this.headers = { ...usual, ...Object.fromEntries(headers) };
    this.sample = options.sample;
  }

  /** Resolves when the message is received, or left out by sampling. @throws Error, and the message is tried again later */
  async forward(message: Message): Promise<void> {
    if (this.sample < 1 && Math.random() > this.sample) return;
    const startMs = performance.now();
    if (this.chooser === undefined) {
      for (const address of this.addresses) await this.sendTo(address, message);
    } else {
      const { host, done } = this.chooser.choose();
      try {
        await this.sendTo(host, message);
        done(true);
      } catch (error) {
        done(false);
        throw error;
      }
    }
    this.metrics.add(startMs);
  }

  private async sendTo(address: string, message: Message): Promise<void> {
    const startMs = performance.now();
    const headers = { ...headersOf(message), ...this.headers };
    const request: TargetRequest = this.isPost
      ? { method: "POST", url: address, headers, body: message.body }
      : { method: "GET", url: urlOf(address, queryEscape(message.body)), headers };
    const status = await this.targets.send(request);
    if (this.isPost ? status < 200 || status >= 300 : status !== 200) throw new Error(`got status code ${status}`);
    this.metrics.addAt(address, startMs);
  }
}

/** The names that HTTP allows. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what HTTP does not allow in a value
const CONTROL = /[\0-\x1f\x7f]/;

/** What a message carries, as the headers that a broker's /pub takes. Other values than texts are JSON, and so are texts with control characters. */
function headersOf(message: Message): Record<string, string> {
  const { headerText } = message;
  if (headerText === undefined) return {};
  const { key, tag, traceId, headers } = message;
  const reserved = { [KEY_NAME]: key, [TAG_NAME]: tag, [TRACE_ID_NAME]: traceId?.toString() };
  const found: Record<string, string> = {};
  for (const [name, value] of Object.entries({ ...headers, ...reserved })) {
    if (value === undefined || !TOKEN.test(name)) continue;
    const text = typeof value === "string" && !CONTROL.test(value) ? value : JSON.stringify(value);
    found[`x-nsqext-${name}`] = Buffer.from(text).toString("latin1");
  }
  return found;
}

/** As in NSQ's tool, every message goes to all addresses with a mode that it does not know. */
function chooserOf(mode: string, addresses: readonly string[]): HostChooser | undefined {
  if (mode === "round-robin") return new RoundRobin(addresses);
  if (mode === "hostpool") return new HostPool(addresses);
  return mode === "epsilon-greedy" ? new EpsilonGreedyPool(addresses) : undefined;
}

/** Puts data in the place of %s. As for printf, %% is a percent sign. */
function urlOf(address: string, data: string): string {
  return address.replace(/%[s%]/g, (found) => (found === "%s" ? data : "%"));
}

/** Escapes bytes for a query, with + for a space. */
function queryEscape(bytes: Uint8Array): string {
  return Buffer.from(bytes)
    .toString("latin1")
    .replace(/[^A-Za-z0-9\-_.~ ]/g, (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`)
    .replaceAll(" ", "+");
}
