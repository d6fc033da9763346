import { Pattern } from "../../base/go/regexp/matcher.ts";
import { PatternError } from "../../base/go/regexp/parser.ts";
import type { Logger, LogLevel } from "../../base/logger.ts";
import type { FlagTable } from "../../cli/flags.ts";
import { openLogger } from "../../cli/line-logger.ts";
import { LookupClient } from "../../client/bun.ts";
import { NSQ_VERSION } from "../../version.ts";
import { type ClientOptions, clientOptionsFlag, readClientOptions } from "../client-options.ts";
import { checkSources, maxInFlightFlag, openConsumer, type Sources, sourceFlags } from "../consumers.ts";
import { stopSignal } from "../stop-signal.ts";
import { ANY_INTEGER, durationFlag, Fatal, listFlag, logFormat, runTool, type ToolOptions, versionFlag } from "../tool.ts";
import { topicFormat } from "./file-name.ts";
import { OutputFile } from "./output-file.ts";
import { TopicWriter } from "./topic-writer.ts";

/** nsq_to_file: writes the messages of topics to files, a line each, and starts new files by time and size. */

interface Options extends Sources, ToolOptions {
  topics: string[];
  topicPattern: string;
  topicRefreshMs: number;
  channel: string;
  maxInFlight: number;
  consumerOpts: string[];
  connectTimeoutMs: number;
  requestTimeoutMs: number;
  logLevel: string;
  logPrefix: string;
  outputDir: string;
  workDir: string;
  datetimeFormat: string;
  filenameFormat: string;
  hostIdentifier: string;
  gzip: boolean;
  gzipLevel: number;
  skipEmptyFiles: boolean;
  rotateSize: number;
  rotateIntervalMs: number;
  syncIntervalMs: number;
}

function text(name: string, value: string, doc: string) {
  return { name, kind: "string", default: value, doc } as const;
}

const FLAGS: FlagTable<Options> = {
  options: {
    version: versionFlag,
    logLevel: text("log-level", "info", "set log verbosity: debug, info, warn, error, or fatal"),
    logPrefix: text("log-prefix", "[nsq_to_file] ", "log message prefix"),
    channel: text("channel", "nsq_to_file", "nsq channel"),
    maxInFlight: maxInFlightFlag,
    outputDir: text("output-dir", "/tmp", "directory to write output files to"),
    workDir: text("work-dir", "", "directory for in-progress files before moving to output-dir"),
    datetimeFormat: text("datetime-format", "%Y-%m-%d_%H", "strftime compatible format for <DATETIME> in filename format"),
    filenameFormat: text(
      "filename-format",
      "<TOPIC>.<HOST><REV>.<DATETIME>.log",
      "output filename format (<TOPIC>, <HOST>, <PID>, <DATETIME>, <REV> are replaced. <REV> is increased when file already exists)",
    ),
    hostIdentifier: text(
      "host-identifier",
      "",
      "value to output in log filename in place of hostname. <SHORT_HOST> and <HOSTNAME> are valid replacement tokens",
    ),
    gzipLevel: {
      name: "gzip-level",
      kind: "int",
      default: 6,
      ...ANY_INTEGER,
      doc: "gzip compression level (1-9, 1=BestSpeed, 9=BestCompression)",
    },
    gzip: { name: "gzip", kind: "bool", default: false, doc: "gzip output files." },
    skipEmptyFiles: { name: "skip-empty-files", kind: "bool", default: false, doc: "skip writing empty files" },
    topicRefreshMs: durationFlag("topic-refresh", 60_000, "how frequently the topic list should be refreshed"),
    topicPattern: text("topic-pattern", "", "only log topics matching the following pattern"),
    rotateSize: {
      name: "rotate-size",
      kind: "int",
      valueName: "rotate-size",
      default: 0,
      ...ANY_INTEGER,
      doc: "rotate the file when it grows bigger than rotate-size bytes",
    },
    rotateIntervalMs: durationFlag("rotate-interval", 0, "rotate the file every duration"),
    syncIntervalMs: durationFlag("sync-interval", 30_000, "sync file to disk every duration"),
    connectTimeoutMs: durationFlag("http-client-connect-timeout", 2_000, "timeout for HTTP connect"),
    requestTimeoutMs: durationFlag("http-client-request-timeout", 5_000, "timeout for HTTP request"),
    ...sourceFlags,
    topics: listFlag("topic", "nsq topic"),
    consumerOpts: clientOptionsFlag("Consumer"),
  },
  others: [],
};

const LEVELS: readonly string[] = ["debug", "info", "warn", "error", "fatal"] satisfies LogLevel[];
/** The longest delay of a timer. */
const MAX_TIMER_MS = 2 ** 31 - 1;
/** The most instructions that a pattern may be compiled to. */
const PATTERN_STEPS = 100_000;

export function runNsqToFile(args: readonly string[]): Promise<number> {
  return runTool("nsq_to_file", FLAGS, args, async (options) => {
    const pattern = check(options);
    const logger = openLogger({ ...options, logFormat, logLevel: options.logLevel.toLowerCase() as LogLevel }, "nsq_to_file");
    const writers = new Writers(options, logger);
    const stopped = stopSignal();
    process.on("SIGHUP", () => writers.reopen());
    let timer: ReturnType<typeof setInterval> | undefined;
    if (options.topics.length > 0) {
      writers.add(options.topics, pattern);
    } else {
      const refresh = () => void findTopics(options, logger).then((topics) => writers.addFound(topics, pattern));
      refresh();
      timer = setInterval(refresh, Math.min(options.topicRefreshMs, MAX_TIMER_MS));
    }
    try {
      await Promise.race([stopped, writers.failure]);
    } catch (error) {
      if (!(error instanceof Fatal)) throw error;
      logger.fatal(error.message);
      return 1;
    } finally {
      clearInterval(timer);
    }
    return (await writers.stop()) ? undefined : 1;
  });
}

/** @returns whether a topic is to be written. @throws Fatal */
function check(options: Options): (topic: string) => boolean {
  if (!LEVELS.includes(options.logLevel.toLowerCase())) throw new Fatal("--log-level is invalid");
  if (options.channel === "") throw new Fatal("--channel is required");
  if (options.connectTimeoutMs <= 0) throw new Fatal("--http-client-connect-timeout should be positive");
  if (options.requestTimeoutMs <= 0) throw new Fatal("--http-client-request-timeout should be positive");
  checkSources(options, options.nsqdTcpAddresses.length === 0 ? "." : "");
  const { gzipLevel, topics, topicPattern } = options;
  if (gzipLevel < 1 || gzipLevel > 9) throw new Fatal(`invalid --gzip-level value (${gzipLevel}), should be 1-9`);
  if (topics.length === 0 && topicPattern === "") throw new Fatal("--topic or --topic-pattern required");
  if (topics.length === 0 && options.lookupdHttpAddresses.length === 0) {
    throw new Fatal("--lookupd-http-address must be specified when no --topic specified");
  }
  if (options.syncIntervalMs <= 0) throw new Fatal("--sync-interval should be positive");
  if (options.topicRefreshMs <= 0) throw new Fatal("--topic-refresh should be positive");
  if (topicPattern === "") return () => true;
  try {
    const pattern = Pattern.compile(topicPattern, { steps: PATTERN_STEPS });
    return (topic) => pattern.matches(topic);
  } catch (error) {
    if (!(error instanceof PatternError)) throw error;
    throw new Fatal(`--topic-pattern is invalid: ${error.message}`);
  }
}

/** The topics that any lookup server knows. Never rejects. */
async function findTopics({ lookupdHttpAddresses, requestTimeoutMs }: Options, logger: Logger): Promise<string[]> {
  const results = await Promise.allSettled(
    lookupdHttpAddresses.map((address) => new LookupClient(address, { timeoutMs: requestTimeoutMs }).topics()),
  );
  for (const result of results) {
    if (result.status === "rejected") logger.error(`could not retrieve topic list: ${(result.reason as Error).message}`);
  }
  return [...new Set(results.flatMap((result) => (result.status === "fulfilled" ? result.value : [])))].sort();
}

/** The writers of all topics. */
class Writers {
  private readonly client: ClientOptions & { maxInFlight: number };
  private readonly writers = new Map<string, TopicWriter>();
  private readonly skipped = new Set<string>();
  private readonly running: Promise<boolean>[] = [];
  private readonly failed = Promise.withResolvers<never>();
  private isStopping = false;

  /** @throws Fatal */
  constructor(
    private readonly options: Options,
    private readonly logger: Logger,
  ) {
    const { maxInFlight } = options;
    const given = readClientOptions(options.consumerOpts, `nsq_to_file/${NSQ_VERSION}`);
    // A message that was not written is never given up, however often the program was killed with it.
    this.client = { maxAttempts: 0, ...given, maxInFlight };
  }

  /** Rejects with a Fatal when a writer cannot go on. */
  get failure(): Promise<never> {
    return this.failed.promise;
  }

  /** Writes topics that lookup servers know. One that cannot be written is reported, and keeps no other one from being written. */
  addFound(topics: readonly string[], isWanted: (topic: string) => boolean): void {
    for (const topic of topics) {
      try {
        this.add([topic], isWanted);
      } catch (error) {
        if (!(error instanceof Fatal)) throw error;
        this.logger.error(error.message);
      }
    }
  }

  /** Writes more topics. @throws Fatal for one that cannot be written */
  add(topics: readonly string[], isWanted: (topic: string) => boolean): void {
    if (this.isStopping) return;
    for (const topic of topics) {
      if (this.writers.has(topic) || this.skipped.has(topic)) continue;
      if (isWanted(topic)) {
        this.start(topic);
      } else {
        this.skipped.add(topic);
        this.logger.warn(`skipping topic ${topic} (doesn't match pattern ${this.options.topicPattern})`);
      }
    }
  }

  reopen(): void {
    for (const writer of this.writers.values()) writer.reopen();
  }

  /** @returns when everything is written and finished: whether there was no error */
  async stop(): Promise<boolean> {
    this.isStopping = true;
    for (const writer of this.writers.values()) writer.stop();
    return (await Promise.all(this.running)).every((isGood) => isGood);
  }

  private start(topic: string): void {
    const { options, logger } = this;
    const { channel, outputDir, rotateSize, rotateIntervalMs, gzip } = options;
    const who = `[${topic}/${channel}]`;
    const workDir = options.workDir || outputDir;
    const isNumbered = gzip || rotateSize > 0 || rotateIntervalMs > 0 || workDir !== outputDir;
    let writer: TopicWriter;
    try {
      const format = topicFormat({ ...options, isNumbered, isGzip: gzip }, topic);
      const consumer = openConsumer(topic, channel, options, this.client, { log: (line) => logger.info(line.trim()) });
      const file = new OutputFile(format, { ...options, workDir, gzipLevel: gzip ? options.gzipLevel : undefined }, logger, who);
      writer = new TopicWriter(consumer, file, { ...options, skipsEmptyFiles: options.skipEmptyFiles }, logger, who);
    } catch (error) {
      throw new Fatal(`couldn't create logger for new topic ${topic}: ${(error as Error).message}`);
    }
    this.writers.set(topic, writer);
    const running = writer.run().then(
      () => true,
      (error: unknown) => {
        if (this.isStopping) logger.fatal((error as Error).message);
        this.failed.reject(error);
        return false;
      },
    );
    this.running.push(running);
  }
}
