import { NumberQueue } from "../../../../base/number-queue.ts";

/** With as many sets, those without a message are forgotten: each combination of groups may have one. */
const MANY_SETS = 64;

/** Ready messages that the same groups of consumers take. */
class TakerSet {
  readonly queue = new NumberQueue();

  /** @param groups numbers of the groups, ascending */
  constructor(readonly groups: Int32Array) {}

  matches(groups: Int32Array, count: number): boolean {
    if (this.groups.length !== count) return false;
    for (let i = 0; i < count; i++) if (this.groups[i] !== groups[i]) return false;
    return true;
  }
}

/**
 * Ready messages in queues, one for each set of groups that some message is for. A message that nobody takes waits in a queue of its
 * kind, and in nobody's way.
 */
export class TakerSets {
  private sets: TakerSet[] = [];

  get waitingCount(): number {
    let count = 0;
    for (const { queue } of this.sets) count += queue.length;
    return count;
  }

  /** The queue for the first `count` of some groups, which are ascending. */
  setOf(groups: Int32Array, count: number): TakerSet {
    for (const set of this.sets) if (set.matches(groups, count)) return set;
    if (this.sets.length >= MANY_SETS) this.sets = this.sets.filter(({ queue }) => queue.length > 0);
    const made = new TakerSet(groups.slice(0, count));
    this.sets.push(made);
    return made;
  }

  /** The queue whose first message is the oldest of those that a group takes; undefined: there is none for it. */
  oldestFor(group: number): NumberQueue | undefined {
    let oldest: NumberQueue | undefined;
    for (const { groups, queue } of this.sets) {
      if (queue.length > 0 && groups.includes(group) && (oldest === undefined || queue.first < oldest.first)) oldest = queue;
    }
    return oldest;
  }

  remove(sequence: number): void {
    for (const { queue } of this.sets) queue.remove(sequence);
  }

  /** Puts all messages back: the groups have changed. */
  moveTo(ready: NumberQueue): void {
    for (const { queue } of this.sets) while (queue.length > 0) ready.push(queue.shift());
    this.sets = [];
  }

  clear(): void {
    this.sets = [];
  }
}
