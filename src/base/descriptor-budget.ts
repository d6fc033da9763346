import { readFileSync } from "node:fs";

/** Descriptors that no share counts: listeners, SQLite, lookup servers, folders that are synced, clients that are turned away. */
const MAX_UNSHARED = 64;
/** Most shares are sure of this part of the descriptors that are shared. The rest goes to whoever needs it first. */
const GUARANTEED_PART = 1 / 4;

/** One kind of use of descriptors. */
export class DescriptorShare {
  used = 0;

  constructor(
    private readonly budget: DescriptorBudget,
    /** So many are kept in reserve for this share. */
    readonly guaranteed: number,
    /** Closes what can be opened again, and calls giveBack() for it. @returns false if there is nothing to close */
    readonly closeOne: () => boolean,
  ) {}

  /** Takes descriptors that are about to be opened, or were. @returns false if the budget has none left for this share */
  take(count: number): boolean {
    if (!this.budget.makeRoom(this, count)) return false;
    this.used += count;
    return true;
  }

  /** Takes descriptors that are needed whatever the budget says. */
  overdraw(count: number): void {
    this.used += count;
  }

  giveBack(count: number): void {
    this.used -= count;
  }
}

/**
 * Divides the descriptors that the process may have among files, TCP clients and HTTP clients, of the broker and of the lookup
 * server and the console where all are in one process. Each share is sure of a part, so that clients that are merely connected never
 * keep files from being opened, nor one kind of client the other.
 */
export class DescriptorBudget {
  private readonly shares: DescriptorShare[] = [];
  private readonly sharedCount: number;

  /** @param limit how many descriptors the process may have; Infinity: nobody knows */
  constructor(readonly limit: number) {
    this.sharedCount = limit - Math.min(MAX_UNSHARED, Math.floor(limit / 2));
  }

  /**
   * Adds a share.
   *
   * @param closeOne closes something that can be opened again; for shares that have nothing of the kind it returns false
   * @param part the part of all shared descriptors that it is sure of
   * @param most it is sure of no more than so many, however many there are
   */
  share(closeOne: () => boolean = () => false, part = GUARANTEED_PART, most = Number.POSITIVE_INFINITY): DescriptorShare {
    const guaranteed = this.limit === Number.POSITIVE_INFINITY ? 0 : Math.max(1, Math.min(most, Math.floor(this.sharedCount * part)));
    const share = new DescriptorShare(this, guaranteed, closeOne);
    this.shares.push(share);
    return share;
  }

  /** Whether a share may have that many more descriptors. Others close what they have beyond their guaranteed part, if they can. */
  makeRoom(share: DescriptorShare, count: number): boolean {
    if (share.used + count <= share.guaranteed) return true;
    while (this.committedBeside(share) + share.used + count > this.sharedCount) {
      if (!this.shares.some((other) => other !== share && other.used > other.guaranteed && other.closeOne())) return false;
    }
    return true;
  }

  /** What the other shares have, or are sure of. */
  private committedBeside(share: DescriptorShare): number {
    let count = 0;
    for (const other of this.shares) if (other !== share) count += Math.max(other.used, other.guaranteed);
    return count;
  }
}

/** How many descriptors this process may have. Infinity where the system does not say. */
export function descriptorLimit(): number {
  try {
    const soft = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "latin1"))?.[1];
    return soft === undefined ? Number.POSITIVE_INFINITY : Number(soft);
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}
