import { resolve } from "node:path";
import { StartError } from "../base/start-error.ts";
import { checkDataPath, lockExclusively } from "../broker/exclusive-data-path.ts";
import { exportNsqdData } from "../broker/migration/nsqd-export.ts";
import { wasImported } from "../broker/migration/nsqd-files.ts";
import { startImport } from "../broker/migration/nsqd-import.ts";
import type { BrokerOptions } from "../broker/options.ts";
import { brokerFlags } from "./broker-flags.ts";
import { splitWords } from "./command/command-line.ts";
import type { ChoiceFlag } from "./flag.ts";
import { allFlags, type FlagTable, parseFlags, resolveOptions, UsageError } from "./flags.ts";
import { PrintLogger } from "./print-logger.ts";

const EXIT_OK = 0;
const EXIT_PROBLEMS = 1;
const EXIT_FAILED = 2;

const IMPORT_HELP = `usage: bunsq import [--data-path=DIR] [--node-id=N] [--max-bytes-per-file=N] PATH

Takes the data of Go's nsqd in PATH into the data directory of a stopped broker: topics, channels, pauses and all messages
that are on the disk. Afterwards nsqd's files are in PATH/nsqd-data-imported. An import that was interrupted goes on where it
stopped when it is started again. A broker does this by itself for the files of nsqd in its own data directory.

--data-path   the broker's data directory (default: the working directory)
--node-id     the --node-id of the broker, which is a part of all message ids (default: a hash of the host name)

Exit code: 0 everything was imported, 1 something could not be read and is named, 2 nothing or not everything was imported.
`;

const EXPORT_HELP = `usage: bunsq export --format=nsqd [--data-path=DIR] [--max-bytes-per-file=N] PATH

Writes what a stopped broker has still to deliver as a data path of Go's nsqd 1.3.0, with topics, channels and pauses. PATH is
made if it does not exist, and must not have data of nsqd. The broker's data stays as it is: do not start both.

--data-path   the broker's data directory (default: the working directory)

Exit code: 0 everything was exported, 1 something could not be read or kept and is named, 2 nothing was exported.
`;

interface ExportFormat {
  format: "nsqd";
}

export const formatFlag: ChoiceFlag<"nsqd"> = { name: "format", kind: "choice", values: ["nsqd"], default: "nsqd", doc: "what to write" };

/** `bunsq import`. @returns the exit code */
export async function runImport(args: readonly string[], print: (text: string) => void): Promise<number> {
  const { dataPath, nodeId, maxBytesPerFile } = brokerFlags().options;
  const table: FlagTable<Pick<BrokerOptions, "dataPath" | "nodeId" | "maxBytesPerFile">> = {
    options: { dataPath, nodeId, maxBytesPerFile },
    others: [],
  };
  const given = readCommandLine("import", table, args);
  if (given === undefined) return printHelp(print, IMPORT_HELP);
  const logger = new PrintLogger(print);
  return run(logger, async () => {
    const options = { ...resolveOptions(brokerFlags(), new Map()), ...given.options, dataPath: resolve(given.options.dataPath) };
    checkDataPath(options.dataPath);
    const source = resolve(given.path);
    const unlock = [lockExclusively(options.dataPath, logger)];
    try {
      if (source !== options.dataPath) unlock.push(lockExclusively(source, logger));
      const result = await startImport(options, logger, { source }).result;
      if (result === undefined) {
        throw new StartError(`there is no data of nsqd in ${source}${wasImported(source) ? "; an earlier import has moved it" : ""}`);
      }
      return result.problems;
    } finally {
      for (const release of unlock) release();
    }
  });
}

/** `bunsq export`. @returns the exit code */
export async function runExport(args: readonly string[], print: (text: string) => void): Promise<number> {
  const { dataPath, maxBytesPerFile } = brokerFlags().options;
  const table: FlagTable<Pick<BrokerOptions, "dataPath" | "maxBytesPerFile"> & ExportFormat> = {
    options: { dataPath, maxBytesPerFile, format: formatFlag },
    others: [],
  };
  const given = readCommandLine("export", table, args);
  if (given === undefined) return printHelp(print, EXPORT_HELP);
  if (!given.names.has(formatFlag.name)) throw new UsageError("bunsq export needs --format=nsqd");
  const logger = new PrintLogger(print);
  return run(logger, async () => {
    const { dataPath: from, maxBytesPerFile: fileBytes } = given.options;
    const options = { ...resolveOptions(brokerFlags(), new Map()), dataPath: resolve(from) };
    checkDataPath(options.dataPath);
    const unlock = lockExclusively(options.dataPath, logger);
    try {
      return await exportNsqdData(options, resolve(given.path), fileBytes, logger);
    } finally {
      unlock();
    }
  });
}

/** @param work returns the number of problems */
async function run(logger: PrintLogger, work: () => Promise<number>): Promise<number> {
  try {
    return (await work()) === 0 ? EXIT_OK : EXIT_PROBLEMS;
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    logger.error(error.message);
    return EXIT_FAILED;
  }
}

function printHelp(print: (text: string) => void, help: string): number {
  print(help);
  return EXIT_OK;
}

/** Reads flags and one path, in any order. @returns undefined if help is asked for @throws UsageError */
function readCommandLine<Options>(command: string, table: FlagTable<Options>, args: readonly string[]) {
  const { flags, words } = splitWords(allFlags(table), args);
  const { help, options, given } = parseFlags(table, flags);
  if (help) return undefined;
  const [path] = words;
  if (path === undefined || words.length > 1) throw new UsageError(`bunsq ${command} needs exactly one path`);
  return { options, path, names: new Set(given.keys()) };
}
