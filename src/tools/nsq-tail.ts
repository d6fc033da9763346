import type { FlagTable } from "../cli/flags.ts";
import { NSQ_VERSION } from "../version.ts";
import { clientOptionsFlag, readClientOptions } from "./client-options.ts";
import { checkSources, maxInFlightFlag, openConsumer, type Sources, sourceFlags, untilStopped } from "./consumers.ts";
import { stopSignal } from "./stop-signal.ts";
import { ANY_INTEGER, Fatal, listFlag, logLine, print, runTool, type ToolOptions, versionFlag } from "./tool.ts";

/** nsq_tail: prints the messages of topics as they come. */

interface Options extends Sources, ToolOptions {
  topics: string[];
  channel: string;
  maxInFlight: number;
  totalMessages: number;
  printTopic: boolean;
  consumerOpts: string[];
  printHeaders: boolean;
}

const FLAGS: FlagTable<Options> = {
  options: {
    version: versionFlag,
    channel: { name: "channel", kind: "string", default: "", doc: "NSQ channel" },
    maxInFlight: maxInFlightFlag,
    totalMessages: {
      name: "n",
      kind: "int",
      default: 0,
      ...ANY_INTEGER,
      doc: "total messages to show (will wait if starved)",
    },
    printTopic: { name: "print-topic", kind: "bool", default: false, doc: "print topic name where message was received" },
    ...sourceFlags,
    topics: listFlag("topic", "NSQ topic"),
    consumerOpts: clientOptionsFlag("Consumer"),
    printHeaders: {
      name: "print-headers",
      kind: "bool",
      default: false,
      doc: "print the header of each message in front of it, as JSON (not in NSQ's tool)",
    },
  },
  others: [],
};

const NEWLINE = Buffer.from("\n");

export function runNsqTail(args: readonly string[]): Promise<number> {
  return runTool("nsq_tail", FLAGS, args, async (options) => {
    checkSources(options);
    const { topics, totalMessages, printTopic, printHeaders } = options;
    if (topics.length === 0) throw new Fatal("--topic required");
    const channel = options.channel || `tail${String(Math.floor(Math.random() * 999_999)).padStart(6, "0")}#ephemeral`;
    // No more messages are asked for than are shown.
    const maxInFlight = totalMessages > 0 ? Math.min(totalMessages, options.maxInFlight) : options.maxInFlight;

    const end = Promise.withResolvers<unknown>();
    void stopSignal().then(end.resolve);
    const consumers = topics.map((topic) => {
      logLine(`Adding consumer for topic: ${topic}`);
      const client = readClientOptions(options.consumerOpts, `nsq_tail/${NSQ_VERSION}`);
      const watch = { log: logLine, onUnreachable: (error: Error) => end.reject(new Fatal(error.message)) };
      // A message that nobody could show before is shown all the same.
      const consumer = openConsumer(
        topic,
        channel,
        options,
        { maxAttempts: 0, ...client, maxInFlight, ...(printHeaders && { headers: true }) },
        watch,
      );
      const head = Buffer.from(printTopic ? `${topic} | ` : "");
      let taken = 0;
      let shown = 0;
      void consumer.run(async (message) => {
        // Another connection may bring one more than was asked for.
        if (totalMessages > 0 && taken >= totalMessages) return void message.requeue(0, { backoff: false });
        taken++;
        try {
          await print(Buffer.concat([head, Buffer.from(printHeaders ? `${message.headerText ?? "{}"} | ` : ""), message.body, NEWLINE]));
        } catch (error) {
          end.reject(error);
          return void message.requeue(0, { backoff: false });
        }
        message.finish();
        shown++;
        if (totalMessages > 0 && shown >= totalMessages) end.resolve(undefined);
      });
      return consumer;
    });
    await untilStopped(consumers, end.promise);
    return undefined;
  });
}
