const FIRST_ENTRIES = 256;
const NONE = 0;

/**
 * The keys of which a channel has unfinished messages in memory. A key is known by 64 bits of hash: two keys of one hash would be
 * delivered one after the other as if they were one, which breaks no order. An entry's index stays the same until it is removed; 0 is
 * no entry. Nothing is allocated per message.
 */
export class KeyTable {
  /** Sequence of the oldest message of each key: the only one that may be delivered. */
  first = new Float64Array(FIRST_ENTRIES);
  /** Sequence of the newest one. */
  last = new Float64Array(FIRST_ENTRIES);
  /** How many messages of each key there are. */
  count = new Int32Array(FIRST_ENTRIES);
  private low = new Int32Array(FIRST_ENTRIES);
  private high = new Int32Array(FIRST_ENTRIES);
  /** The next entry in the same bucket, or the next free one. */
  private chain = new Int32Array(FIRST_ENTRIES);
  private buckets = new Int32Array(FIRST_ENTRIES);
  private free = NONE;
  /** No entry from here on was ever used. */
  private unused = 1;
  private keyLow = 0;
  private keyHigh = 0;

  /** Hashes the key in [from, to). find(), add() and the rest are about this key then. */
  hash(bytes: Uint8Array, from: number, to: number): void {
    let low = 0x811c9dc5;
    let high = 0x9747b28c;
    for (let at = from; at < to; at++) {
      const byte = bytes[at];
      low = Math.imul(low ^ byte, 0x01000193);
      high = Math.imul((high ^ byte) + ((high >>> 13) | 0), 0x5bd1e995);
    }
    low ^= low >>> 16;
    low = Math.imul(low, 0x85ebca6b);
    low ^= low >>> 13;
    this.keyLow = low | 0;
    this.keyHigh = (high ^ (high >>> 15)) | 0;
  }

  /** The hashed key's entry; 0: it has none. */
  find(): number {
    const { low, high, chain, keyLow, keyHigh } = this;
    let entry = this.buckets[keyLow & (this.buckets.length - 1)];
    while (entry !== NONE && (low[entry] !== keyLow || high[entry] !== keyHigh)) entry = chain[entry];
    return entry;
  }

  /** Makes an entry for the hashed key, which has none. @param sequence of its first message @returns its index */
  add(sequence: number): number {
    if (this.free === NONE && this.unused === this.first.length) this.grow();
    let entry = this.free;
    if (entry !== NONE) this.free = this.chain[entry];
    else entry = this.unused++;
    this.low[entry] = this.keyLow;
    this.high[entry] = this.keyHigh;
    this.first[entry] = this.last[entry] = sequence;
    this.count[entry] = 1;
    this.putInBucket(entry);
    return entry;
  }

  /** Removes a key that has no unfinished message any more. */
  remove(entry: number): void {
    const { chain, buckets } = this;
    const bucket = this.low[entry] & (buckets.length - 1);
    if (buckets[bucket] === entry) {
      buckets[bucket] = chain[entry];
    } else {
      let before = buckets[bucket];
      while (chain[before] !== entry) before = chain[before];
      chain[before] = chain[entry];
    }
    chain[entry] = this.free;
    this.free = entry;
  }

  clear(): void {
    this.buckets.fill(NONE);
    this.free = NONE;
    this.unused = 1;
  }

  private putInBucket(entry: number): void {
    const bucket = this.low[entry] & (this.buckets.length - 1);
    this.chain[entry] = this.buckets[bucket];
    this.buckets[bucket] = entry;
  }

  /** Doubles the entries. All of them are in use. */
  private grow(): void {
    const length = this.first.length * 2;
    const { first, last, count, low, high } = this;
    this.first = new Float64Array(length);
    this.first.set(first);
    this.last = new Float64Array(length);
    this.last.set(last);
    this.count = new Int32Array(length);
    this.count.set(count);
    this.low = new Int32Array(length);
    this.low.set(low);
    this.high = new Int32Array(length);
    this.high.set(high);
    this.chain = new Int32Array(length);
    this.buckets = new Int32Array(length);
    for (let entry = 1; entry < this.unused; entry++) this.putInBucket(entry);
  }
}
