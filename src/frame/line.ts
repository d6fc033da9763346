/** The most words of a line that are looked at: one more than any command has. nsqd too ignores words behind a command's parameters. */
const MAX_WORDS = 6;

/**
 * A command line, split at single spaces in place: into positions, not strings. One Line serves all connections, because a
 * line is executed before the next one is read.
 */
export class Line {
  buffer: Buffer = Buffer.alloc(0);
  /** The number of words, at most MAX_WORDS. */
  words = 0;
  private readonly starts = new Int32Array(MAX_WORDS);
  private readonly ends = new Int32Array(MAX_WORDS);

  /** @param end offset behind the last character, before the line ending */
  set(buffer: Buffer, start: number, end: number): void {
    this.buffer = buffer;
    this.split(0, start, start, end);
  }

  /**
   * Like set(), for a line whose second word has an id of any bytes, spaces and line ends included.
   *
   * @param idStart where the id begins
   * @param idEnd offset behind the id; `end` is not before it
   */
  setWithId(buffer: Buffer, start: number, idStart: number, idEnd: number, end: number): void {
    this.buffer = buffer;
    this.starts[0] = start;
    this.ends[0] = idStart - 1;
    this.split(1, idStart, idEnd, end);
  }

  /** Finds the words from number `first` on, which begins at `start` and does not end before `search`. */
  private split(first: number, start: number, search: number, end: number): void {
    const { buffer } = this;
    let words = first;
    let from = start;
    for (let at = search; at <= end && words < MAX_WORDS; at++) {
      if (at < end && buffer[at] !== 0x20) continue;
      this.starts[words] = from;
      this.ends[words] = at;
      words++;
      from = at + 1;
    }
    this.words = words;
  }

  start(word: number): number {
    return this.starts[word];
  }

  end(word: number): number {
    return this.ends[word];
  }

  length(word: number): number {
    return this.ends[word] - this.starts[word];
  }

  /** A word as text, one character per byte. */
  text(word: number): string {
    return this.buffer.toString("latin1", this.starts[word], this.ends[word]);
  }

  /** Whether a word is `expected`. It makes no string. */
  is(word: number, expected: Uint8Array): boolean {
    const start = this.starts[word];
    if (this.ends[word] - start !== expected.length) return false;
    for (let i = 0; i < expected.length; i++) if (this.buffer[start + i] !== expected[i]) return false;
    return true;
  }

  /** The first four bytes of a word, or all of a shorter one, as one number. */
  key(word: number): number {
    let key = 0;
    const end = Math.min(this.ends[word], this.starts[word] + 4);
    for (let at = this.starts[word]; at < end; at++) key = (key << 8) | this.buffer[at];
    return key;
  }

  /**
   * A word as a decimal number; NaN if it has another character than digits. An empty word is 0, and a number of more than
   * 64 bits wraps to a signed one, as in nsqd (protocol.ByteToBase10). Beyond 2^53 the value is not exact, which does no
   * harm: all limits that it is compared with are far lower.
   */
  decimal(word: number): number {
    let value = 0;
    for (let at = this.starts[word]; at < this.ends[word]; at++) {
      const digit = this.buffer[at] - 0x30;
      if (digit < 0 || digit > 9) return Number.NaN;
      value = value * 10 + digit;
    }
    return value <= Number.MAX_SAFE_INTEGER ? value : Number(this.int64(word));
  }

  /** The exact value of a word of digits as a signed 64-bit number, for error texts. */
  int64(word: number): bigint {
    return BigInt.asIntN(64, BigInt(this.text(word)));
  }

  /** The exact value of a word of digits as an unsigned 64-bit number, for error texts. */
  uint64(word: number): bigint {
    return BigInt.asUintN(64, BigInt(this.text(word)));
  }
}
