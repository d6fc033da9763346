/** Keys with the times at which they were registered, in the order of their registration. */
export class KnownKeys {
  private readonly times = new Map<string, number>();
  /**
   * Goes on where it was. A new iterator of a Map passes over every key that was deleted in front of the oldest one, until the Map is
   * made smaller: with 500,000 keys, each of which evicted another one, that took 200 µs to 400 µs a key.
   */
  private readonly cursor = this.times.entries();
  /** What the cursor has given last, unless it was deleted. All keys behind it are newer. */
  private first: [name: string, timeMs: number] | undefined;

  get size(): number {
    return this.times.size;
  }

  /** @returns when a key was registered, ms; undefined: it is not known */
  timeOf(name: string): number | undefined {
    return this.times.get(name);
  }

  /** Adds a key that is not known. */
  add(name: string, timeMs: number): void {
    this.times.set(name, timeMs);
  }

  delete(name: string): void {
    this.times.delete(name);
    if (this.first?.[0] === name) this.first = undefined;
  }

  /** @returns the key that was registered first, and when, ms */
  oldest(): [name: string, timeMs: number] | undefined {
    // A cursor that has come to the end stays there, so it must not look for a key where there is none.
    if (this.first === undefined && this.times.size > 0) this.first = this.cursor.next().value;
    return this.first;
  }
}
