import { brokerFlags } from "../broker-flags.ts";
import { repairFlag, runCheck } from "../check.ts";
import type { Command, Word } from "../command/command.ts";
import type { Flag } from "../flag.ts";
import { formatFlag, runExport, runImport } from "../migration.ts";
import { print, STDOUT } from "../servers.ts";

// Commands that work on the data of a stopped broker. They connect to nothing, and print what they do as they do it.

type Run = (args: readonly string[], print: (text: string) => void) => Promise<number>;

function onStoppedData(name: string, summary: string, word: Word, flags: readonly Flag[], run: Run): Command {
  return {
    name,
    summary,
    usage: `[flags] ${word.name}`,
    flags,
    words: [word],
    subcommands: [],
    run: (_, args) => run(args, (text) => print(STDOUT, text)),
    help: () => {
      let text = "";
      // It returns at once, and prints its help before that.
      void run(["--help"], (part) => {
        text += part;
      });
      return text;
    },
  };
}

const { dataPath, nodeId, maxBytesPerFile } = brokerFlags().options;
const PATH: Word = { name: "PATH", isPath: true };

export const checkCommand = onStoppedData(
  "check",
  "Check or repair a stopped broker's data directory",
  { name: "DATA_PATH", isPath: true },
  [repairFlag],
  runCheck,
);

export const importCommand = onStoppedData(
  "import",
  "Take over the data of Go's nsqd",
  PATH,
  [dataPath, nodeId, maxBytesPerFile],
  runImport,
);

export const exportCommand = onStoppedData(
  "export",
  "Write a stopped broker's data for Go's nsqd",
  PATH,
  [formatFlag, dataPath, maxBytesPerFile],
  runExport,
);
