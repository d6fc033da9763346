import type { Segment } from "./segment.ts";

/** How many segments one log keeps open for reading. Channels that lag and messages that are redelivered need different ones. */
const MAX_READING = 8;

/** The segments of one log that are open for reading. */
export class ReadingSegments {
  /** The one read last at the end. */
  private readonly segments: Segment[] = [];

  has(segment: Segment): boolean {
    return this.segments.includes(segment);
  }

  /** Notes that a segment is read. @returns the one to close that was not read for the longest time, if too many are open */
  note(segment: Segment): Segment | undefined {
    if (this.segments[this.segments.length - 1] === segment) return undefined;
    this.forget(segment);
    this.segments.push(segment);
    return this.segments.length > MAX_READING ? this.segments.shift() : undefined;
  }

  forget(segment: Segment): void {
    const at = this.segments.indexOf(segment);
    if (at >= 0) this.segments.splice(at, 1);
  }

  clear(): void {
    this.segments.length = 0;
  }
}
