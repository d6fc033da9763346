import type { FlagTable } from "../cli/flags.ts";
import { type MessageOptions, Producer } from "../client/bun.ts";
import { isValidName } from "../frame/names.ts";
import { NSQ_VERSION } from "../version.ts";
import { clientOptionsFlag, readClientOptions } from "./client-options.ts";
import { MessageSplitter } from "./message-splitter.ts";
import { stopSignal } from "./stop-signal.ts";
import { ANY_INTEGER, Fatal, listFlag, logLine, runTool } from "./tool.ts";

/** to_nsq: publishes what comes on standard input, split at a character. */

interface Options {
  topic: string;
  delimiter: string;
  rate: number;
  nsqdTcpAddresses: string[];
  producerOpts: string[];
  key: string;
  headers: string[];
}

const FLAGS: FlagTable<Options> = {
  options: {
    topic: { name: "topic", kind: "string", default: "", doc: "NSQ topic to publish to" },
    delimiter: { name: "delimiter", kind: "string", default: "\n", doc: "character to split input from stdin" },
    rate: {
      name: "rate",
      kind: "int",
      default: 0,
      ...ANY_INTEGER,
      doc: "Throttle messages to n/second. 0 to disable",
    },
    nsqdTcpAddresses: listFlag("nsqd-tcp-address", "destination nsqd TCP address"),
    producerOpts: clientOptionsFlag("Producer"),
    key: { name: "key", kind: "string", default: "", doc: "key of all messages, so that they are in one partition (not in NSQ's tool)" },
    headers: listFlag("header", "header of all messages, name=value (not in NSQ's tool)"),
  },
  others: [],
};

/** How long a broker may be away in the middle of the work. One that is away at the start ends the program at once. */
const OUTAGE_MS = 5_000;

export function runToNsq(args: readonly string[]): Promise<number> {
  return runTool("to_nsq", FLAGS, args, async (given) => {
    const { topic, delimiter, rate, nsqdTcpAddresses, producerOpts } = given;
    if (topic === "") throw new Fatal("--topic required");
    const separator = Buffer.from(delimiter);
    if (separator.length !== 1) throw new Fatal("--delimiter must be a single byte");
    if (nsqdTcpAddresses.length === 0) throw new Fatal("--nsqd-tcp-address required");
    const options = readClientOptions(producerOpts, `to_nsq/${NSQ_VERSION}`);
    const throttle = rate >= 1 ? new Throttle(rate) : undefined;
    if (throttle !== undefined) logLine(`Throttling messages rate to max:${rate}/second`);

    const stop = new AbortController();
    const destinations = new Destinations(topic, new Set(nsqdTcpAddresses), options, carriedBy(given));
    const copying = copy(new MessageSplitter(separator[0] as number), destinations, throttle, stop.signal);
    const stopped = stopSignal().then(() => stop.abort());
    await Promise.race([copying, destinations.failure, stopped]);
    await Promise.race([destinations.close(), destinations.failure]);
    return undefined;
  });
}

/** What all messages carry. @throws Fatal */
function carriedBy({ key, headers }: Options): MessageOptions {
  const fields: Record<string, string> = {};
  for (const header of headers) {
    const [, name, value] = /^([^=]+)=(.*)$/s.exec(header) ?? [];
    if (name === undefined || value === undefined) throw new Fatal(`invalid --header ${JSON.stringify(header)}: name=value`);
    fields[name] = value;
  }
  return { ...(key !== "" && { key }), ...(headers.length > 0 && { headers: fields }) };
}

/** Publishes standard input, message by message. */
async function copy(splitter: MessageSplitter, destinations: Destinations, throttle: Throttle | undefined, signal: AbortSignal) {
  const publish = async (messages: readonly Uint8Array[]): Promise<void> => {
    for (const message of messages) {
      if (signal.aborted) return;
      if (throttle !== undefined) await throttle.next();
      await destinations.publish(message);
    }
  };
  for await (const chunk of Bun.stdin.stream()) {
    await publish(splitter.split(chunk));
    if (signal.aborted) return;
  }
  await publish(splitter.end());
}

/** The brokers that each message is published to. They are connected to when the first message comes. */
class Destinations {
  private readonly failed = Promise.withResolvers<never>();
  private producers: Producer[] | undefined;
  private hasFailed = false;

  constructor(
    private readonly topic: string,
    private readonly addresses: ReadonlySet<string>,
    private readonly options: object,
    private readonly carried: MessageOptions,
  ) {}

  /** Rejects with a Fatal when a message could not be published. */
  get failure(): Promise<never> {
    return this.failed.promise;
  }

  async publish(body: Uint8Array): Promise<void> {
    this.producers ??= [...this.addresses].map((address) => this.open(address));
    // A name that brokers refuse is sent nowhere.
    if (!isValidName(this.topic)) {
      await Promise.all(this.producers.map((producer) => producer.ready().catch(() => undefined)));
      return this.fail(`E_BAD_TOPIC PUB topic name ${JSON.stringify(this.topic)} is not valid`);
    }
    for (const producer of this.producers) {
      if (!producer.hasRoom) await producer.room();
      if (this.hasFailed) return;
      const done = (error: Error | undefined) => {
        if (error !== undefined) this.fail(error.message);
      };
      producer.send(this.topic, body, done, this.carried);
    }
  }

  /** Waits until everything is acknowledged. */
  async close(): Promise<void> {
    await Promise.all((this.producers ?? []).map((producer) => producer.close()));
  }

  private open(address: string): Producer {
    let lostAtMs: number | undefined;
    return new Producer({
      ...this.options,
      brokers: [address],
      onEvent: (event) => {
        if (event.type === "connected") lostAtMs = undefined;
        if (event.type === "disconnected") {
          lostAtMs = performance.now();
          if (event.error !== undefined) logLine(`ERR (${address}) ${event.error.message}`, "error");
        }
        if (event.type === "connect-failed" && (lostAtMs === undefined || performance.now() - lostAtMs > OUTAGE_MS)) {
          this.fail(event.error.message);
        }
      },
    });
  }

  private fail(reason: string): void {
    if (this.hasFailed) return;
    this.hasFailed = true;
    const unanswered = Math.max(...(this.producers ?? []).map(({ pending }) => pending));
    if (unanswered > 0) logLine(`${unanswered} messages that were read are not acknowledged`, "warn");
    this.failed.reject(new Fatal(reason));
  }
}

/** Lets `rate` messages through per second, and as many at once after a pause. */
class Throttle {
  private allowed = 1;
  private atMs = performance.now();

  constructor(private readonly rate: number) {}

  async next(): Promise<void> {
    for (;;) {
      const nowMs = performance.now();
      this.allowed = Math.min(this.rate, this.allowed + ((nowMs - this.atMs) * this.rate) / 1_000);
      this.atMs = nowMs;
      if (this.allowed >= 1) break;
      await Bun.sleep(Math.max(1, ((1 - this.allowed) * 1_000) / this.rate));
    }
    this.allowed--;
  }
}
