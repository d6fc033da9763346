import { writeSync } from "node:fs";
import { basename } from "node:path";
import type { BrokerOptions } from "../broker/options.ts";
import { versionLine } from "../version.ts";
import { brokerFlags } from "./broker-flags.ts";
import { runBroker } from "./broker-process.ts";
import { type ChoiceFlag, type FlagTable, helpText, parseFlags, UsageError, unsupportedFlags } from "./flags.ts";
import { LineLogger } from "./log.ts";

const EXIT_OK = 0;
const EXIT_FAILED = 1;
const EXIT_USAGE = 2;

const STDOUT = 1;
const STDERR = 2;

type Mode = "all" | "broker";

/** What one binary was asked to be. */
export interface Program {
  /** The name it answers to in help and versions: nsqd's when it stands in for nsqd. */
  name: "bunsq" | "nsqd";
  /** Undefined: -mode decides. */
  mode: Mode | undefined;
  /** The words that are left for flags. */
  args: string[];
}

/** Programs of the NSQ family that bunsq is to become and is not yet, with what serves until then. */
const PROGRAMS_TO_COME: Record<string, string> = {
  lookup: "nsqlookupd",
  nsqlookupd: "nsqlookupd",
  admin: "nsqadmin",
  nsqadmin: "nsqadmin",
};

/**
 * Picks the program by the name it was started under (a link called nsqd), else by the first word (`bunsq broker …`,
 * `bunsq nsqd …`), else leaves it to -mode.
 *
 * @param startedAs the zeroth word of the command line
 * @throws UsageError for a program that does not exist yet
 */
export function selectProgram(startedAs: string, args: readonly string[]): Program {
  const name = basename(startedAs);
  const byName = programNamed(name);
  if (byName?.name === "nsqd") return { ...byName, args: [...args] };
  const [word = "", ...rest] = args;
  const byWord = programNamed(word);
  return byWord === undefined ? { name: "bunsq", mode: undefined, args: [...args] } : { ...byWord, args: rest };
}

/** The whole of a run, from the command line to the exit code. Returns when the program has ended. */
export async function main(startedAs: string, args: readonly string[]): Promise<number> {
  let name = "bunsq";
  try {
    const program = selectProgram(startedAs, args);
    name = program.name;
    return await runProgram(program);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    print(STDERR, `${error.message}\nsee ${name} --help for the flags\n`);
    return EXIT_USAGE;
  }
}

async function runProgram(program: Program): Promise<number> {
  const table = programFlags(program);
  const { help, options, given } = parseFlags(table, program.args);
  if (help) {
    print(STDOUT, helpText(program.name, table));
    return EXIT_OK;
  }
  if (given.get("version") === true) {
    print(STDOUT, `${versionLine(program.name)}\n`);
    return EXIT_OK;
  }
  const log = new LineLogger(options.logLevel, options.logPrefix);
  const { ignored, refused } = unsupportedFlags(table, given);
  if (refused.length > 0) {
    for (const flag of refused) log.fatal(`-${flag.name}: ${flag.support?.why}`);
    return EXIT_FAILED;
  }
  log.info(versionLine(program.name));
  log.info(`ID: ${options.nodeId}`);
  for (const flag of ignored) log.warn(`-${flag.name} has no effect: ${flag.support?.why}`);
  return (await runBroker(options, log)) ? EXIT_OK : EXIT_FAILED;
}

/** The flags of a program; -mode is among them where nothing else has picked the mode. Every mode there is runs the broker. */
export function programFlags(program: Pick<Program, "mode">): FlagTable<BrokerOptions> {
  const table = brokerFlags();
  return program.mode === undefined ? { options: table.options, others: [...table.others, modeFlag] } : table;
}

const modeFlag: ChoiceFlag<Mode> = {
  name: "mode",
  kind: "choice",
  own: true,
  values: ["all", "broker"],
  default: "all",
  doc: "what to run: broker, or all that this version has",
  refusal: (text) => missingProgram(text.toLowerCase()) ?? "must be all or broker",
};

function programNamed(word: string): Omit<Program, "args"> | undefined {
  if (word === "nsqd") return { name: "nsqd", mode: "broker" };
  if (word === "broker" || word === "all") return { name: "bunsq", mode: word };
  const missing = missingProgram(word);
  if (missing !== undefined) throw new UsageError(missing);
  return undefined;
}

function missingProgram(word: string): string | undefined {
  const standIn = Object.hasOwn(PROGRAMS_TO_COME, word) ? PROGRAMS_TO_COME[word] : undefined;
  return standIn && `this version of bunsq has no ${word} yet; run NSQ's own ${standIn} beside it`;
}

/** A reader that has gone away (`bunsq --help | head -1`) is no error of ours. */
function print(fd: number, text: string): void {
  try {
    writeSync(fd, text);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EPIPE") throw error;
  }
}
