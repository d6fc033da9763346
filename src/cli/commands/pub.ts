import { createReadStream, readFileSync } from "node:fs";
import { ClientError, Producer } from "../../client/bun.ts";
import { CLIENT_FLAGS, type ClientFlags, clientSource } from "../command/client-source.ts";
import { type Call, command, EXIT_FAILED, EXIT_OK } from "../command/command.ts";
import { explainFailure } from "../command/failure.ts";
import { splitLines } from "../command/lines.ts";
import { Links } from "../command/links.ts";
import { stopSignal } from "../command/stop-signal.ts";
import { shortCount } from "../command/text-table.ts";
import { checkName, jsonFlag, TOPIC } from "../command/words.ts";
import type { BoolFlag, DurationFlag, IntFlag, StringFlag } from "../flag.ts";
import { UsageError } from "../flags.ts";

const HOUR = 3_600_000;
const MIB = 1024 * 1024;

interface PubFlags extends ClientFlags {
  file: string;
  lines: boolean;
  count: number;
  size: number;
  defer: number;
  key: string;
  json: boolean;
}

const fileFlag: StringFlag = { name: "file", kind: "string", own: true, default: "", doc: "publish what is in this file" };
const linesFlag: BoolFlag = {
  name: "lines",
  kind: "bool",
  own: true,
  default: false,
  doc: "publish each line of the input as a message, as it comes",
};
const countFlag: IntFlag = { name: "count", kind: "int", own: true, default: 1, min: 1, max: 1e9, doc: "publish this many copies" };
const sizeFlag: IntFlag = {
  name: "size",
  kind: "int",
  own: true,
  default: 0,
  min: 1,
  max: 1024 * MIB,
  doc: "publish a body of this many bytes, to try out a broker",
};
const deferFlag: DurationFlag = {
  name: "defer",
  kind: "duration",
  own: true,
  default: 0,
  min: 0,
  max: 87_600 * HOUR,
  doc: "have the message delivered only after this time",
};
const keyFlag: StringFlag = {
  name: "idempotency-key",
  kind: "string",
  own: true,
  default: "",
  doc: "a publish that is repeated with the same key is not published again",
};

/** `bunsq pub` */
export const pubCommand = command<PubFlags>({
  name: "pub",
  summary: "Publish messages to a topic",
  about: `  bunsq pub orders '{"id":1}'                one message
  bunsq pub orders --file=order.json         what is in a file
  echo hello | bunsq pub orders              what comes from another program; - stands for it too
  tail -f log | bunsq pub orders --lines     each line as a message
  bunsq pub orders --count=1000 --size=200   many of a size, to try out a broker

Ends with 0 once brokers have acknowledged all messages. With several brokers they take turns.`,
  words: [TOPIC, { name: "BODY", isOptional: true }],
  table: {
    options: {
      ...CLIENT_FLAGS,
      file: fileFlag,
      lines: linesFlag,
      count: countFlag,
      size: sizeFlag,
      defer: deferFlag,
      key: keyFlag,
      json: jsonFlag,
    },
    others: [],
  },
  run: async (call) => {
    const topic = checkName("topic", call.words[0]);
    const { options } = call;
    const input = inputOf(call);
    const body = options.lines ? undefined : await bodyOf(input);
    if (body?.length === 0) throw new UsageError("a message must not be empty");
    const links = new Links(call.terminal);
    const producer = new Producer({ ...(await clientSource(call)), onEvent: links.onEvent });
    const publishing = new Publishing(call, topic, producer, links.failed);
    try {
      if (body === undefined) await publishing.lines(input);
      else await publishing.copies(body, options.count);
    } catch (error) {
      await publishing.fail();
      throw error;
    }
    return publishing.end();
  },
});

/** Where bodies come from: a body itself, or what is to be read. */
type Input = { body: string | Uint8Array } | { file: string } | "stdin";

/** @throws UsageError if nothing, or more than one thing, says what to publish */
function inputOf({ words, options, given }: Call<PubFlags>): Input {
  const [, body] = words;
  const sources = [body !== undefined, options.file !== "", given.has(sizeFlag.name)].filter(Boolean).length;
  if (sources > 1) throw new UsageError("give one of BODY, --file and --size");
  if (options.lines && (given.has(countFlag.name) || given.has(sizeFlag.name) || (body !== undefined && body !== "-"))) {
    throw new UsageError("--lines reads standard input or --file, and goes without --count and --size");
  }
  if (options.key !== "" && (options.lines || options.count > 1)) throw new UsageError("--idempotency-key is for one message");
  if (options.size > 0) return { body: new Uint8Array(options.size).fill("x".charCodeAt(0)) };
  if (options.file !== "") return { file: options.file };
  if (body !== undefined && body !== "-") return { body };
  if (body === undefined && process.stdin.isTTY === true) throw new UsageError("give a BODY, --file or --size, or - to type one");
  return "stdin";
}

async function bodyOf(input: Input): Promise<string | Uint8Array> {
  if (input === "stdin") return new Uint8Array(await Bun.stdin.arrayBuffer());
  return "body" in input ? input.body : readFile(input.file);
}

/** @throws ClientError */
function readFile(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw unreadable(path, error);
  }
}

function unreadable(path: string, error: unknown): ClientError {
  return new ClientError("INVALID_OPTION", `cannot read ${path}: ${(error as NodeJS.ErrnoException).code ?? error}`);
}

/** Messages that are being published, and how that went. */
class Publishing {
  private readonly stop: AbortSignal;
  private readonly startMs = performance.now();
  private readonly brokers = new Map<string, number>();
  private sent = 0;
  private bytes = 0;
  private failed = 0;
  /** Fewer copies were sent than were asked for. */
  private isInterrupted = false;
  private firstError: ClientError | undefined;
  private shownMs = this.startMs;

  constructor(
    private readonly call: Call<PubFlags>,
    private readonly topic: string,
    private readonly producer: Producer,
    private readonly linksFailed: AbortSignal,
  ) {
    this.stop = AbortSignal.any([stopSignal(), linksFailed]);
  }

  async copies(body: string | Uint8Array, count: number): Promise<void> {
    for (let n = 0; n < count && !this.stop.aborted; n++) await this.add(body);
    this.isInterrupted = this.sent < count;
  }

  async lines(input: Input): Promise<void> {
    const source = typeof input === "object" && "file" in input ? createReadStream(input.file) : Bun.stdin.stream();
    try {
      for await (const line of splitLines(source as AsyncIterable<Uint8Array>, this.stop)) {
        // No broker takes an empty message.
        if (line.length > 0) await this.add(line);
      }
    } catch (error) {
      if (typeof input === "object" && "file" in input) throw unreadable(input.file, error);
      throw error;
    }
  }

  /** Waits for what is under way, and says how it went. @returns the exit code */
  async end(): Promise<number> {
    await this.producer.close({ signal: this.linksFailed });
    if (this.failed === 0) this.linksFailed.throwIfAborted();
    const { terminal, options } = this.call;
    terminal.progress("");
    const { topic, sent, failed, bytes } = this;
    const published = sent - failed;
    const seconds = (performance.now() - this.startMs) / 1000;
    if (options.json) {
      await terminal.printJson({ topic, published, failed, bytes, seconds, brokers: Object.fromEntries(this.brokers) });
    } else {
      const where = [...this.brokers.keys()].sort().join(", ");
      const rate = published > 1 ? `, ${shortCount(published / seconds)} a second` : "";
      const what = `${published} ${published === 1 ? "message" : "messages"}`;
      if (published > 0 || failed === 0)
        await terminal.print(`published ${what} to ${topic}${where === "" ? "" : ` at ${where}`}${rate}\n`);
    }
    if (this.isInterrupted) terminal.warn("interrupted");
    if (failed === 0) return this.isInterrupted ? EXIT_FAILED : EXIT_OK;
    terminal.warn(`${failed} of ${sent} messages were not published: ${explainFailure(this.linksFailed.reason ?? this.firstError)}`);
    return EXIT_FAILED;
  }

  /** Ends before all was read. What was read until then has been published, and is told. */
  async fail(): Promise<void> {
    if (this.sent > 0) await this.end();
    else await this.producer.close({ signal: this.linksFailed });
  }

  private async add(body: string | Uint8Array): Promise<void> {
    const { producer, call } = this;
    const { defer, key } = call.options;
    this.sent++;
    producer.send(
      this.topic,
      body,
      (error, receipt) => {
        if (receipt !== undefined) {
          this.bytes += typeof body === "string" ? Buffer.byteLength(body) : body.length;
          this.brokers.set(receipt.broker, (this.brokers.get(receipt.broker) ?? 0) + 1);
          return;
        }
        this.failed++;
        this.firstError ??= error as ClientError;
      },
      { ...(defer > 0 ? { deferMs: defer } : {}), ...(key === "" ? {} : { idempotencyKey: key }) },
    );
    if (!producer.hasRoom) await producer.room(this.stop).catch(() => {});
    if (performance.now() - this.shownMs < 200) return;
    this.shownMs = performance.now();
    call.terminal.progress(`${this.sent - producer.pending} published`);
    // The event loop has to come round, so that what was sent goes out.
    await Bun.sleep(0);
  }
}
