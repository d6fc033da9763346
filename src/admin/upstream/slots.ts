/** Bounds how much is done at the same time. The rest waits, in the order in which it came. */
export class Slots {
  private used = 0;
  private readonly waiting: (() => void)[] = [];

  /** @param count how many may work at the same time @param mostWaiting how many may wait */
  constructor(
    private readonly count: number,
    private readonly mostWaiting: number,
  ) {}

  /** @returns when there is a slot, which is to be freed: true; at once if too many wait: false */
  async take(): Promise<boolean> {
    if (this.used < this.count) this.used++;
    else if (this.waiting.length >= this.mostWaiting) return false;
    else await new Promise<void>((resolve) => this.waiting.push(resolve));
    return true;
  }

  free(): void {
    const next = this.waiting.shift();
    if (next === undefined) this.used--;
    else next();
  }
}
