import type { Flag, FlagValue } from "../flag.ts";
import { allFlags, type FlagTable, flagHelp, parseFlags, quote, UsageError } from "../flags.ts";
import { nearest } from "../suggest.ts";
import { splitWords } from "./command-line.ts";
import type { Terminal } from "./terminal.ts";

/** Commands end with one of these, unless their help says otherwise. */
export const EXIT_OK = 0;
export const EXIT_FAILED = 1;
export const EXIT_USAGE = 2;

/** The environment of the process. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** What a word of a command line stands for. */
export interface Word {
  /** As the help writes it: `TOPIC`. */
  name: string;
  /** All that it may be, if that is a fixed list. */
  values?: readonly string[];
  isOptional?: true;
  /** It is a path, which a shell can complete. */
  isPath?: true;
}

/** A command of the program `bunsq`, with what help and completion say about it. */
export interface Command {
  readonly name: string;
  /** One line, without a full stop. */
  readonly summary: string;
  /** The flags and words that it takes, in the usage line. */
  readonly usage: string;
  readonly flags: readonly Flag[];
  readonly words: readonly Word[];
  /** Commands that follow its name: `create` behind `topic`. */
  readonly subcommands: readonly Command[];
  /** @param path all words that name the command: `bunsq topic create` */
  help(path: string): string;
  /**
   * Runs the command. @param args the words behind its name. @returns the exit code
   *
   * @throws UsageError
   */
  run(path: string, args: readonly string[], terminal: Terminal, environment: Environment): Promise<number>;
}

/** A command line that was read. */
export interface Call<Options> {
  options: Options;
  /** The flags that were given. */
  given: ReadonlyMap<string, FlagValue>;
  /** The words that are no flags. */
  words: readonly string[];
  terminal: Terminal;
  environment: Environment;
}

/** What a command is made of. */
export interface CommandParts<Options> {
  name: string;
  summary: string;
  /** More than the summary: what it does exactly, with examples. Lines. */
  about?: string;
  words?: readonly Word[];
  table: FlagTable<Options>;
  /** @returns the exit code */
  run(call: Call<Options>): Promise<number>;
}

/** Makes a command that reads its flags and words, in any order, and explains itself with --help. */
export function command<Options>({ name, summary, about = "", words = [], table, run }: CommandParts<Options>): Command {
  const flags = allFlags(table);
  const usage = [flags.length > 0 ? "[flags]" : "", ...words.map(usageOf)].filter((part) => part !== "").join(" ");
  const help = (path: string) => {
    const flagLines = flags.length === 0 ? "" : `\nFlags:\n${flags.map(flagHelp).join("")}`;
    return `usage: ${path} ${usage}\n\n${summary}.\n${about === "" ? "" : `\n${about.trim()}\n`}${flagLines}`;
  };
  return {
    name,
    summary,
    usage,
    flags,
    words,
    subcommands: [],
    help,
    run: async (path, args, terminal, environment) => {
      const split = splitWords(flags, args);
      const { help: isHelp, options, given } = parseFlags(table, split.flags);
      if (isHelp) {
        await terminal.print(help(path));
        return EXIT_OK;
      }
      checkWords(path, words, split.words);
      return run({ options, given, words: split.words, terminal, environment });
    },
  };
}

/** Makes a command that consists of others: `topic` of `topic create`, `topic delete` and so on. */
export function commandGroup(name: string, summary: string, subcommands: readonly Command[]): Command {
  const usage = `${subcommands.map((one) => one.name).join("|")} …`;
  const help = (path: string) => {
    const width = Math.max(...subcommands.map((one) => `${one.name} ${one.usage}`.length));
    const lines = subcommands.map((one) => `  ${path} ${`${one.name} ${one.usage}`.padEnd(width)}   ${one.summary}\n`);
    return `usage:\n${lines.join("")}\n${summary}. See ${path} COMMAND --help for the flags.\n`;
  };
  return {
    name,
    summary,
    usage,
    flags: [],
    words: [],
    subcommands,
    help,
    run: async (path, args, terminal, environment) => {
      const [word, ...rest] = args;
      if (word === undefined) throw new UsageError(`${path} needs one of ${subcommands.map((one) => one.name).join(", ")}`);
      const found = subcommands.find((one) => one.name === word);
      if (found !== undefined) return found.run(`${path} ${word}`, rest, terminal, environment);
      if (/^(--?h(elp)?|help)$/.test(word)) {
        await terminal.print(help(path));
        return EXIT_OK;
      }
      const meant = nearest(
        word,
        subcommands.map((one) => one.name),
      );
      throw new UsageError(`${path} has no ${quote(word)}${meant === undefined ? "" : `\ndid you mean ${meant}?`}`);
    },
  };
}

function usageOf({ name, isOptional }: Word): string {
  return isOptional ? `[${name}]` : name;
}

/** @throws UsageError if there are too few words or too many, or one that is not in a fixed list */
function checkWords(path: string, expected: readonly Word[], words: readonly string[]): void {
  const missing = expected.find((word, at) => !word.isOptional && at >= words.length);
  if (missing !== undefined) throw new UsageError(`${path} needs ${expected.map(usageOf).join(" ")}: ${missing.name} is missing`);
  const extra = words[expected.length];
  if (extra !== undefined) throw new UsageError(`unexpected word ${quote(extra)}`);
  for (const [at, word] of words.entries()) {
    const values = expected[at]?.values;
    if (values !== undefined && !values.includes(word)) throw new UsageError(`${quote(word)} must be one of ${values.join(", ")}`);
  }
}
