/**
 * Numbers in 16 bits on a logarithmic scale. History and sparklines keep hundreds of values for each of thousands of series, and
 * a chart needs no more than three digits of each: at half the size of a Float32 the error is below 0.1 %.
 */

/** The code of "nothing was measured". */
export const NO_VALUE = 0xffff;

/** The smallest value that is not shown as 0. */
const SMALLEST = 0.001;
const LARGEST = 1e12;
const LARGEST_CODE = NO_VALUE - 1;
/** Between two codes, in powers of e. */
const STEP = Math.log(LARGEST / SMALLEST) / (LARGEST_CODE - 1);
/** Digits of a decoded value. */
const DIGITS = 4;

/** @param value NaN if nothing was measured; what is less than 0 becomes 0 */
export function encodeValue(value: number): number {
  if (Number.isNaN(value)) return NO_VALUE;
  if (value < SMALLEST) return 0;
  return Math.min(LARGEST_CODE, 1 + Math.round(Math.log(value / SMALLEST) / STEP));
}

let values: Float64Array | undefined;

/** @returns NaN if nothing was measured */
export function decodeValue(code: number): number {
  // A topic's day may be the sum of a hundred thousand values, so they are looked up.
  values ??= new Float64Array(NO_VALUE + 1).map((_, each) => computeValue(each));
  return values[code]!;
}

function computeValue(code: number): number {
  if (code === NO_VALUE) return Number.NaN;
  if (code === 0) return 0;
  const value = Number((SMALLEST * Math.exp((code - 1) * STEP)).toPrecision(DIGITS));
  // Most are small whole numbers, and nobody has 7.001 messages.
  const whole = Math.round(value);
  return Math.abs(value - whole) < value * STEP ? whole : value;
}

/** A decoded value as it stands in JSON. */
export function orNull(value: number): number | null {
  return Number.isNaN(value) ? null : value;
}
