import { formatDuration, msToNs, nsToMs, parseDuration } from "../base/go/duration.ts";
import type { Flag, FlagValue } from "./flag.ts";

/** A value that a flag does not accept. The message says why; the caller adds the flag and the value. */
export class BadValue extends Error {}

/** A value that is too small or too large. */
export class OutOfBounds extends BadValue {}

/**
 * Parses a value on a command line or in the environment, in the notations of Go's flag package.
 *
 * @throws BadValue
 */
export function readText(flag: Flag, text: string): FlagValue {
  switch (flag.kind) {
    case "string":
      return text;
    case "list": {
      const values = flag.isWhole ? [text] : parts(text);
      for (const value of values) flag.check?.(value);
      return values;
    }
    case "float": {
      const value = parseFloat64(text);
      if (value === undefined) throw new BadValue("parse error: must be a number");
      return within(flag, value);
    }
    case "floats":
      return parts(text).map((part) => {
        const value = parseFloat64(part);
        if (value === undefined) throw new BadValue("parse error: must be numbers, as in 0.99,0.95");
        return within(flag, value);
      });
    case "bool": {
      const value = parseBool(text);
      if (value === undefined) throw new BadValue("parse error: must be true or false");
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
      if (value === undefined) throw new BadValue("parse error: must be a whole number");
      return within(flag, Number(value));
    }
    case "duration": {
      const ns = parseDuration(text);
      if (ns !== undefined) return within(flag, nsToMs(ns));
      throw new BadValue(`parse error: must be a duration, as in ${/^\d{1,6}$/.test(text) ? `${text}s or ${text}ms` : "1m30s or 250ms"}`);
    }
  }
}

/** The form of each kind of flag in a config file. */
const FORMS: Record<Flag["kind"], string> = {
  string: "a string in quotes",
  list: 'a list of strings, as in ["a", "b"]',
  floats: "a list of numbers, as in [0.99, 0.95]",
  bool: "true or false",
  choice: "a string in quotes",
  int: "a whole number",
  float: "a number",
  duration: 'a duration in quotes, as in "1m30s", or a whole number of milliseconds',
};

/**
 * Converts a value of a config file. As in nsqd, strings are accepted for all kinds, and milliseconds for durations.
 *
 * @param value as the TOML parser gave it
 * @throws BadValue
 */
export function readConfigValue(flag: Flag, value: unknown): FlagValue {
  const refusal = () => new BadValue(`must be ${FORMS[flag.kind]}`);
  if (typeof value === "string") return readText(flag, value);
  switch (flag.kind) {
    case "bool":
      // nsqd accepts numbers too, but treats 1 as false.
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
    case "float":
      if (typeof value === "number") return within(flag, value);
      throw refusal();
    case "floats":
      if (Array.isArray(value) && value.every((item) => typeof item === "number")) return value.map((item) => within(flag, item));
      throw refusal();
    default:
      throw refusal();
  }
}

/** Formats a value as on the command line. */
export function showValue(flag: Flag, value: FlagValue): string {
  if (flag.kind === "duration") return formatDuration(msToNs(value as number));
  if (flag.kind === "choice" && flag.show !== undefined) return flag.show(value as string);
  return String(value);
}

/** Describes the values that a flag accepts; empty if it accepts any. */
export function describeRange(flag: Flag): string {
  if (flag.kind === "floats") return `${flag.min} to ${flag.max} each`;
  if (flag.kind === "int" || flag.kind === "float" || flag.kind === "duration")
    return `${showValue(flag, flag.min)} to ${showValue(flag, flag.max)}`;
  if (flag.kind === "choice") return flag.values.join(", ");
  return "";
}

function within(flag: Flag & { min: number; max: number }, value: number): number {
  // NaN, which a config file may have, fails this condition.
  if (value >= flag.min && value <= flag.max) return value;
  throw new OutOfBounds(`must be from ${describeRange(flag)}`);
}

function parts(text: string): string[] {
  return text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");
}

/** Parses as Go's strconv.ParseBool does. */
function parseBool(text: string): boolean | undefined {
  if (["1", "t", "T", "true", "TRUE", "True"].includes(text)) return true;
  if (["0", "f", "F", "false", "FALSE", "False"].includes(text)) return false;
  return undefined;
}

const INT_LITERAL = /^([+-]?)(0x(?:_?[0-9a-f])+|0b(?:_?[01])+|0o(?:_?[0-7])+|0(?:_?[0-7])*|[1-9](?:_?[0-9])*)$/i;

/** Parses as Go's strconv.ParseInt(text, 0, 64) does: decimal, 0x, 0b, 0o or a leading zero for octal, underscores between digits. */
function parseInt64(text: string): bigint | "out of range" | undefined {
  const [, sign, literal] = INT_LITERAL.exec(text) ?? [];
  if (literal === undefined) return undefined;
  const digits = literal.replaceAll("_", "").toLowerCase();
  const magnitude = BigInt(/^0[0-7]/.test(digits) ? `0o${digits.slice(1)}` : digits);
  const value = sign === "-" ? -magnitude : magnitude;
  return BigInt.asIntN(64, value) === value ? value : "out of range";
}

/** Parses as Go's strconv.ParseFloat does, but accepts decimal and finite numbers only. */
function parseFloat64(text: string): number | undefined {
  return /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$/i.test(text) && Number.isFinite(Number(text)) ? Number(text) : undefined;
}
