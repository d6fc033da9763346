import { type BrokerSource, type ConnectionOptions, Consumer, type Message, Producer } from "../../client/bun.ts";
import { type Broker, findBrokers, tcpAddress } from "../command/brokers.ts";
import { CLIENT_FLAGS, type ClientFlags } from "../command/client-source.ts";
import { type Call, command, EXIT_FAILED, EXIT_OK } from "../command/command.ts";
import { connectionOptions } from "../command/credentials.ts";
import { Links } from "../command/links.ts";
import { stopSignal } from "../command/stop-signal.ts";
import { shortCount } from "../command/text-table.ts";
import { jsonFlag } from "../command/words.ts";
import type { IntFlag } from "../flag.ts";

interface BenchFlags extends ClientFlags {
  messages: number;
  size: number;
  rounds: number;
  json: boolean;
}

const messagesFlag: IntFlag = { name: "messages", kind: "int", own: true, default: 200_000, min: 1, max: 1e9, doc: "how many messages" };
const sizeFlag: IntFlag = { name: "size", kind: "int", own: true, default: 200, min: 1, max: 1_000_000, doc: "bytes of a message" };
const roundsFlag: IntFlag = {
  name: "rounds",
  kind: "int",
  own: true,
  default: 1_000,
  min: 10,
  max: 1_000_000,
  doc: "how many messages to measure delays with",
};

const CHANNEL = "bench";
const MAX_IN_FLIGHT = 2_500;

/** Messages and how long they took. */
interface Throughput {
  messages: number;
  seconds: number;
}

/** Delays of single messages, ms. */
interface Delays {
  p50: number;
  p99: number;
  max: number;
}

/** `bunsq bench` */
export const benchCommand = command<BenchFlags>({
  name: "bench",
  summary: "Measure how fast a broker takes and delivers messages here",
  about: `Publishes to a topic of its own, consumes that again, and then sends single messages through, all from one process with one
connection for each direction. The topic is deleted afterwards. It says what an installation does as it is, beside what else
the broker and its disk have to do; the client's share of the CPU is in the figures.`,
  table: {
    options: { ...CLIENT_FLAGS, messages: messagesFlag, size: sizeFlag, rounds: roundsFlag, json: jsonFlag },
    others: [],
  },
  run: async (call) => {
    const [broker] = await findBrokers(call);
    if (broker === undefined) return EXIT_FAILED;
    const topic = `bunsq-bench-${Buffer.from(crypto.getRandomValues(new Uint8Array(4))).toString("hex")}`;
    const { client } = broker;
    await client.createTopic(topic);
    try {
      await client.createChannel(topic, CHANNEL);
      return await measure(call, broker, topic);
    } finally {
      await client.deleteTopic(topic);
    }
  },
});

/** @returns the exit code: failed if it was interrupted */
async function measure(call: Call<BenchFlags>, broker: Broker, topic: string): Promise<number> {
  const { terminal, options } = call;
  const { messages, size, rounds, json } = options;
  const stop = stopSignal();
  const address = await tcpAddress(broker);
  const how = { ...connectionOptions(call), brokers: [address] };
  const info = await broker.client.info();
  const version = info.bunsq_version === undefined ? `nsqd ${info.version}` : `bunsq ${info.bunsq_version}`;
  if (!json) await terminal.print(`${version} at ${address}: ${messages} messages of ${size} bytes, one connection each way\n`);

  const links = new Links(terminal);
  await using producer = new Producer({ ...how, onEvent: links.onEvent });
  await producer.ready({ signal: AbortSignal.any([stop, links.failed]) });
  terminal.progress("publishing …");
  const published = await publish(producer, topic, options, stop);
  if (!json && !stop.aborted) await terminal.print(`published  ${describe(published, size)}, each acknowledged\n`);
  terminal.progress("consuming …");
  const receiver = new Receiver(how, topic, new Links(terminal));
  try {
    const consumed = await receiver.drain(published.messages, stop);
    if (!json && !stop.aborted) await terminal.print(`consumed   ${describe(consumed, size)}, each finished\n`);
    terminal.progress("one message at a time …");
    const delays = await receiver.roundTrips(producer, rounds, size, stop);
    terminal.progress("");
    if (stop.aborted) {
      terminal.warn("interrupted");
      return EXIT_FAILED;
    }
    if (json) await terminal.printJson({ broker: address, version, size, published, consumed, ...delays });
    else {
      await terminal.print(`OK after   ${describeDelays(delays.acknowledged)}, one message at a time, ${rounds} of them\n`);
      await terminal.print(`received   ${describeDelays(delays.received)} after publish() was called\n`);
    }
    return EXIT_OK;
  } finally {
    await receiver.consumer.close();
  }
}

function describe({ messages, seconds }: Throughput, size: number): string {
  const perSecond = messages / seconds;
  return `${shortCount(perSecond).padStart(6)} messages a second, ${((perSecond * size) / 1e6).toFixed(1)} MB/s`;
}

function describeDelays({ p50, p99, max }: Delays): string {
  return `p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms, max ${max.toFixed(2)} ms`;
}

/** Publishes as fast as acknowledgements let it. @throws the first error */
async function publish(producer: Producer, topic: string, { messages, size }: BenchFlags, stop: AbortSignal): Promise<Throughput> {
  const body = new Uint8Array(size).fill("x".charCodeAt(0));
  const startMs = performance.now();
  const done = Promise.withResolvers<void>();
  let sent = 0;
  let settled = 0;
  const onDone = (error: Error | undefined) => {
    settled++;
    if (error !== undefined) done.reject(error);
    else if (settled === sent && (settled === messages || stop.aborted)) done.resolve();
  };
  while (sent < messages && !stop.aborted) {
    sent++;
    producer.send(topic, body, onDone);
    if (!producer.hasRoom) await Promise.race([producer.room(stop).catch(() => {}), done.promise]);
  }
  if (settled < sent) await done.promise;
  return { messages: sent, seconds: (performance.now() - startMs) / 1000 };
}

/** Consumes the topic. */
class Receiver {
  readonly consumer: Consumer;
  private onMessage: (message: Message) => void = () => {};

  constructor(
    how: BrokerSource & ConnectionOptions,
    private readonly topic: string,
    private readonly links: Links,
  ) {
    this.consumer = new Consumer({ ...how, topic, channel: CHANNEL, maxInFlight: MAX_IN_FLIGHT, onEvent: links.onEvent });
  }

  /** Starts to consume, and goes on until this number of messages is finished. @throws ClientError if the broker refuses that */
  async drain(messages: number, stop: AbortSignal): Promise<Throughput> {
    const startMs = performance.now();
    let left = messages;
    await new Promise<void>((resolve) => {
      for (const signal of [stop, this.links.failed]) signal.addEventListener("abort", () => resolve(), { once: true });
      if (stop.aborted) return resolve();
      this.onMessage = () => {
        if (--left === 0) resolve();
      };
      void this.consumer.run((message) => this.onMessage(message));
    });
    this.links.failed.throwIfAborted();
    return { messages: messages - left, seconds: (performance.now() - startMs) / 1000 };
  }

  /** Sends one message after the other, each when the one before was received. */
  async roundTrips(
    producer: Producer,
    rounds: number,
    size: number,
    stop: AbortSignal,
  ): Promise<{ acknowledged: Delays; received: Delays }> {
    const body = new Uint8Array(size).fill("x".charCodeAt(0));
    const acknowledged: number[] = [];
    const received: number[] = [];
    let arrived = () => {};
    stop.addEventListener("abort", () => arrived(), { once: true });
    for (let round = 0; round < rounds && !stop.aborted; round++) {
      const startMs = performance.now();
      const arrival = new Promise<void>((resolve) => {
        arrived = resolve;
        this.onMessage = () => {
          received.push(performance.now() - startMs);
          resolve();
        };
      });
      await producer.publish(this.topic, body);
      acknowledged.push(performance.now() - startMs);
      await arrival;
    }
    return { acknowledged: delaysOf(acknowledged), received: delaysOf(received) };
  }
}

function delaysOf(valuesMs: readonly number[]): Delays {
  const sorted = valuesMs.toSorted((a, b) => a - b);
  const at = (part: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}
