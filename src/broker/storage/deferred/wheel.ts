/**
 * Widths of buckets, finest first: each is 64 of the one before. A message goes into the finest width of which
 * its due time is less than 64 away, so there are some two hundred files at the most, whatever the delays.
 */
const WIDTHS_MS = [1000, 64 * 1000, 4096 * 1000, 262_144 * 1000];
export const FINEST_MS = WIDTHS_MS[0];

/** The width of the bucket that a message goes into. */
export function widthFor(dueMs: number, nowMs: number): number {
  let level = 0;
  while (level < WIDTHS_MS.length - 1 && dueMs - nowMs >= 64 * WIDTHS_MS[level]) level++;
  // A wide bucket that is being moved on takes no more.
  while (level > 0 && moveAtMs(startOf(dueMs, WIDTHS_MS[level]), WIDTHS_MS[level]) <= nowMs) level--;
  return WIDTHS_MS[level];
}

/** When the bucket of a width begins in which a due time is. */
export function startOf(dueMs: number, widthMs: number): number {
  return Math.floor(dueMs / widthMs) * widthMs;
}

/** When a wide bucket begins to be moved into finer ones. */
export function moveAtMs(startMs: number, widthMs: number): number {
  return startMs - widthMs / 2;
}

/** A bucket's name, without the endings of its files. */
export function spanName(startMs: number, widthMs: number): string {
  return `${startMs}-${widthMs}`;
}

/** The span that the name of a bucket's entries says; undefined for a file that is not a bucket's. */
export function parseSpan(name: string): { startMs: number; widthMs: number } | undefined {
  const match = /^(\d+)-(\d+)\.msg$/.exec(name);
  return match === null ? undefined : { startMs: Number(match[1]), widthMs: Number(match[2]) };
}
