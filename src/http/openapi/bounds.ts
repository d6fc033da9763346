import type { Schema } from "./schema.ts";

/** The kind and the bounds of an argument's values, in words: `integer, 1 to 1,000, default 100`. Empty if it is any text. */
export function boundsOf({ type, enum: values, minimum, maximum, maxLength, default: standard }: Schema): string {
  const parts = [
    ...(values === undefined ? [] : [values.map((value) => `\`${value}\``).join(", ")]),
    ...(typeof type === "string" && type !== "string" ? [type] : []),
    ...rangeOf(minimum, maximum),
    ...(maxLength === undefined ? [] : [`at most ${shown(maxLength)} characters`]),
    ...(standard === undefined ? [] : [`default \`${standard}\``]),
  ];
  return parts.join(", ");
}

function rangeOf(minimum: number | undefined, maximum: number | undefined): string[] {
  if (maximum === undefined) return minimum === undefined ? [] : [`at least ${shown(minimum)}`];
  return [minimum === undefined ? `at most ${shown(maximum)}` : `${shown(minimum)} to ${shown(maximum)}`];
}

function shown(value: number): string {
  return value.toLocaleString("en-US");
}
