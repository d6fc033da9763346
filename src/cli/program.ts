import { basename } from "node:path";
import { TOOLS } from "../tools/tools.ts";
import { type Environment, EXIT_FAILED } from "./command/command.ts";
import { UnknownProgram, UsageError } from "./flags.ts";
import { MODES, missingProgram } from "./modes.ts";
import { type Program, refuseUsage, runProgram } from "./servers.ts";

/**
 * Selects the server by the name of the executable (a link called nsqd, nsqlookupd or nsqadmin), else by the first word
 * (`bunsq broker …`, `bunsq nsqd …`). Otherwise -mode decides.
 *
 * @param startedAs argv[0]
 * @returns undefined if the first word names no server, so that it has to be a command
 * @throws UsageError for a program that does not exist
 */
export function selectProgram(startedAs: string, args: readonly string[]): Program | undefined {
  const byName = programNamed(basename(startedAs));
  if (byName !== undefined && byName.name !== "bunsq") return { ...byName, args: [...args] };
  const [word = "", ...rest] = args;
  const byWord = programNamed(word);
  if (byWord !== undefined) return { ...byWord, args: rest };
  return /^\w/.test(word) ? undefined : { name: "bunsq", mode: undefined, args: [...args] };
}

/** Runs what a command line asks for. @returns the exit code, when it has ended */
export async function main(startedAs: string, args: readonly string[], environment: Environment = process.env): Promise<number> {
  let name = "bunsq";
  try {
    const tool = basename(startedAs);
    if (Object.hasOwn(TOOLS, tool)) return (await TOOLS[tool]?.(args)) ?? EXIT_FAILED;
    const isHelp = args.length === 1 && /^--?h(elp)?$/.test(args[0] ?? "") && programNamed(tool) === undefined;
    const program = isHelp ? undefined : selectProgram(startedAs, args);
    if (program === undefined) {
      // Loaded here, so that a server's process has neither the commands nor the client in its memory.
      const { runCommand } = await import("./commands.ts");
      return await runCommand(isHelp ? ["help"] : args, environment);
    }
    name = program.name === "bunsq" && program.mode !== undefined ? `bunsq ${program.mode}` : program.name;
    return await runProgram(program, environment);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    return refuseUsage(name, error);
  }
}

function programNamed(word: string): Omit<Program, "args"> | undefined {
  if (word === "nsqd") return { name: "nsqd", mode: "broker" };
  if (word === "nsqlookupd") return { name: "nsqlookupd", mode: "lookup" };
  if (word === "nsqadmin") return { name: "nsqadmin", mode: "admin" };
  const mode = MODES.find((known) => known === word);
  if (mode !== undefined) return { name: "bunsq", mode };
  const missing = missingProgram(word);
  if (missing !== undefined) throw new UnknownProgram(missing);
  return undefined;
}
