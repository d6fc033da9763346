/** A first-in, first-out queue of numbers in one growing ring buffer, without an object per element. */
export class NumberQueue {
  private ring = new Float64Array(16);
  private head = 0;
  length = 0;

  push(value: number): void {
    if (this.length === this.ring.length) this.grow();
    this.ring[(this.head + this.length) & (this.ring.length - 1)] = value;
    this.length++;
  }

  /** The oldest value; NaN if the queue is empty. */
  get first(): number {
    return this.length === 0 ? Number.NaN : this.ring[this.head];
  }

  /** Removes the oldest value. @returns NaN if the queue is empty */
  shift(): number {
    if (this.length === 0) return Number.NaN;
    const value = this.ring[this.head];
    this.head = (this.head + 1) & (this.ring.length - 1);
    this.length--;
    return value;
  }

  /** Removes a value wherever it is. Goes through the whole queue, so it is only for what operators do by hand. */
  remove(value: number): void {
    for (let left = this.length; left > 0; left--) {
      const one = this.shift();
      if (one !== value) this.push(one);
    }
  }

  clear(): void {
    this.ring = new Float64Array(16);
    this.head = 0;
    this.length = 0;
  }

  private grow(): void {
    const larger = new Float64Array(this.ring.length * 2);
    for (let i = 0; i < this.length; i++) larger[i] = this.ring[(this.head + i) & (this.ring.length - 1)];
    this.ring = larger;
    this.head = 0;
  }
}
