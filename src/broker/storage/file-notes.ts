/**
 * How the run before ended, which says what may be wrong with its files without damage.
 *
 * - "clean": it saved everything and synced it.
 * - "killed": the process ended without that, and the machine did not. All that was written is in the files, except that the
 *   last write to a file may have ended early, between two pages.
 * - "power cut": the machine ended too, so what was not synced may be missing, torn or garbage.
 * - "unknown": an older release ran, or the store that knew it is lost.
 */
export type LastRun = "clean" | "killed" | "power cut" | "unknown";

/** A write that a kill interrupts ends between two pages of the kernel's. */
const PAGE_BYTES = 4096;

/** Whether the end of the last run explains that a file of `bytes` bytes ends in an entry that is cut off. */
export function mayBeCutOff(lastRun: LastRun, bytes: number): boolean {
  return lastRun === "power cut" || lastRun === "unknown" || (lastRun === "killed" && bytes % PAGE_BYTES === 0);
}

/**
 * Notes about files whose loss nothing else would show: buckets of deferred messages, keys, the journal. A note says how many
 * bytes a file has had. It is made before anything relies on the file and removed before the file is.
 */
export class FileNotes {
  /**
   * @param known the notes of earlier runs, by the file's path below the broker's folder
   * @param save saves a note; undefined removes it. @returns false if that failed
   */
  constructor(
    readonly lastRun: LastRun = "unknown",
    private readonly known: Map<string, number> = new Map(),
    private readonly save: (name: string, bytes: number | undefined) => boolean = () => true,
  ) {}

  /** Whether everything that the last run wrote must be in the files. */
  get lastRunWroteAll(): boolean {
    return this.lastRun === "clean" || this.lastRun === "killed";
  }

  /** What was in a file at least; undefined: nothing is known of it. */
  bytesOf(name: string): number | undefined {
    return this.known.get(name);
  }

  /** The files with a note whose path begins with `prefix`. */
  names(prefix: string): string[] {
    return [...this.known.keys()].filter((name) => name.startsWith(prefix));
  }

  note(name: string, bytes: number): void {
    if (this.known.get(name) === bytes) return;
    if (this.save(name, bytes)) this.known.set(name, bytes);
  }

  forget(name: string): void {
    if (!this.known.has(name)) return;
    if (this.save(name, undefined)) this.known.delete(name);
  }
}
