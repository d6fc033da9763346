import { type Command, EXIT_OK } from "../command/command.ts";
import { type CommandSection, commandList, overview } from "../command/overview.ts";
import { quote, UsageError } from "../flags.ts";
import { helpPage } from "../help.ts";
import { allProgramFlags } from "../modes.ts";
import { nearest } from "../suggest.ts";

const FLAGS = "flags";
const COMMANDS = "commands";

/** `bunsq help`. @param sections returns the table of commands, which has this one too */
export function helpCommand(sections: () => readonly CommandSection[]): Command {
  const textOf = (words: readonly string[]): string => {
    const [word, ...rest] = words;
    if (word === undefined) return overview(sections());
    if (word === COMMANDS) return commandList(sections());
    if (word === FLAGS) return helpPage("bunsq", allProgramFlags({ mode: undefined }));
    return explain(
      "bunsq",
      sections().flatMap(({ commands }) => commands),
      word,
      rest,
    );
  };
  return {
    name: "help",
    summary: "Explain the commands and flags",
    usage: `[${FLAGS}|${COMMANDS}|COMMAND]`,
    flags: [],
    words: [{ name: "COMMAND", isOptional: true }],
    subcommands: [],
    help: (path) => `usage: ${path} [${FLAGS}|${COMMANDS}|COMMAND]\n`,
    run: async (_, args, terminal) => {
      await terminal.print(textOf(args.filter((word) => !word.startsWith("-"))));
      return EXIT_OK;
    },
  };
}

/** @throws UsageError if there is no such command */
function explain(path: string, commands: readonly Command[], word: string, rest: readonly string[]): string {
  const names = commands.map(({ name }) => name);
  const found = commands.find(({ name }) => name === word);
  if (found === undefined) {
    const meant = nearest(word, [...names, FLAGS, COMMANDS]);
    throw new UsageError(`there is no command ${quote(`${path} ${word}`)}${meant === undefined ? "" : `\ndid you mean ${meant}?`}`);
  }
  const [next, ...others] = rest;
  if (next === undefined || found.subcommands.length === 0) return found.help(`${path} ${word}`);
  return explain(`${path} ${word}`, found.subcommands, next, others);
}
