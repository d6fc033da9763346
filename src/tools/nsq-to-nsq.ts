import type { FlagTable } from "../cli/flags.ts";
import { ClientError, type Message, type MessageOptions, Producer } from "../client/bun.ts";
import { murmur3 } from "../client/murmur3.ts";
import { type Candidate, Chooser } from "../client/strategy.ts";
import { isValidName } from "../frame/names.ts";
import { NSQ_VERSION } from "../version.ts";
import { clientOptionsFlag, readClientOptions } from "./client-options.ts";
import { checkSources, maxInFlightFlag, openConsumer, type Sources, sourceFlags, untilStopped } from "./consumers.ts";
import { EpsilonGreedyPool, type HostChooser, HostPool, RoundRobin } from "./host-pool.ts";
import { JsonFilter } from "./json-filter.ts";
import { stopSignal } from "./stop-signal.ts";
import { RequestMetrics } from "./timer-metrics.ts";
import { ANY_INTEGER, Fatal, listFlag, logLine, runTool, type ToolOptions, versionFlag } from "./tool.ts";

/** nsq_to_nsq: publishes the messages of topics to other brokers. */

interface Options extends Sources, ToolOptions {
  topics: string[];
  channel: string;
  destinationTopic: string;
  destinations: string[];
  maxInFlight: number;
  statusEvery: number;
  mode: string;
  fields: string[];
  requireField: string;
  requireValue: string;
  consumerOpts: string[];
  producerOpts: string[];
  ordered: string;
}

const FLAGS: FlagTable<Options> = {
  options: {
    version: versionFlag,
    channel: { name: "channel", kind: "string", default: "nsq_to_nsq", doc: "nsq channel" },
    destinationTopic: {
      name: "destination-topic",
      kind: "string",
      default: "",
      doc: "use this destination topic for all consumed topics (default is consumed topic name)",
    },
    maxInFlight: maxInFlightFlag,
    statusEvery: {
      name: "status-every",
      kind: "int",
      default: 250,
      ...ANY_INTEGER,
      doc: "the # of requests between logging status (per destination), 0 disables",
    },
    mode: {
      name: "mode",
      kind: "string",
      default: "hostpool",
      doc: "the upstream request mode options: round-robin, hostpool (default), epsilon-greedy",
    },
    ...sourceFlags,
    destinations: listFlag("destination-nsqd-tcp-address", "destination nsqd TCP address"),
    topics: listFlag("topic", "nsq topic"),
    fields: listFlag("whitelist-json-field", "for JSON messages: pass this field"),
    requireField: {
      name: "require-json-field",
      kind: "string",
      default: "",
      doc: "for JSON messages: only pass messages that contain this field",
    },
    requireValue: {
      name: "require-json-value",
      kind: "string",
      default: "",
      doc: "for JSON messages: only pass messages in which the required field has this value",
    },
    consumerOpts: clientOptionsFlag("Consumer", "see "),
    producerOpts: clientOptionsFlag("Producer", "see "),
    ordered: {
      name: "ordered",
      kind: "string",
      default: "",
      doc: "keep the order: of each key, or of each partition of the topic (key, partition; not in NSQ's tool)",
    },
  },
  others: [],
};

export function runNsqToNsq(args: readonly string[]): Promise<number> {
  return runTool("nsq_to_nsq", FLAGS, args, async (options) => {
    check(options);
    const { topics, channel, maxInFlight, destinations, statusEvery } = options;
    const userAgent = `nsq_to_nsq/${NSQ_VERSION}`;
    const producerOptions = readClientOptions(options.producerOpts, userAgent);
    const order = readOrder(options.ordered);
    const consumerOptions = { headers: true, ...readClientOptions(options.consumerOpts, userAgent), maxInFlight, ...(order && { order }) };
    const forwarder = new Forwarder(
      new JsonFilter(options),
      chooser(options),
      order,
      new Map(destinations.map((address) => [address, new Destination(address, producerOptions)])),
      new RequestMetrics(statusEvery, destinations),
    );
    const end = Promise.withResolvers<unknown>();
    void stopSignal().then(end.resolve);
    const consumers = topics.map((topic) => {
      const watch = { log: logLine, onUnreachable: (error: Error) => end.reject(new Fatal(error.message)) };
      const consumer = openConsumer(topic, channel, options, consumerOptions, watch);
      void consumer.run((message) => forwarder.forward(message, options.destinationTopic || topic));
      return consumer;
    });
    await untilStopped(consumers, end.promise).finally(() => forwarder.close());
    return undefined;
  });
}

/** @throws Fatal */
function check(options: Options): void {
  const { topics, channel, destinationTopic, destinations } = options;
  if (topics.length === 0 || channel === "") throw new Fatal("--topic and --channel are required");
  if (!topics.every(isValidName)) throw new Fatal("--topic is invalid");
  if (destinationTopic !== "" && !isValidName(destinationTopic)) throw new Fatal("--destination-topic is invalid");
  if (!isValidName(channel)) throw new Fatal("--channel is invalid");
  checkSources(options);
  if (destinations.length === 0) throw new Fatal("--destination-nsqd-tcp-address required");
}

/** @throws Fatal */
function readOrder(text: string): "key" | "partition" | undefined {
  if (text === "key" || text === "partition") return text;
  if (text === "") return undefined;
  throw new Fatal(`invalid --ordered ${JSON.stringify(text)}: key or partition`);
}

/** As in NSQ's tool, a mode that it does not know is round robin. */
function chooser({ mode, destinations }: Options): HostChooser {
  if (mode === "hostpool") return new HostPool(destinations);
  return mode === "epsilon-greedy" ? new EpsilonGreedyPool(destinations) : new RoundRobin(destinations);
}

/** Publishes messages at one of the destinations each. */
class Forwarder {
  private readonly byKey = new Chooser<Destination>("round-robin");

  constructor(
    private readonly filter: JsonFilter,
    private readonly chooser: HostChooser,
    /** What has to come in order: then all of it goes to the same destination, and waits for that. */
    private readonly order: "key" | "partition" | undefined,
    private readonly destinations: ReadonlyMap<string, Destination>,
    private readonly metrics: RequestMetrics,
  ) {}

  /** Resolves when the message is published or left out. @throws Error, and the message is tried again later */
  async forward(message: Message, topic: string): Promise<void> {
    const body = this.filter.apply(message.body);
    if (body === undefined) return;
    const startMs = performance.now();
    const { host, done } = this.choose(message);
    let isGood = false;
    try {
      await this.destinations.get(host)?.publish(topic, body, message);
      isGood = true;
    } finally {
      done(isGood);
      this.metrics.addAt(host, startMs);
      this.metrics.add(startMs);
    }
  }

  private choose({ key, partition }: Message): ReturnType<HostChooser["choose"]> {
    const ordered = this.order === "key" ? key : this.order === "partition" ? `${partition}` : undefined;
    if (ordered === undefined) return this.chooser.choose();
    return { host: this.byKey.choose([...this.destinations.values()], ordered).broker, done: () => {} };
  }

  async close(): Promise<void> {
    await Promise.all([...this.destinations.values()].map((destination) => destination.close()));
  }
}

/** A broker to publish to. While it cannot be reached a publish fails at once, so that another one gets the message. */
class Destination implements Candidate {
  readonly pending = 0;
  readonly seed: number;
  private readonly producer: Producer;
  private isDown = false;
  private takesHeaders = true;
  private failing = new AbortController();

  /** @throws ClientError for a bad address */
  constructor(
    readonly broker: string,
    options: object,
  ) {
    const address = broker;
    this.seed = murmur3(address);
    this.producer = new Producer({
      ...options,
      brokers: [address],
      // A message that may be there already is tried again by its consumer, perhaps elsewhere.
      retry: "never",
      onEvent: (event) => {
        if (event.type === "connected") {
          this.isDown = false;
          this.takesHeaders = true;
        } else if (event.type === "disconnected" || event.type === "connect-failed") {
          if (!this.isDown && event.error !== undefined) logLine(`ERR (${address}) ${event.error.message}`, "error");
          this.isDown = true;
          this.failing.abort(event.error ?? new Error("the connection was closed"));
          this.failing = new AbortController();
        }
      },
    });
  }

  /** Publishes a body with what its message carries. A broker that takes no headers gets the body alone. */
  async publish(topic: string, body: Uint8Array | string, { key, headers, tag, traceId }: Message): Promise<void> {
    if (this.isDown) throw new Error("the destination cannot be reached");
    const { signal } = this.failing;
    const carried: MessageOptions = {
      ...(Object.keys(headers).length > 0 && { headers }),
      ...(tag !== undefined && { tag }),
      ...(traceId !== undefined && { traceId }),
    };
    const options = { ...(key !== undefined && { key }), signal };
    if (this.takesHeaders) {
      try {
        return void (await this.producer.publish(topic, body, { ...options, ...carried }));
      } catch (error) {
        if (!(error instanceof ClientError && error.code === "HEADERS_UNSUPPORTED")) throw error;
        if (this.takesHeaders) logLine(`WRN (${this.broker}) takes no headers: messages are published without them`, "warn");
        this.takesHeaders = false;
      }
    }
    await this.producer.publish(topic, body, options);
  }

  async close(): Promise<void> {
    await this.producer.close();
  }
}
