import { isUtf8 } from "node:buffer";
import { ClientError, Consumer, type Message, type PeekedMessage } from "../../client/bun.ts";
import { type Broker, findBrokers } from "../command/brokers.ts";
import { CLIENT_FLAGS, type ClientFlags, clientSource } from "../command/client-source.ts";
import { type Call, command, EXIT_OK } from "../command/command.ts";
import { Links } from "../command/links.ts";
import { stopSignal } from "../command/stop-signal.ts";
import { OutputClosed, type Terminal } from "../command/terminal.ts";
import { CHANNEL, checkName, jsonFlag, TOPIC } from "../command/words.ts";
import type { IntFlag, StringFlag } from "../flag.ts";
import { POSITIONS } from "./channel.ts";

interface SubFlags extends ClientFlags {
  from: string;
  count: number;
  maxInFlight: number;
  json: boolean;
}

const fromFlag: StringFlag = { name: "from", kind: "string", own: true, default: "", doc: "begin with the messages from this position on" };
const countFlag: IntFlag = { name: "count", kind: "int", own: true, default: 0, min: 1, max: 1e12, doc: "end after this many messages" };
const maxInFlightFlag: IntFlag = {
  name: "max-in-flight",
  kind: "int",
  own: true,
  default: 200,
  min: 1,
  max: 100_000,
  doc: "how many messages may be received and not yet printed",
};

const NEWLINE = Buffer.from("\n");
/** A broker gives at most this many messages at a time. */
const PAGE = 1000;

/** `bunsq sub` */
export const subCommand = command<SubFlags>({
  name: "sub",
  summary: "Receive and print the messages of a topic, until Ctrl-C",
  about: `Without CHANNEL it has an ephemeral channel of its own: it gets a copy of each message that is published while it runs, and takes
none away from others. If it is the topic's first channel, it also gets what waits in the topic.
With CHANNEL it is one of the channel's consumers: what it prints is finished.

  bunsq sub orders                    what is published from now on
  bunsq sub orders --from=ago:10m     what was published in the last ten minutes, and from now on
  bunsq sub orders billing --count=1  the next message of a channel

${POSITIONS}
A channel that exists is moved by bunsq channel seek, not by --from.`,
  words: [TOPIC, { ...CHANNEL, isOptional: true }],
  table: { options: { ...CLIENT_FLAGS, from: fromFlag, count: countFlag, maxInFlight: maxInFlightFlag, json: jsonFlag }, others: [] },
  run: async (call) => {
    const topic = checkName("topic", call.words[0]);
    const [, named] = call.words;
    const { from } = call.options;
    const channel = named === undefined ? `bunsq-sub-${randomName()}#ephemeral` : checkName("channel", named);
    const output = new MessageOutput(call);
    try {
      if (from !== "") {
        const brokers = await findBrokers(call, topic);
        if (named === undefined) for (const broker of brokers) await replay(broker, topic, channel, from, output);
        else for (const broker of brokers) await createAt(broker, topic, channel, from);
      }
      if (!output.isDone) await consume(call, topic, channel, output);
    } catch (error) {
      if (!(error instanceof OutputClosed)) throw error;
    }
    return EXIT_OK;
  },
});

function randomName(): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(4))).toString("hex");
}

/** Prints messages until there have been enough. */
class MessageOutput {
  readonly stop = stopSignal();
  private readonly terminal: Terminal;
  private readonly isJson: boolean;
  /** How many messages are still wanted. */
  left: number;

  constructor({ terminal, options }: Call<SubFlags>) {
    this.terminal = terminal;
    this.isJson = options.json;
    this.left = options.count === 0 ? Number.POSITIVE_INFINITY : options.count;
  }

  get isDone(): boolean {
    return this.left <= 0 || this.stop.aborted;
  }

  /** @throws OutputClosed */
  async print(body: Uint8Array, facts: () => object): Promise<void> {
    this.left--;
    if (!this.isJson) return this.terminal.print(Buffer.concat([body, NEWLINE]));
    const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
    const text = isUtf8(bytes) ? { body: bytes.toString() } : { body: bytes.toString("base64"), encoding: "base64" };
    return this.terminal.printJson({ ...facts(), size: body.length, ...text });
  }
}

/** Receives and prints messages until there have been enough, or the process is asked to end. */
async function consume(call: Call<SubFlags>, topic: string, channel: string, output: MessageOutput): Promise<void> {
  const source = await clientSource(call);
  const links = new Links(call.terminal, source.lookups?.length ?? 0);
  const wanted = () => Math.min(call.options.maxInFlight, output.left);
  const consumer = new Consumer({
    ...source,
    topic,
    channel,
    maxInFlight: wanted(),
    maxAttempts: 0,
    touch: "auto",
    onEvent: links.onEvent,
  });
  const close = () => void consumer.close();
  links.failed.addEventListener("abort", close, { once: true });
  output.stop.addEventListener("abort", close, { once: true });
  call.terminal.onClose(close);
  for await (const message of consumer) {
    try {
      await output.print(message.body, () => factsOf(message));
    } catch (error) {
      // Leaving the loop waits for what it has and has not answered.
      message.requeue(0, { backoff: false });
      throw error;
    }
    message.finish();
    if (output.isDone) break;
    // Others shall have what is not wanted any more.
    if (wanted() < consumer.maxInFlight) consumer.setMaxInFlight(wanted());
  }
  await consumer.close();
  links.failed.throwIfAborted();
}

function factsOf(message: Message): object {
  const { topic, id, attempts, broker, timestamp } = message;
  return { topic, id, timestamp: isoTime(timestamp), attempts, broker };
}

/** A time as HTTP calls write it, with nanoseconds. */
function isoTime(ns: bigint): string {
  const seconds = new Date(Number(ns / 1_000_000_000n) * 1000).toISOString().slice(0, 19);
  return `${seconds}.${String(ns % 1_000_000_000n).padStart(9, "0")}Z`;
}

/**
 * Prints what is in a broker's log from a position on, and makes the channel begin behind it. The log is read, not consumed: an
 * ephemeral channel does not keep a long backlog.
 */
async function replay({ address, client }: Broker, topic: string, channel: string, position: string, output: MessageOutput): Promise<void> {
  let from: string | number = position;
  while (!output.isDone) {
    const { messages, next, end } = await client.peek(topic, { from, limit: PAGE, format: "base64" });
    for (const message of messages) {
      if (output.isDone) return;
      await output.print(Buffer.from(String(message.body), "base64"), () => factsOfPeeked(message, topic, address));
    }
    if (next === null || next === from) break;
    from = next;
    if (next === end) break;
  }
  if (!output.isDone) await client.createChannel(topic, channel, { start: from });
}

function factsOfPeeked({ id, timestamp }: PeekedMessage, topic: string, broker: string): object {
  return { topic, id, timestamp, attempts: 0, broker };
}

/** Makes a channel that begins at a position. @throws ClientError if it exists: it would not be moved */
async function createAt({ client }: Broker, topic: string, channel: string, start: string): Promise<void> {
  const { topics } = await client.stats({ topic, channel });
  const exists = Array.isArray(topics) && topics.some((one: { channels?: unknown[] }) => (one.channels?.length ?? 0) > 0);
  if (exists)
    throw new ClientError("CHANNEL_EXISTS", `channel ${channel} of ${topic} exists, and --from does not move it; bunsq channel seek does`);
  await client.createChannel(topic, channel, { start });
}
