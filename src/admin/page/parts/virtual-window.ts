/** Rows that are asked for at once: those of the tallest table (table.css) and what is beside them, since each costs at every poll. */
export const WINDOW_ROWS = 120;
/** While somebody scrolls on, nothing is asked for. */
const SETTLE_MS = 120;

/** Which rows of a long list are in sight, and which have to be asked for. */
export class VirtualWindow {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private asked = -1;

  constructor(
    private readonly rowHeight: number,
    private readonly spareRows: number,
  ) {}

  /** The rows to draw: `first`, and the one behind the last. */
  inSight(scrollTop: number, height: number, total: number): { first: number; end: number } {
    const rows = Math.ceil(height / this.rowHeight) + 1;
    const top = Math.min(Math.floor(Math.max(0, scrollTop) / this.rowHeight), Math.max(0, total - rows));
    return { first: Math.max(0, top - this.spareRows), end: Math.min(total, top + rows + this.spareRows) };
  }

  /**
   * Asks for a window around the rows in sight if the one that is here does not have them.
   *
   * @param offset of the rows that are here
   * @param length how many are here
   */
  ask(first: number, end: number, offset: number, length: number, onWindow: (offset: number) => void): void {
    if (first >= offset && end <= offset + length) {
      clearTimeout(this.timer);
      this.asked = -1;
      return;
    }
    const middle = (first + end) / 2;
    // In steps, so that a little scrolling asks for the same window again.
    const step = WINDOW_ROWS / 4;
    const wanted = Math.max(0, Math.round((middle - WINDOW_ROWS / 2) / step) * step);
    if (wanted === this.asked || wanted === offset) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.asked = wanted;
      onWindow(wanted);
    }, SETTLE_MS);
  }

  stop(): void {
    clearTimeout(this.timer);
  }
}
