import { goQuote } from "../base/go/quote.ts";
import type { BoolFlag, ChoiceFlag, DurationFlag, Flag, FlagValue, FloatsFlag, IntFlag, ListFlag, StringFlag } from "./flag.ts";
import { nearest } from "./suggest.ts";
import { BadValue, OutOfBounds, readText, showValue } from "./values.ts";

/**
 * Command-line flags with the spellings, the messages and the help layout of Go's flag package, since scripts and
 * unit files written for nsqd must go on working. One table yields parsing, defaults, bounds, help and docs/flags.md.
 * Source: https://pkg.go.dev/flag#hdr-Command_line_flag_syntax
 */

/** The kind of flag that can fill an option of type `Value`. */
type FlagFor<Value> = [Value] extends [boolean]
  ? BoolFlag
  : [Value] extends [number]
    ? IntFlag | DurationFlag
    : [Value] extends [string[]]
      ? ListFlag
      : [Value] extends [number[]]
        ? FloatsFlag
        : [Value] extends [string]
          ? string extends Value
            ? StringFlag
            : ChoiceFlag<Value>
          : never;

/** A program's flags. The type makes every option have exactly one flag, of a fitting kind. */
export interface FlagTable<Options> {
  options: { readonly [Option in keyof Options]-?: FlagFor<Options[Option]> };
  /** Flags that fill no option. */
  others: readonly Flag[];
}

export interface ParsedFlags<Options> {
  /** -h, -help or --help was met; parsing stopped there, as Go's does. */
  help: boolean;
  options: Options;
  /** What was on the command line, by flag name. */
  given: ReadonlyMap<string, FlagValue>;
}

/**
 * The command line is wrong; the message says how. Programs exit with 2 on it, as Go's do, and with 1 where it can be read
 * and asks for what cannot be.
 */
export class UsageError extends Error {
  constructor(
    message: string,
    readonly isReadable = false,
  ) {
    super(message);
  }
}

/** The flags that fill options, in the order of the table. */
export function optionFlags<Options>(table: FlagTable<Options>): Flag[] {
  return optionEntries(table.options).map(([, flag]) => flag);
}

function optionEntries<Options>(options: FlagTable<Options>["options"]): [option: string, flag: Flag][] {
  return Object.entries(options);
}

/** All flags in the order of their names. */
export function allFlags<Options>(table: FlagTable<Options>): Flag[] {
  return [...optionFlags(table), ...table.others].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/**
 * Reads a command line: `-flag value`, `-flag=value`, the same with two minuses; a bool takes its value after `=` only.
 *
 * @param args the words after the program's name
 * @param hint what to say of an unknown flag; without it, the nearest known one is named
 * @throws UsageError for an unknown flag, a value that does not parse or is out of bounds, a word that is no flag
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
 * What a flag is set to on a command line that need not be right otherwise: for the flags that say how to read the rest.
 * What is wrong is told when the rest is read.
 *
 * @param flags all that may stand there
 */
export function peekFlag(flags: readonly Flag[], args: readonly string[], name: string): string | undefined {
  const bare = new Set(flags.filter((flag) => bareValue(flag) !== undefined).map((flag) => flag.name));
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
 * The flags that fill options, under names with a prefix: where one process runs two servers, the second one's. Its
 * options come from resolveOptions() with what was given to the whole program.
 */
export function withPrefix<Options>(prefix: string, { options }: FlagTable<Options>): FlagTable<Options> {
  const renamed = optionEntries(options).map(([option, { configKey: _, ...flag }]) => [
    option,
    { ...flag, name: prefix + flag.name, own: true },
  ]);
  // The names aside they are the same flags for the same options.
  return { options: Object.fromEntries(renamed) as FlagTable<Options>["options"], others: [] };
}

/** The flags that were given and that do nothing here. One that is set to its own default asks for nothing. */
export function idleFlags<Options>(table: FlagTable<Options>, given: ReadonlyMap<string, FlagValue>): Flag[] {
  return allFlags(table).filter((flag) => flag.idle !== undefined && String(given.get(flag.name) ?? flag.default) !== String(flag.default));
}

/** What --help prints: the layout of Go's flag.PrintDefaults under its `Usage of` line. */
export function helpText<Options>(program: string, table: FlagTable<Options>): string {
  const lines = [`Usage of ${program}:`];
  for (const flag of allFlags(table)) {
    const type = helpType(flag);
    lines.push(`  -${flag.name}${type === "" ? "" : ` ${type}`}`, `    \t${describe(flag)}${helpDefault(flag)}`);
  }
  return `${lines.join("\n")}\n`;
}

/** A flag's doc line, with a note where it does nothing. */
export function describe(flag: Flag): string {
  if (flag.idle === undefined) return flag.doc;
  return `${flag.doc} [${flag.idle.status === "deprecated" ? "deprecated" : "no effect"}]`;
}

/** Options as a command line fills them. @param given values by flag name */
export function resolveOptions<Options>(table: FlagTable<Options>, given: ReadonlyMap<string, FlagValue>): Options {
  const values = optionEntries(table.options).map(([option, flag]) => [option, given.get(flag.name) ?? flag.default]);
  // The table's type pairs each option with a flag whose values are of the option's type.
  return Object.fromEntries(values) as Options;
}

/** nsqd ignores such words and everything after them, which hides typing errors. */
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

/** What a flag without a value stands for; undefined where it needs one. */
function bareValue(flag: Flag): string | undefined {
  if (flag.kind === "bool") return "true";
  return flag.kind === "choice" ? flag.bare : undefined;
}

function helpType(flag: Flag): string {
  if (bareValue(flag) !== undefined) return "";
  return flag.kind === "list" || flag.kind === "floats" || flag.kind === "choice" ? "value" : flag.kind;
}

/** Go leaves out a default that is its type's zero, and quotes strings. */
function helpDefault(flag: Flag): string {
  const value = flag.default;
  if (["", "0", "false"].includes(String(value))) return "";
  return ` (default ${flag.kind === "string" ? quote(flag.default) : showValue(flag, value)})`;
}

/** A text from outside as Go's %q shows it, so that it cannot pass for anything else. */
export function quote(text: string): string {
  return Buffer.from(goQuote(Buffer.from(text).toString("latin1")), "latin1").toString();
}

function didYouMean(name: string, names: readonly string[]): string {
  const meant = nearest(name, names);
  return meant === undefined ? "" : `did you mean -${meant}?`;
}
