import { basename } from "node:path";
import { ClientError } from "../client/bun.ts";
import { TOOLS } from "../tools/tools.ts";
import { type Environment, EXIT_FAILED, EXIT_OK, EXIT_USAGE } from "./command/command.ts";
import { explainFailure } from "./command/failure.ts";
import { OutputClosed, Terminal } from "./command/terminal.ts";
import { COMMAND_NAMES, findCommand } from "./commands.ts";
import { quote, UnknownProgram, UsageError } from "./flags.ts";
import { MODES, missingProgram } from "./modes.ts";
import { type Program, print, runProgram, STDERR } from "./servers.ts";
import { nearest } from "./suggest.ts";

/** A command is taken for a misspelled one if at most one of this many letters is wrong. */
const LETTERS_PER_SLIP = 4;

/**
 * Selects the server by the name of the executable (a link called nsqd or nsqlookupd), else by the first word
 * (`bunsq broker …`, `bunsq nsqd …`). Otherwise -mode decides.
 *
 * @param startedAs argv[0]
 * @throws UsageError for a program that does not exist
 */
export function selectProgram(startedAs: string, args: readonly string[]): Program {
  const byName = programNamed(basename(startedAs));
  if (byName !== undefined && byName.name !== "bunsq") return { ...byName, args: [...args] };
  const [word = "", ...rest] = args;
  const byWord = programNamed(word);
  if (byWord === undefined && /^\w/.test(word)) {
    const meant = nearest(word, COMMAND_NAMES, Math.max(1, Math.floor(word.length / LETTERS_PER_SLIP)));
    const hint = meant === undefined ? "" : `did you mean ${meant}?\n`;
    throw new UnknownProgram(`unknown command ${quote(word)}\n${hint}see bunsq --help for the commands`);
  }
  return byWord === undefined ? { name: "bunsq", mode: undefined, args: [...args] } : { ...byWord, args: rest };
}

/** Runs what a command line asks for. @returns the exit code, when it has ended */
export async function main(startedAs: string, args: readonly string[], environment: Environment = process.env): Promise<number> {
  let name = "bunsq";
  try {
    const tool = basename(startedAs);
    if (Object.hasOwn(TOOLS, tool)) return (await TOOLS[tool]?.(args)) ?? EXIT_FAILED;
    const [first = ""] = args;
    const words = args.length === 1 && /^--?h(elp)?$/.test(first) ? ["help"] : args;
    const command = programNamed(basename(startedAs)) === undefined ? findCommand(words[0]) : undefined;
    if (command !== undefined) {
      // A command within a group has its own help.
      const inner = command.subcommands.find((one) => one.name === words[1]);
      name = `bunsq ${command.name}${inner === undefined ? "" : ` ${inner.name}`}`;
      return await command.run(`bunsq ${command.name}`, words.slice(1), new Terminal(environment), environment);
    }
    const program = selectProgram(startedAs, args);
    name = program.name === "bunsq" && program.mode !== undefined ? `bunsq ${program.mode}` : program.name;
    return await runProgram(program, environment);
  } catch (error) {
    if (error instanceof OutputClosed) return EXIT_OK;
    if (error instanceof ClientError) {
      print(STDERR, `${name}: ${explainFailure(error)}\n`);
      return EXIT_FAILED;
    }
    if (!(error instanceof UsageError)) throw error;
    print(STDERR, `${error.message}\n${error instanceof UnknownProgram ? "" : `see ${name} --help for the flags\n`}`);
    return error.isReadable ? EXIT_FAILED : EXIT_USAGE;
  }
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
