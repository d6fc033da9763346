import { goQuote } from "../base/go/quote.ts";
import type { BoolFlag, ChoiceFlag, DurationFlag, Flag, FlagValue, FloatFlag, FloatsFlag, IntFlag, ListFlag, StringFlag } from "./flag.ts";
import { nearest } from "./suggest.ts";
import { BadValue, OutOfBounds, readText, showValue } from "./values.ts";

/**
 * Command-line flags with the spellings, messages and help layout of Go's flag package, because scripts and unit files that
 * were written for nsqd must keep working. Parsing, defaults, bounds, help and docs/flags.md all come from one table.
 * Source: https://pkg.go.dev/flag#hdr-Command_line_flag_syntax
 */

/** The kind of flag that can set an option of type `Value`. */
type FlagFor<Value> = [Value] extends [boolean]
  ? BoolFlag
  : [Value] extends [number]
    ? IntFlag | DurationFlag | FloatFlag
    : [Value] extends [string[]]
      ? ListFlag
      : [Value] extends [number[]]
        ? FloatsFlag
        : [Value] extends [string]
          ? string extends Value
            ? StringFlag
            : ChoiceFlag<Value>
          : never;

/** A program's flags. The type ensures that every option has exactly one flag, of a suitable kind. */
export interface FlagTable<Options> {
  options: { readonly [Option in keyof Options]-?: FlagFor<Options[Option]> };
  /** Flags that set no option. */
  others: readonly Flag[];
}

export interface ParsedFlags<Options> {
  /** Whether -h, -help or --help was found. Parsing stops there, as in Go. */
  help: boolean;
  options: Options;
  /** The values on the command line, by flag name. */
  given: ReadonlyMap<string, FlagValue>;
}

/**
 * An error in the command line. Programs exit with 2, as Go's do; with 1 if the command line is readable, but a value is not
 * allowed.
 */
export class UsageError extends Error {
  constructor(
    message: string,
    readonly isReadable = false,
  ) {
    super(message);
  }
}

/** The command line asks for a program that there is not. */
export class UnknownProgram extends UsageError {}

/** The flags that set options, in the order of the table. */
export function optionFlags<Options>(table: FlagTable<Options>): Flag[] {
  return optionEntries(table.options).map(([, flag]) => flag);
}

function optionEntries<Options>(options: FlagTable<Options>["options"]): [option: string, flag: Flag][] {
  return Object.entries(options);
}

/** All flags, sorted by name. */
export function allFlags<Options>(table: FlagTable<Options>): Flag[] {
  return [...optionFlags(table), ...table.others].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/**
 * Parses a command line: `-flag value`, `-flag=value`, or both with two dashes. A bool takes its value after `=` only.
 *
 * @param args the words after the program's name
 * @param hint returns a hint for an unknown flag; by default the nearest known flag is named
 * @throws UsageError for an unknown flag, a value that is malformed or out of bounds, and a word that is not a flag
 */
export function parseFlags<Options>(
  table: FlagTable<Options>,
  args: readonly string[],
  hint: (name: string) => string | undefined = () => undefined,
): ParsedFlags<Options> {
  const flags = new Map(allFlags(table).map((flag) => [flag.name, flag]));
  const given = new Map<string, FlagValue>();
  let help = false;
  for (let at = 0; at < args.length; at++) {
    const word = args[at] as string;
    if (word === "--") {
      refuseWord(args[at + 1]);
      break;
    }
    const [, name, inline] = /^--?([^-=][^=]*)(?:=(.*))?$/s.exec(word) ?? [];
    if (name === undefined) {
      if (!word.startsWith("-") || word === "-") refuseWord(word);
      throw new UsageError(`bad flag syntax: ${word}`);
    }
    const flag = flags.get(name);
    if (flag === undefined) {
      help = name === "help" || name === "h";
      if (help) break;
      throw new UsageError(`flag provided but not defined: -${name}\n${hint(name) ?? didYouMean(name, [...flags.keys()])}`.trimEnd());
    }
    let text = inline;
    if (text === undefined) {
      text = bareValue(flag) ?? args[++at];
      if (text === undefined) throw new UsageError(`flag needs an argument: -${name}`);
    }
    const value = parseValue(flag, text);
    const before = given.get(name);
    given.set(name, Array.isArray(value) && Array.isArray(before) ? ([...before, ...value] as FlagValue) : value);
  }
  return { help, options: resolveOptions(table, given), given };
}

/**
 * The value of a flag on a command line that may have errors. It is for the flags that decide how the rest is parsed; errors
 * are reported when the rest is parsed.
 *
 * @param flags all flags that may be on the command line
 */
export function peekFlag(flags: readonly Flag[], args: readonly string[], name: string): string | undefined {
  const bare = new Set(flags.filter(isBare).map((flag) => flag.name));
  let found: string | undefined;
  for (let at = 0; at < args.length && args[at] !== "--"; at++) {
    const [, word = "", inline] = /^--?([^-=][^=]*)(?:=(.*))?$/s.exec(args[at] as string) ?? [];
    if (word === "") continue;
    const text = inline ?? (bare.has(word) ? undefined : args[++at]);
    if (word === name) found = text;
  }
  return found;
}

/**
 * Adds a prefix to the names of the flags that set options, for the second server in a process. resolveOptions() makes the
 * server's options from the values that were given to the whole program.
 */
export function withPrefix<Options>(prefix: string, { options }: FlagTable<Options>): FlagTable<Options> {
  const renamed = optionEntries(options).map(([option, { configKey, ...flag }]) => [
    option,
    {
      ...flag,
      // The prefix of -admin-user is there already.
      name: flag.name.startsWith(prefix) ? flag.name : prefix + flag.name,
      own: true,
      ...(configKey === undefined ? {} : { configKey: prefix.replace("-", "_") + configKey }),
    },
  ]);
  // Except for their names, these are the same flags for the same options.
  return { options: Object.fromEntries(renamed) as FlagTable<Options>["options"], others: [] };
}

/** The given flags that have no effect. A flag that is set to its default is left out, because nothing was asked for. */
export function idleFlags<Options>(table: FlagTable<Options>, given: ReadonlyMap<string, FlagValue>): Flag[] {
  return allFlags(table).filter((flag) => flag.idle !== undefined && String(given.get(flag.name) ?? flag.default) !== String(flag.default));
}

/** The text of --help, in the layout of Go's flag.PrintDefaults under its `Usage of` line. */
export function helpText<Options>(program: string, table: FlagTable<Options>): string {
  return `Usage of ${program}:\n${allFlags(table).map(flagHelp).join("")}`;
}

/** The two lines of a flag in the text of --help. */
export function flagHelp(flag: Flag): string {
  const type = helpType(flag);
  return `  -${flag.name}${type === "" ? "" : ` ${type}`}\n    \t${describe(flag)}${helpDefault(flag)}\n`;
}

/** A flag's doc line, with a note if the flag has no effect. */
function describe(flag: Flag): string {
  if (flag.idle === undefined) return flag.doc;
  return `${flag.doc} [${flag.idle.status === "deprecated" ? "deprecated" : "no effect"}]`;
}

/** Makes options from given values and defaults. @param given values by flag name */
export function resolveOptions<Options>(table: FlagTable<Options>, given: ReadonlyMap<string, FlagValue>): Options {
  const values = optionEntries(table.options).map(([option, flag]) => [option, given.get(flag.name) ?? flag.default]);
  // The type of the table ensures that a flag's values have the type of its option.
  return Object.fromEntries(values) as Options;
}

/** Refuses a word that is not a flag. nsqd ignores such words and everything behind them, which hides mistakes. */
function refuseWord(word: string | undefined): void {
  if (word === undefined) return;
  throw new UsageError(`unexpected word ${quote(word)}: flags begin with -, and a bool takes its value as in -flag=false`);
}

function parseValue(flag: Flag, text: string): FlagValue {
  try {
    return readText(flag, text);
  } catch (error) {
    if (!(error instanceof BadValue)) throw error;
    const what = flag.kind === "bool" ? `boolean value ${quote(text)} for` : `value ${quote(text)} for flag`;
    throw new UsageError(`invalid ${what} -${flag.name}: ${error.message}`, error instanceof OutOfBounds);
  }
}

/** Whether a flag takes a value only behind `=`. */
export function isBare(flag: Flag): boolean {
  return bareValue(flag) !== undefined;
}

/** The value of a flag that is given without one; undefined if it needs one. */
function bareValue(flag: Flag): string | undefined {
  if (flag.kind === "bool") return "true";
  return flag.kind === "choice" ? flag.bare : undefined;
}

function helpType(flag: Flag): string {
  if (flag.valueName !== undefined) return flag.valueName;
  if (bareValue(flag) !== undefined) return "";
  return flag.kind === "list" || flag.kind === "floats" || flag.kind === "choice" ? "value" : flag.kind;
}

/** As in Go, a default that is the zero value of its type is left out, and strings are quoted. */
function helpDefault(flag: Flag): string {
  const value = flag.default;
  if (["", "0", "false"].includes(String(value))) return "";
  return ` (default ${flag.kind === "string" ? quote(flag.default) : showValue(flag, value)})`;
}

/** Quotes a text from outside as Go's %q does, so that it cannot be mistaken for part of a message. */
export function quote(text: string): string {
  return Buffer.from(goQuote(Buffer.from(text).toString("latin1")), "latin1").toString();
}

function didYouMean(name: string, names: readonly string[]): string {
  const meant = nearest(name, names);
  return meant === undefined ? "" : `did you mean -${meant}?`;
}
