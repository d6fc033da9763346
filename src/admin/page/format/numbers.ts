/** What stands where a broker could not tell a figure. */
export const UNKNOWN = "–";

const GROUPED = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const SMALL = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

/** Up to this, every digit of a count is shown. */
const SHORT_FROM = 100_000;

/** `1,234`, `1.23M`: three digits are enough to see where something goes. */
export function count(value: number | null | undefined): string {
  if (value === null || value === undefined) return UNKNOWN;
  return Math.abs(value) < SHORT_FROM ? GROUPED.format(value) : SHORT.format(value);
}

/** `1,234,567`: every digit. */
export function exact(value: number | null | undefined): string {
  return value === null || value === undefined ? UNKNOWN : GROUPED.format(value);
}

const SMALLEST = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

/** A number at an axis: like a count, but of those below ten no two are the same. */
export function tick(value: number): string {
  return Math.abs(value) < 10 ? SMALLEST.format(value) : count(value);
}

/** A value per second, without the unit. */
export function rate(value: number | null | undefined): string {
  if (value === null || value === undefined) return UNKNOWN;
  if (value !== 0 && Math.abs(value) < 0.1) return "<0.1";
  return Math.abs(value) < 100 ? SMALL.format(value) : count(value);
}

const BYTE_UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

/** `1.2 MB`, in powers of 1,000. */
export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined) return UNKNOWN;
  let unit = 0;
  let rest = value;
  while (rest >= 999.5 && unit < BYTE_UNITS.length - 1) {
    rest /= 1000;
    unit++;
  }
  return `${unit === 0 || rest >= 99.95 ? Math.round(rest) : SMALL.format(rest)} ${BYTE_UNITS[unit]}`;
}

/** `1 message`, `2 messages`. */
export function plural(value: number, noun: string): string {
  return `${exact(value)} ${noun}${value === 1 ? "" : "s"}`;
}
