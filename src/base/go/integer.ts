import { goQuote } from "./quote.ts";

/**
 * Parses a decimal integer as Go's strconv does.
 *
 * @param latin1 one character per byte
 * @param call which function's name its error texts have
 * @returns an error in Go's words for anything else, and for a number of more than 64 bits. Beyond 2^53 the number is not exact
 */
export function goInteger(latin1: string, call: "Atoi" | "ParseInt"): number | Error {
  if (!/^[+-]?\d+$/.test(latin1)) return new Error(`strconv.${call}: parsing ${goQuote(latin1)}: invalid syntax`);
  const value = BigInt(latin1.replace("+", ""));
  if (BigInt.asIntN(64, value) !== value) return new Error(`strconv.${call}: parsing ${goQuote(latin1)}: value out of range`);
  return Number(value);
}

/** Parses a boolean as Go's strconv does. @returns an error in Go's words for anything else */
export function goBoolean(latin1: string): boolean | Error {
  if (/^(1|t|T|TRUE|true|True)$/.test(latin1)) return true;
  if (/^(0|f|F|FALSE|false|False)$/.test(latin1)) return false;
  return new Error(`strconv.ParseBool: parsing ${goQuote(latin1)}: invalid syntax`);
}
