import type { RunNote, RunNotes } from "../../../src/cluster/state/run-claim.ts";
import type { Random } from "../../support/random.ts";
import { SimDisk } from "./sim-disk.ts";

/** What may go wrong at a disk. */
export interface DiskFaults {
  /** The probability that a write fails. */
  failure: number;
  /** How long a sync takes, at most, ms. */
  syncMs: number;
  /** Nothing can be written. */
  isFull: boolean;
}

/** The data path of a broker: what its disk has of each partition, by prefix. It outlives processes. */
export class SimDataPath {
  readonly partitions = new Map<number, SimDisk>();
  /** What was removed, for the checks. */
  readonly gone: { readonly prefix: number; readonly disk: SimDisk }[] = [];
  /** Somebody has lost it. */
  isLost = false;
  /** What it had when it was set back to what it had before. */
  readonly setBack = new Set<number>();
  /** How many runs of a broker have read what it has. */
  uses = 0;
  private note: RunNote | undefined;
  /** What it remembers of its runs. */
  readonly runs: RunNotes = {
    read: () => this.note,
    save: (note) => {
      this.note = note;
    },
  };

  constructor(
    readonly uid: string,
    readonly faults: DiskFaults,
  ) {}

  /** It turned out to be an older copy of itself. */
  distrust(): void {
    for (const disk of this.partitions.values()) disk.isWhole = false;
  }

  /** What it has now. @returns what brings it back to that, if it was used since then */
  copy(): () => boolean {
    const { note, uses } = this;
    const disks = [...this.partitions].map(([prefix, disk]) => ({ prefix, disk: disk.copy(), isOld: disk.isOld }));
    return () => {
      if (this.note?.begun.at(-1) === note?.begun.at(-1)) return false;
      this.note = note;
      // It had what it has answered for.
      for (const prefix of [...this.partitions.keys()]) {
        this.remove(prefix);
        this.setBack.add(prefix);
      }
      for (const { prefix, disk, isOld } of disks)
        this.partitions.set(prefix, Object.assign(disk.copy(), { isOld: isOld || this.uses > uses }));
      return true;
    };
  }

  /** What it has of a partition, or a new log. @param isFirst nobody has anything yet: else it comes from others */
  open(prefix: number, durability: "write" | "fsync", isFirst: boolean): SimDisk {
    let disk = this.partitions.get(prefix);
    if (disk === undefined) {
      disk = new SimDisk(durability);
      disk.isWhole = isFirst;
      this.partitions.set(prefix, disk);
    }
    return disk;
  }

  /** Others have it now. */
  remove(prefix: number): void {
    const disk = this.partitions.get(prefix);
    if (disk === undefined) return;
    this.partitions.delete(prefix);
    this.gone.push({ prefix, disk });
  }

  cutPower(random: Random): void {
    for (const disk of this.partitions.values()) disk.cutPower(random);
  }

  /** The folder of a partition is gone. The broker still knows that it had one. */
  loseFiles(prefix: number): void {
    const disk = this.partitions.get(prefix);
    if (disk === undefined) return;
    const empty = new SimDisk(disk.durability);
    empty.isWhole = false;
    this.partitions.set(prefix, empty);
  }
}
