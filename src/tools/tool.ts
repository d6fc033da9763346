import { writeSync } from "node:fs";
import { formatTime, isUtc } from "../base/local-time.ts";
import type { LogFormat, LogLevel } from "../base/logger.ts";
import type { BoolFlag, DurationFlag, FlagValue, ListFlag } from "../cli/flag.ts";
import { type FlagTable, helpText, parseFlags, UsageError } from "../cli/flags.ts";
import { JsonLogger } from "../cli/line-logger.ts";
import { ClientError } from "../client/errors.ts";
import { BUNSQ_VERSION, NSQ_VERSION } from "../version.ts";

/**
 * What NSQ's small programs have in common: flags as Go's flag package reads them, log lines as Go's log package writes them, and
 * exit codes. 0: the program did what it was asked for, or was ended by a signal. 1: it could not. 2: a wrong command line.
 */
const EXIT_OK = 0;
const EXIT_FAILED = 1;
const EXIT_USAGE = 2;

const STDOUT = 1;
const STDERR = 2;

/** Ends a program with one log line and exit code 1. */
export class Fatal extends Error {}

/** What every tool has. */
export interface ToolOptions {
  version: boolean;
}

export const versionFlag: BoolFlag = { name: "version", kind: "bool", default: false, doc: "print version string" };

/** The bounds of a number whose limits are the tool's own business, because its errors are. */
export const ANY_INTEGER = { min: -Number.MAX_SAFE_INTEGER, max: Number.MAX_SAFE_INTEGER };

/** A duration whose bounds the tool checks itself. */
export function durationFlag(name: string, defaultMs: number, doc: string): DurationFlag {
  return { name, kind: "duration", default: defaultMs, ...ANY_INTEGER, doc };
}

/** A flag that may be given several times, and whose values may have commas. */
export function listFlag(name: string, doc: string): ListFlag {
  return { name, kind: "list", isWhole: true, default: [], doc: `${doc} (may be given multiple times)` };
}

/** Runs a tool. @param given the values of the command line, by flag name. @returns the exit code */
export type RunTool<Options> = (options: Options, given: ReadonlyMap<string, FlagValue>) => Promise<number | undefined>;

/** Reads a tool's flags and runs it. @returns the exit code */
export async function runTool<Options>(
  name: string,
  table: FlagTable<Options>,
  args: readonly string[],
  run: RunTool<Options>,
): Promise<number> {
  if (logFormat === "json") jsonLogger = new JsonLogger("info", name);
  try {
    const { help, options, given } = parseFlags(table, args);
    if (help) {
      writeSync(STDERR, helpText(name, table));
      return EXIT_OK;
    }
    if (given.get(versionFlag.name) === true) {
      writeSync(STDOUT, `${name} v${NSQ_VERSION}, bunsq ${BUNSQ_VERSION}\n`);
      return EXIT_OK;
    }
    // NSQ's tools make their HTTP requests without a proxy, also where the environment names one.
    process.env.NO_PROXY = "*";
    return (await run(options, given)) ?? EXIT_OK;
  } catch (error) {
    if (error instanceof UsageError) {
      writeSync(STDERR, `${error.message}\n${helpText(name, table)}`);
      return error.isReadable ? EXIT_FAILED : EXIT_USAGE;
    }
    // The client refuses options that do not fit together.
    if (!(error instanceof Fatal || error instanceof ClientError)) throw error;
    logLine(error.message, "fatal");
    return EXIT_FAILED;
  }
}

/** Prints to standard output. @returns once it is written. @throws Fatal if that is not possible, for instance because its reader has gone */
export function print(output: string | Uint8Array): Promise<void> {
  // The write that fails reports it, too.
  if (process.stdout.listenerCount("error") === 0) process.stdout.on("error", () => {});
  return new Promise((resolve, reject) => {
    process.stdout.write(output, (error) => {
      if (error) reject(new Fatal(`ERROR: failed to write to os.Stdout - ${error.message}`));
      else resolve();
    });
  });
}

const utc = isUtc(process.env.TZ);

/** The environment's, since a flag would show in the help, which is NSQ's. */
export const logFormat: LogFormat = process.env.BUNSQ_LOG_FORMAT === "json" ? "json" : "text";
let jsonLogger: JsonLogger | undefined;

/** Writes a line to standard error, with the time in front, as Go's log package does; or as JSON. */
export function logLine(text: string, level: LogLevel = "info"): void {
  if (jsonLogger !== undefined) return jsonLogger[level](text);
  try {
    writeSync(STDERR, `${formatTime(Date.now(), utc)} ${text}\n`);
  } catch {
    // Nobody reads the log, which is no reason to stop working.
  }
}
