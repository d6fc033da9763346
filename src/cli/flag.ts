interface FlagBase {
  /** Without the dashes. */
  name: string;
  /** One line for the help text. */
  doc: string;
  /** Its key in a config file, if that is not the name with underscores. */
  configKey?: string;
  /** Where it may be set beside the command line; everywhere by default. */
  settableIn?: readonly ("config" | "environment")[];
  /** The default in the docs, if the actual default depends on the machine. */
  defaultDoc?: string;
  /** NSQ has no flag of this name. */
  own?: true;
  /** What its value is called in the help text, if that is not its type. */
  valueName?: string;
  /** How it works better than in NSQ, for docs/compatibility.md; if not given, it works the same. */
  better?: string;
  /**
   * Given for a flag of NSQ that has no effect here. The log warns if it is set to another value than its default.
   * `deprecated`: it has no effect in NSQ either. `needless`: bunsq has nothing that it could set.
   */
  idle?: { status: "deprecated" | "needless"; why: string };
}

export interface StringFlag extends FlagBase {
  kind: "string";
  default: string;
}

export interface IntFlag extends FlagBase {
  kind: "int";
  default: number;
  /** The bounds are allowed values. */
  min: number;
  max: number;
}

export interface DurationFlag extends FlagBase {
  kind: "duration";
  /** Milliseconds. The bounds are allowed values. */
  default: number;
  min: number;
  max: number;
}

/** A number that may have a fraction. */
export interface FloatFlag extends FlagBase {
  kind: "float";
  default: number;
  /** The bounds are allowed values. */
  min: number;
  max: number;
}

export interface BoolFlag extends FlagBase {
  kind: "bool";
  default: boolean;
}

/** May be given several times, and with several values separated by commas. Given values replace the default. */
export interface ListFlag extends FlagBase {
  kind: "list";
  default: string[];
  /** Commas are part of a value. */
  isWhole?: true;
  /** Refuses a value. @throws BadValue */
  check?(text: string): void;
}

/** A list of numbers that may have a fraction. May be given several times, as ListFlag. */
export interface FloatsFlag extends FlagBase {
  kind: "floats";
  default: number[];
  /** The bounds of each number. They are allowed values. */
  min: number;
  max: number;
}

export interface ChoiceFlag<Value extends string> extends FlagBase {
  kind: "choice";
  default: Value;
  /** In lower case. Any case is accepted. */
  values: readonly Value[];
  /** Further accepted words, in lower case, and the values that they stand for. */
  aliases?: Readonly<Record<string, Value>>;
  /** The value of the flag without a value. If given, a value has to follow after `=`, as for a bool. */
  bare?: Value;
  /** Formats a value for the help text. */
  show?(value: Value): string;
  /** The error for any other word. */
  refusal?(text: string): string;
}

export type Flag = StringFlag | IntFlag | FloatFlag | DurationFlag | BoolFlag | ListFlag | FloatsFlag | ChoiceFlag<string>;
export type FlagValue = string | number | boolean | string[] | number[];

export function isSettableIn(flag: Flag, place: "config" | "environment"): boolean {
  return flag.settableIn?.includes(place) ?? true;
}
