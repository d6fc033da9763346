/**
 * Durations in Go's notation ("1h2m3.5s", "250ms"), which nsqd's flags, help and config files use.
 * Source: https://pkg.go.dev/time#ParseDuration and https://pkg.go.dev/time#Duration.String
 */

const MICROSECOND = 1_000n;
const MILLISECOND = 1_000_000n;
const SECOND = 1_000_000_000n;
const MINUTE = 60n * SECOND;
const HOUR = 60n * MINUTE;

/** Go keeps a duration as signed 64-bit nanoseconds. Below zero the limit is one larger. */
const LARGEST = 2n ** 63n - 1n;

const UNITS = new Map([
  ["ns", 1n],
  ["us", MICROSECOND],
  ["\u00b5s", MICROSECOND],
  ["\u03bcs", MICROSECOND],
  ["ms", MILLISECOND],
  ["s", SECOND],
  ["m", MINUTE],
  ["h", HOUR],
]);

/** A number with its unit. The digits before the point or those behind it may be missing, but not both. */
const TERM = /(?:(\d+)(?:\.(\d*))?|\.(\d+))([^\d.]+)/gy;

/** @returns nanoseconds; undefined for text that Go refuses: no unit, an unknown unit, more than 64 bits */
export function parseDuration(text: string): bigint | undefined {
  const negative = text.startsWith("-");
  const unsigned = negative || text.startsWith("+") ? text.slice(1) : text;
  if (unsigned === "0") return 0n;
  let total = 0n;
  let end = 0;
  for (const [term, whole = "0", fraction, bareFraction, unitName = ""] of unsigned.matchAll(TERM)) {
    const unit = UNITS.get(unitName);
    if (unit === undefined) return undefined;
    total += BigInt(whole) * unit + fractionOf(unit, fraction ?? bareFraction ?? "");
    end += term.length;
  }
  if (end === 0 || end !== unsigned.length || total > (negative ? LARGEST + 1n : LARGEST)) return undefined;
  return negative ? -total : total;
}

/** Computes a fraction of a unit in floating point, as Go does, so that both read a text as the same number of nanoseconds. */
function fractionOf(unit: bigint, digits: string): bigint {
  let numerator = 0n;
  let scale = 1;
  for (const digit of digits) {
    const longer = numerator * 10n + BigInt(digit);
    if (longer > LARGEST + 1n) break;
    numerator = longer;
    scale *= 10;
  }
  return BigInt(Math.trunc(Number(numerator) * (Number(unit) / scale)));
}

/** @param ns nanoseconds */
export function formatDuration(ns: bigint): string {
  if (ns < 0n) return `-${formatDuration(-ns)}`;
  if (ns === 0n) return "0s";
  if (ns < MICROSECOND) return `${ns}ns`;
  if (ns < MILLISECOND) return `${decimal(ns, 3)}\u00b5s`;
  if (ns < SECOND) return `${decimal(ns, 6)}ms`;
  const minutes = ns / MINUTE;
  const seconds = `${decimal(ns % MINUTE, 9)}s`;
  if (minutes === 0n) return seconds;
  return minutes < 60n ? `${minutes}m${seconds}` : `${minutes / 60n}h${minutes % 60n}m${seconds}`;
}

/** Options are in milliseconds, with a fraction if a flag was given less than one. */
export function nsToMs(ns: bigint): number {
  return Number(ns) / 1e6;
}

export function msToNs(ms: number): bigint {
  return BigInt(Math.round(ms * 1e6));
}

/** `value` divided by 10^`places` in decimal, without trailing zeros. */
function decimal(value: bigint, places: number): string {
  const digits = value.toString().padStart(places + 1, "0");
  const fraction = digits.slice(-places).replace(/0+$/, "");
  const whole = digits.slice(0, -places);
  return fraction === "" ? whole : `${whole}.${fraction}`;
}
