import type { Flag } from "../flag.ts";
import { isBare } from "../flags.ts";
import type { Command } from "./command.ts";

/** What can follow the words of a command, for the scripts that complete command lines. */
export interface CompletionEntry {
  /** The words that name the command: `topic create`; empty for `bunsq` itself. */
  path: string;
  /** Commands that can follow. */
  commands: readonly Command[];
  flags: readonly Flag[];
  /** Fixed words that can follow. */
  values: readonly string[];
}

/** One entry for each command and `bunsq` itself. @param flags of `bunsq` without a command */
export function completionEntries(commands: readonly Command[]): CompletionEntry[] {
  // Without a command it runs what the command `all` runs.
  const flags = commands.find(({ name }) => name === "all")?.flags ?? [];
  const entries = (path: string, inner: readonly Command[]): CompletionEntry[] =>
    inner.flatMap((command) => {
      const whole = path === "" ? command.name : `${path} ${command.name}`;
      const isHelp = command.name === "help";
      const values = isHelp ? ["flags", "commands"] : command.words.flatMap((word) => word.values ?? []);
      const entry = { path: whole, commands: isHelp ? commands : command.subcommands, flags: command.flags, values };
      return [entry, ...entries(whole, command.subcommands)];
    });
  return [{ path: "", commands, flags, values: [] }, ...entries("", commands)];
}

/** The values that a flag can have, if they are few. */
export function flagValues(flag: Flag): readonly string[] {
  return flag.kind === "choice" ? flag.values : [];
}

/** A flag as it is written; with `=` if a value has to follow. */
export function flagWord(flag: Flag): string {
  return `--${flag.name}${isBare(flag) ? "" : "="}`;
}
