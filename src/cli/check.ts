import { StartError } from "../base/start-error.ts";
import { checkDataPath } from "../broker/check/check.ts";
import { brokerFlags } from "./broker-flags.ts";
import { parseFlags, UsageError } from "./flags.ts";

const EXIT_SOUND = 0;
const EXIT_DAMAGED = 1;
const EXIT_USAGE = 2;

const HELP = `usage: bunsq check [--repair] DATA_PATH

Looks the data path of a stopped broker over: the store, every checksum of every log, the deferred messages.
Nothing is changed, but with --repair what can be mended is, as at a broker's start.

Exit code: 0 all is sound, 1 damage was found (and mended or not), 2 it could not be checked.
`;

/** `bunsq check`. @returns the exit code */
export async function runCheck(args: readonly string[], print: (text: string) => void): Promise<number> {
  let repair = false;
  const paths: string[] = [];
  for (const word of args) {
    if (word === "--repair" || word === "-repair") repair = true;
    else if (word === "--help" || word === "-help" || word === "-h") {
      print(HELP);
      return EXIT_SOUND;
    } else if (word.startsWith("-")) throw new UsageError(`bunsq check has no flag ${word}`);
    else paths.push(word);
  }
  const [dataPath] = paths;
  if (dataPath === undefined || paths.length > 1) throw new UsageError("bunsq check takes one data path");
  const { options } = parseFlags(brokerFlags(), []);
  try {
    const sound = await checkDataPath({ ...options, dataPath }, repair, (line) => print(`${line}\n`));
    return sound ? EXIT_SOUND : EXIT_DAMAGED;
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    print(`${error.message}\n`);
    return EXIT_USAGE;
  }
}
