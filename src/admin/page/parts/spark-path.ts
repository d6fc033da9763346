/** The path of a line through the values, which fill the height from 0 to the largest. */
export function sparkPath(values: readonly (number | null)[], width: number, height: number): string {
  const largest = values.reduce<number>((max, value) => Math.max(max, value ?? 0), 0) || 1;
  const step = width / Math.max(1, values.length - 1);
  let path = "";
  let isGap = true;
  for (const [index, value] of values.entries()) {
    if (value === null) {
      isGap = true;
      continue;
    }
    const y = height - 1 - (Math.max(0, value) / largest) * (height - 2);
    path += `${isGap ? "M" : "L"}${(index * step).toFixed(1)} ${y.toFixed(1)}`;
    isGap = false;
  }
  return path;
}
