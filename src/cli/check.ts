import { StartError } from "../base/start-error.ts";
import { checkDataPath } from "../broker/check/check.ts";
import { brokerFlags } from "./broker-flags.ts";
import type { BoolFlag } from "./flag.ts";
import { parseFlags, UsageError } from "./flags.ts";

const EXIT_SOUND = 0;
const EXIT_DAMAGED = 1;
const EXIT_USAGE = 2;

export const repairFlag: BoolFlag = { name: "repair", kind: "bool", own: true, default: false, doc: "repair what can be repaired" };

const HELP = `usage: bunsq check [--repair] DATA_PATH

Checks a stopped broker's data directory: the metadata store, every checksum of every log, and the deferred messages.
Changes nothing, unless --repair is given: then it repairs what it can, as a broker does when it starts.

Exit code: 0 no damage, 1 damage was found (repaired or not), 2 the data could not be checked.
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
  if (dataPath === undefined || paths.length > 1) throw new UsageError("bunsq check needs exactly one data path");
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
