import { formatDuration, msToNs, nsToMs, parseDuration } from "../base/go/duration.ts";
import type { Flag, FlagValue } from "./flag.ts";

/** A value that a flag does not take. The message says why, without the flag and the value: the reader knows where they stood. */
export class BadValue extends Error {}

/** It can be read, and is too small or too large. */
export class OutOfBounds extends BadValue {}

/**
 * Reads a value from text, as on a command line or in the environment, in the notations of Go's flag package.
 *
 * @throws BadValue
 */
export function readText(flag: Flag, text: string): FlagValue {
  switch (flag.kind) {
    case "string":
      return text;
    case "list":
      return parts(text);
    case "floats":
      return parts(text).map((part) => {
        const value = parseFloat64(part);
        if (value === undefined) throw new BadValue("parse error: takes numbers, as in 0.99,0.95");
        return within(flag, value);
      });
    case "bool": {
      const value = parseBool(text);
      if (value === undefined) throw new BadValue("parse error: takes true or false");
      return value;
    }
    case "choice": {
      const value = text.toLowerCase();
      if (flag.values.includes(value)) return value;
      if (flag.aliases !== undefined && Object.hasOwn(flag.aliases, value)) return flag.aliases[value] as string;
      throw new BadValue(flag.refusal?.(text) ?? `must be one of ${flag.values.join(", ")}`);
    }
    case "int": {
      const value = parseInt64(text);
      if (value === "out of range") throw new BadValue("value out of range");
      if (value === undefined) throw new BadValue("parse error: takes a whole number");
      return within(flag, Number(value));
    }
    case "duration": {
      const ns = parseDuration(text);
      if (ns !== undefined) return within(flag, nsToMs(ns));
      throw new BadValue(`parse error: takes a duration, as in ${/^\d{1,6}$/.test(text) ? `${text}s or ${text}ms` : "1m30s or 250ms"}`);
    }
  }
}

/** What a config file may hold for each kind of flag. */
const FORMS: Record<Flag["kind"], string> = {
  string: "a string in quotes",
  list: 'a list of strings, as in ["a", "b"]',
  floats: "a list of numbers, as in [0.99, 0.95]",
  bool: "true or false",
  choice: "a string in quotes",
  int: "a whole number",
  duration: 'a duration in quotes, as in "1m30s", or a whole number of milliseconds',
};

/**
 * Reads a value from a config file. Strings are taken for all kinds, and numbers of milliseconds for durations, since
 * nsqd takes them.
 *
 * @param value as the TOML parser gave it
 * @throws BadValue
 */
export function readConfigValue(flag: Flag, value: unknown): FlagValue {
  const refusal = () => new BadValue(`takes ${FORMS[flag.kind]}`);
  if (typeof value === "string") return readText(flag, value);
  switch (flag.kind) {
    case "bool":
      // nsqd takes numbers, and takes 1 for false.
      if (typeof value === "boolean") return value;
      throw refusal();
    case "choice":
      if (typeof value === "boolean" || typeof value === "number") return readText(flag, String(value));
      throw refusal();
    case "int":
    case "duration":
      if (Number.isInteger(value)) return within(flag, value as number);
      throw refusal();
    case "list":
      if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value;
      throw refusal();
    case "floats":
      if (Array.isArray(value) && value.every((item) => typeof item === "number")) return value.map((item) => within(flag, item));
      throw refusal();
    default:
      throw refusal();
  }
}

/** A value as it would be written on the command line. */
export function showValue(flag: Flag, value: FlagValue): string {
  if (flag.kind === "duration") return formatDuration(msToNs(value as number));
  if (flag.kind === "choice" && flag.show !== undefined) return flag.show(value as string);
  return String(value);
}

/** The values a flag takes, in words; empty where any is taken. */
export function describeRange(flag: Flag): string {
  if (flag.kind === "floats") return `${flag.min} to ${flag.max} each`;
  if (flag.kind === "int" || flag.kind === "duration") return `${showValue(flag, flag.min)} to ${showValue(flag, flag.max)}`;
  if (flag.kind === "choice") return flag.values.join(", ");
  return "";
}

function within(flag: Flag & { min: number; max: number }, value: number): number {
  // Not the other way round, since a config file may hold NaN.
  if (value >= flag.min && value <= flag.max) return value;
  throw new OutOfBounds(`must be from ${describeRange(flag)}`);
}

function parts(text: string): string[] {
  return text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");
}

/** Go's strconv.ParseBool. */
function parseBool(text: string): boolean | undefined {
  if (["1", "t", "T", "true", "TRUE", "True"].includes(text)) return true;
  if (["0", "f", "F", "false", "FALSE", "False"].includes(text)) return false;
  return undefined;
}

const INT_LITERAL = /^([+-]?)(0x(?:_?[0-9a-f])+|0b(?:_?[01])+|0o(?:_?[0-7])+|0(?:_?[0-7])*|[1-9](?:_?[0-9])*)$/i;

/** Go's strconv.ParseInt(text, 0, 64): decimal, 0x, 0b, 0o or a leading zero for octal, underscores between digits. */
function parseInt64(text: string): bigint | "out of range" | undefined {
  const [, sign, literal] = INT_LITERAL.exec(text) ?? [];
  if (literal === undefined) return undefined;
  const digits = literal.replaceAll("_", "").toLowerCase();
  const magnitude = BigInt(/^0[0-7]/.test(digits) ? `0o${digits.slice(1)}` : digits);
  const value = sign === "-" ? -magnitude : magnitude;
  return BigInt.asIntN(64, value) === value ? value : "out of range";
}

/** Go's strconv.ParseFloat, decimal and finite. */
function parseFloat64(text: string): number | undefined {
  return /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$/i.test(text) && Number.isFinite(Number(text)) ? Number(text) : undefined;
}
