import { writeSync } from "node:fs";
import { basename } from "node:path";
import type { Logger, LogLevel } from "../base/logger.ts";
import type { BrokerOptions } from "../broker/options.ts";
import type { LookupOptions } from "../lookup/options.ts";
import { type ProgramName, versionLine } from "../version.ts";
import { runAll } from "./all-process.ts";
import { runBroker } from "./broker-process.ts";
import { runCheck } from "./check.ts";
import { configFlag, versionFlag } from "./common-flags.ts";
import { type ConfigFile, ConfigFileError, loadConfigFile, readConfig } from "./config-file.ts";
import { environmentName, readEnvironment } from "./environment.ts";
import type { FlagValue } from "./flag.ts";
import { allFlags, type FlagTable, idleFlags, parseFlags, peekFlag, quote, resolveOptions, UnknownProgram, UsageError } from "./flags.ts";
import { helpPage } from "./help.ts";
import { LineLogger } from "./line-logger.ts";
import { runLookup } from "./lookup-process.ts";
import { runExport, runImport } from "./migration.ts";
import {
  allProgramFlags,
  brokerProgramFlags,
  everyModesFlags,
  lookupFlagsBeside,
  lookupProgramFlags,
  MODES,
  missingProgram,
  modeFlag,
  otherModeOf,
  type Picked,
  programScope,
} from "./modes.ts";
import { commandLineLayer, emptyLayer, type Layer, mergeLayers, type Scope } from "./settings.ts";
import { startLine } from "./start-line.ts";
import { nearest } from "./suggest.ts";

const EXIT_OK = 0;
const EXIT_FAILED = 1;
const EXIT_USAGE = 2;

/** Commands that work on the data of a stopped broker, and run no server, by their first word. */
const COMMANDS: Record<string, (args: readonly string[], print: (text: string) => void) => Promise<number>> = {
  check: runCheck,
  import: runImport,
  export: runExport,
};

/** Words that newcomers try, and the flags that they stand for. */
const WORDS_FOR_FLAGS: Readonly<Record<string, string>> = { help: "--help", version: "--version" };

/** A command is taken for a misspelled one if at most one of this many letters is wrong. */
const LETTERS_PER_SLIP = 4;

const STDOUT = 1;
const STDERR = 2;

type Environment = Readonly<Record<string, string | undefined>>;

/** The program to run. */
export interface Program extends Picked {
  name: ProgramName;
  /** The words of the command line that are flags. */
  args: string[];
}

/**
 * Selects the program by the name of the executable (a link called nsqd or nsqlookupd), else by the first word
 * (`bunsq broker …`, `bunsq nsqd …`). Otherwise -mode decides.
 *
 * @param startedAs argv[0]
 * @throws UsageError for a program that does not exist
 */
export function selectProgram(startedAs: string, args: readonly string[]): Program {
  const name = basename(startedAs);
  const byName = programNamed(name);
  if (byName !== undefined && byName.name !== "bunsq") return { ...byName, args: [...args] };
  const [word = "", ...rest] = args;
  const flag = Object.hasOwn(WORDS_FOR_FLAGS, word) ? WORDS_FOR_FLAGS[word] : undefined;
  if (flag !== undefined) return { name: "bunsq", mode: undefined, args: [flag, ...rest] };
  const byWord = programNamed(word);
  if (byWord === undefined && /^\w/.test(word)) {
    const words = [...MODES, "nsqd", "nsqlookupd", ...Object.keys(COMMANDS), ...Object.keys(WORDS_FOR_FLAGS)];
    const meant = nearest(word, words, Math.max(1, Math.floor(word.length / LETTERS_PER_SLIP)));
    const hint = meant === undefined ? "" : `did you mean ${meant}?\n`;
    throw new UnknownProgram(`unknown command ${quote(word)}\n${hint}see bunsq --help for the commands`);
  }
  return byWord === undefined ? { name: "bunsq", mode: undefined, args: [...args] } : { ...byWord, args: rest };
}

/** Runs the program that a command line asks for. @returns the exit code, when the program has ended */
export async function main(startedAs: string, args: readonly string[], environment: Environment = process.env): Promise<number> {
  let name = "bunsq";
  try {
    const [word = ""] = args;
    const command = programNamed(basename(startedAs)) === undefined && Object.hasOwn(COMMANDS, word) ? COMMANDS[word] : undefined;
    if (command !== undefined) {
      name = `bunsq ${word}`;
      return await command(args.slice(1), (text) => print(STDOUT, text));
    }
    const program = selectProgram(startedAs, args);
    name = program.name === "bunsq" && program.mode !== undefined ? `bunsq ${program.mode}` : program.name;
    return await runProgram(program, environment);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    print(STDERR, `${error.message}\n${error instanceof UnknownProgram ? "" : `see ${name} --help for the flags\n`}`);
    return error.isReadable ? EXIT_FAILED : EXIT_USAGE;
  }
}

function runProgram(program: Program, environment: Environment): Promise<number> {
  const everyFlag = everyModesFlags();
  const path = peekFlag(everyFlag, program.args, configFlag.name) ?? environment[environmentName(configFlag)] ?? "";
  const surroundings: Surroundings = { environment, config: path === "" ? undefined : openConfig(path) };
  const mode = program.mode ?? modeOf(peekFlag(everyFlag, program.args, modeFlag.name), surroundings);
  if (mode === "lookup") {
    return run(program, surroundings, lookupProgramFlags(program), true, (options, logger) => {
      logger.info(startLine({ lookup: options }));
      return runLookup(options, logger);
    });
  }
  if (mode === "broker") {
    return run(program, surroundings, brokerProgramFlags(program), false, (options, logger) => {
      logger.info(startLine({ broker: options }));
      logger.info(idLine(options));
      return runBroker(options, logger);
    });
  }
  return run(program, surroundings, allProgramFlags(program), false, (options, logger, given) => {
    const lookup = lookupOptionsBeside(options, given);
    logger.info(startLine({ broker: options, lookup }));
    logger.info(idLine(options));
    return runAll(options, lookup, logger, new LineLogger(lookup.logLevel, lookup.logPrefix));
  });
}

/** The node id, which is in every message id, in nsqd's words. */
function idLine({ nodeId }: BrokerOptions): string {
  return `ID: ${nodeId}`;
}

/** The sources of settings beside the command line. */
interface Surroundings {
  environment: Environment;
  config: ConfigFile | ConfigFileError | undefined;
}

/** Reads the config file before the flags, because it may set the mode. Errors in flags are reported first, so its error is returned. */
function openConfig(path: string): ConfigFile | ConfigFileError {
  try {
    return loadConfigFile(path);
  } catch (error) {
    if (error instanceof ConfigFileError) return error;
    throw error;
  }
}

/** The mode that is asked for. A wrong word counts as the default here, and is refused when the flags are parsed. */
function modeOf(given: string | undefined, { environment, config }: Surroundings): string {
  const inFile = config instanceof Error ? undefined : config?.content[modeFlag.name];
  return String(given ?? (environment[environmentName(modeFlag)] || inFile)).toLowerCase();
}

/** Runs a program. @param given the settings that were given, by flag name @returns whether it ended without an error */
type Serve<Options> = (options: Options, logger: Logger, given: ReadonlyMap<string, FlagValue>) => Promise<boolean>;

/** The options of a lookup server beside a broker. Some default to the broker's. */
function lookupOptionsBeside(broker: BrokerOptions, given: ReadonlyMap<string, FlagValue>): LookupOptions {
  const flags = lookupFlagsBeside();
  const options = resolveOptions(flags, given);
  if (!given.has(flags.options.logLevel.name)) options.logLevel = broker.logLevel;
  if (!given.has(flags.options.broadcastAddress.name)) options.broadcastAddress = broker.broadcastAddress;
  if (!given.has(flags.options.httpAllowedHosts.name)) options.httpAllowedHosts = broker.httpAllowedHosts;
  if (!given.has(flags.options.httpDebug.name)) options.httpDebug = broker.httpDebug;
  return options;
}

async function run<Options extends { logLevel: LogLevel; logPrefix: string }>(
  program: Program,
  { environment, config }: Surroundings,
  table: FlagTable<Options>,
  isLookup: boolean,
  serve: Serve<Options>,
): Promise<number> {
  const { name } = program;
  const { help, given } = parseFlags(table, program.args, (flag) => (name === "bunsq" ? otherModeOf(flag, allFlags(table)) : undefined));
  if (help) {
    // Go's flag package prints it to standard error.
    print(name === "bunsq" ? STDOUT : STDERR, helpPage(name, table));
    return EXIT_OK;
  }
  if (given.get(versionFlag.name) === true) {
    print(STDOUT, `${versionLine(name)}\n`);
    return EXIT_OK;
  }

  const scope = programScope(table, { name, isLookup });
  const fromEnvironment = readEnvironment(scope, environment);
  if (fromEnvironment.errors.length > 0) throw new UsageError(fromEnvironment.errors.join("\n"));
  const fromConfig = configLayer(scope, config);
  const settings = mergeLayers([commandLineLayer(given), fromEnvironment, fromConfig]);
  const options = resolveOptions(table, settings.values);
  const logger = new LineLogger(options.logLevel, options.logPrefix);

  if (settings.errors.length > 0) {
    for (const error of settings.errors) logger.fatal(error);
    return EXIT_FAILED;
  }
  logger.info(versionLine(name));
  for (const warning of settings.warnings) logger.warn(warning);
  for (const flag of idleFlags(table, settings.values)) {
    logger.warn(`${settings.origins.get(flag.name)} has no effect: ${flag.idle?.why}`);
  }
  return (await serve(options, logger, settings.values)) ? EXIT_OK : EXIT_FAILED;
}

function configLayer(scope: Scope, config: ConfigFile | ConfigFileError | undefined): Layer {
  if (config === undefined) return emptyLayer();
  return config instanceof Error ? { ...emptyLayer(), errors: [config.message] } : readConfig(scope, config);
}

function programNamed(word: string): Omit<Program, "args"> | undefined {
  if (word === "nsqd") return { name: "nsqd", mode: "broker" };
  if (word === "nsqlookupd") return { name: "nsqlookupd", mode: "lookup" };
  const mode = MODES.find((known) => known === word);
  if (mode !== undefined) return { name: "bunsq", mode };
  const missing = missingProgram(word);
  if (missing !== undefined) throw new UnknownProgram(missing);
  return undefined;
}

/** Prints to a file descriptor. A reader that has exited (`bunsq --help | head -1`) is not an error. */
function print(fd: number, text: string): void {
  try {
    writeSync(fd, text);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EPIPE") throw error;
  }
}
