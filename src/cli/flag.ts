interface FlagBase {
  /** Without its minuses. */
  name: string;
  /** One line, in our own words. */
  doc: string;
  /** Its name in a config file, where that is not the flag's with underscores. */
  configKey?: string;
  /** Where it may be set besides the command line: everywhere unless told. */
  settableIn?: readonly ("config" | "environment")[];
  /** For docs: stands for a default that depends on the machine. */
  defaultDoc?: string;
  /** bunsq's own; nsqd has none of this name. */
  own?: true;
  /** How what it does is better than in NSQ, for docs/compatibility.md; without it, it does the same. */
  better?: string;
  /**
   * It is a flag of NSQ's that does nothing here, which the log says where it is set to anything but its default.
   * `deprecated`: NSQ has left it without effect too. `needless`: there is nothing in bunsq for it to set.
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
  /** Both ends are allowed values. */
  min: number;
  max: number;
}

export interface DurationFlag extends FlagBase {
  kind: "duration";
  /** Milliseconds; both ends are allowed values. */
  default: number;
  min: number;
  max: number;
}

export interface BoolFlag extends FlagBase {
  kind: "bool";
  default: boolean;
}

/** May be given several times, and with several values between commas; what is given replaces the default. */
export interface ListFlag extends FlagBase {
  kind: "list";
  default: string[];
}

/** The same for numbers with a fraction. */
export interface FloatsFlag extends FlagBase {
  kind: "floats";
  default: number[];
  /** Of each; both ends are allowed values. */
  min: number;
  max: number;
}

export interface ChoiceFlag<Value extends string> extends FlagBase {
  kind: "choice";
  default: Value;
  /** In lower case; any case is taken. */
  values: readonly Value[];
  /** Further words, in lower case, and what they stand for. */
  aliases?: Readonly<Record<string, Value>>;
  /** What the flag stands for without a value; its value then follows after `=` only, as a bool's does. */
  bare?: Value;
  /** How help shows a value. */
  show?(value: Value): string;
  /** Says what is wrong with another word. */
  refusal?(text: string): string;
}

export type Flag = StringFlag | IntFlag | DurationFlag | BoolFlag | ListFlag | FloatsFlag | ChoiceFlag<string>;
export type FlagValue = string | number | boolean | string[] | number[];

export function isSettableIn(flag: Flag, place: "config" | "environment"): boolean {
  return flag.settableIn?.includes(place) ?? true;
}
