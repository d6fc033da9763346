const FIRST_CAPACITY = 256;

/**
 * Messages of a queue that come after one with a higher id: those that were in flight, deferred or in memory when nsqd stopped,
 * requeued ones, and repetitions after a kill. Only these are kept in memory, as columns: 34 bytes each, and half as much again
 * while the columns grow.
 */
export class LateMessages {
  count = 0;
  /** An id is compared as its first 6 and its last 10 hex digits. */
  prefix = new Uint32Array(FIRST_CAPACITY);
  low = new Float64Array(FIRST_CAPACITY);
  file = new Uint32Array(FIRST_CAPACITY);
  /** Offset in the file of the timestamp. */
  offset = new Float64Array(FIRST_CAPACITY);
  /** From the timestamp to the end of the body. */
  bytes = new Uint32Array(FIRST_CAPACITY);
  attempts = new Uint16Array(FIRST_CAPACITY);
  /** Indexes of all messages, by ascending id, once they are sorted. */
  order = new Uint32Array(0);

  /** @param file index of the file in the queue's list of numbers */
  add(prefix: number, low: number, file: number, offset: number, bytes: number, attempts: number): void {
    if (this.count === this.prefix.length) this.grow();
    const at = this.count++;
    this.prefix[at] = prefix;
    this.low[at] = low;
    this.file[at] = file;
    this.offset[at] = offset;
    this.bytes[at] = bytes;
    this.attempts[at] = attempts;
  }

  /** To be called once, after the last add(). */
  sort(): void {
    const { prefix, low } = this;
    this.order = Uint32Array.from({ length: this.count }, (_, i) => i).sort((a, b) => prefix[a] - prefix[b] || low[a] - low[b]);
  }

  private grow(): void {
    const capacity = 2 * this.prefix.length;
    this.prefix = copied(this.prefix, new Uint32Array(capacity));
    this.low = copied(this.low, new Float64Array(capacity));
    this.file = copied(this.file, new Uint32Array(capacity));
    this.offset = copied(this.offset, new Float64Array(capacity));
    this.bytes = copied(this.bytes, new Uint32Array(capacity));
    this.attempts = copied(this.attempts, new Uint16Array(capacity));
  }
}

function copied<Column extends { set(from: Column): void }>(from: Column, to: Column): Column {
  to.set(from);
  return to;
}
