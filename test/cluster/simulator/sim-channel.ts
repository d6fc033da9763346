import { CHANNEL_PREFIX } from "../../../src/cluster/replication/state/replica-state.ts";
import type { SimDisk } from "./sim-disk.ts";
import type { SimPartition } from "./sim-partition.ts";

/** A consumer that has not finished a message for this long gets it again. */
const TIMEOUT_MS = 1_500;
/** How soon a message is looked at again that is damaged. */
const MENDED_MS = 100;
const SAVE_MS = 100;
const IN_FLIGHT = 5;
const KEY = `${CHANNEL_PREFIX}main`;

/** What a leader hands out of one partition: it goes on where the state's cursor says. */
export class SimChannel {
  private isClosed = false;
  private readonly finished = new Set<number>();
  /** Until when each message that was handed out may be finished, by the steady clock. */
  private readonly inFlight = new Map<number, number>();
  private again: number[] = [];
  private next: number;
  private floor: number;
  /** Below this, replicas know that everything is finished. */
  private savedFloor: number;
  private isSaving = false;
  private hasAsked = false;
  private isChecking = false;

  constructor(private readonly partition: SimPartition) {
    const { disk } = partition;
    this.floor = this.next = Math.max(disk.start, Math.min(cursorOf(disk), disk.end));
    // The leader before may have got its cursor to this replica only.
    this.savedFloor = -1;
  }

  close(): void {
    this.isClosed = true;
  }

  /** Hands out what is below the high watermark; of an ordered topic one message, when the one before is finished on all replicas. */
  pump(): void {
    const { partition } = this;
    const { disk, broker } = partition;
    const { isOrdered, deliverable } = this;
    const limit = isOrdered ? 1 : IN_FLIGHT;
    while (!this.isClosed && this.inFlight.size < limit) {
      if (isOrdered && (this.waitsForReplicas() || !partition.mayHandOut)) return;
      const sequence = this.again.shift() ?? (this.next < deliverable ? this.next++ : undefined);
      if (sequence === undefined) return;
      if (this.mustWait(sequence)) return;
      const message = disk.messageAt(sequence);
      // It was removed, as every channel had finished it.
      if (message === undefined && sequence < disk.start) {
        this.floor = Math.max(this.floor, disk.start);
        if (this.savedFloor >= 0) this.savedFloor = Math.max(this.savedFloor, disk.start);
        continue;
      }
      if (this.finished.has(sequence) || sequence < this.floor) continue;
      if (message === undefined && disk.skippedTo(sequence) !== undefined) {
        this.pass(sequence);
        continue;
      }
      if (!partition.log.canRead(sequence)) {
        this.again.push(sequence);
        broker.node.callAfter(MENDED_MS, () => this.pump());
        return;
      }
      this.inFlight.set(sequence, broker.node.steadyMs() + TIMEOUT_MS);
      this.checkLater();
      broker.site.watch.onDelivery(partition, sequence, message);
      broker.site.deliver(partition, sequence, () => this.finish(sequence));
    }
  }

  /** Below this, messages may go to consumers. */
  private get deliverable(): number {
    return this.partition.highWatermark;
  }

  /** Whether a message is damaged, and is read from another replica. */
  private mustWait(sequence: number): boolean {
    const { log, broker } = this.partition;
    const range = log.repair.damageAt(sequence);
    if (range === undefined || sequence < range.from || log.mender?.need(range.from, range.to, new Error(range.problem)) !== true)
      return false;
    this.again.unshift(sequence);
    broker.node.callAfter(SAVE_MS, () => this.pump());
    return true;
  }

  private get isOrdered(): boolean {
    return this.partition.isOrdered;
  }

  /** What was finished last of an ordered topic has to be known to whoever may lead next. */
  private waitsForReplicas(): boolean {
    if (this.savedFloor < 0 && !this.hasAsked && this.partition.replica.leading !== undefined) {
      this.hasAsked = true;
      const { floor } = this;
      this.partition.changeState([], () => this.saved(floor));
      // It may have gone on meanwhile.
      return true;
    }
    return this.savedFloor < this.floor;
  }

  private finish(sequence: number): void {
    if (this.isClosed || !this.inFlight.delete(sequence)) return;
    this.partition.broker.site.watch.onFinished(this.partition, sequence);
    this.pass(sequence);
    if (this.isOrdered) this.save();
    else this.saveLater();
    this.pump();
  }

  private pass(sequence: number): void {
    this.finished.add(sequence);
    while (this.finished.delete(this.floor)) this.floor++;
  }

  private saveLater(): void {
    if (this.isSaving) return;
    this.isSaving = true;
    this.partition.broker.node.callAfter(SAVE_MS, () => {
      this.isSaving = false;
      if (!this.isClosed) this.save();
    });
  }

  private save(): void {
    const { floor } = this;
    this.partition.changeState([{ key: KEY, value: Buffer.from(`;${floor}`) }], () => this.saved(floor));
  }

  private saved(floor: number): void {
    this.savedFloor = Math.max(this.savedFloor, floor);
    this.pump();
  }

  private checkLater(): void {
    if (this.isChecking) return;
    this.isChecking = true;
    const { node } = this.partition.broker;
    node.callAfter(TIMEOUT_MS, () => {
      this.isChecking = false;
      if (this.isClosed) return;
      const nowMs = node.steadyMs();
      for (const [sequence, untilMs] of this.inFlight) {
        if (untilMs > nowMs) continue;
        this.inFlight.delete(sequence);
        this.again.push(sequence);
      }
      if (this.inFlight.size > 0) this.checkLater();
      this.pump();
    });
  }
}

/** Below this, everything is finished, as a replica knows it. */
export function cursorOf({ state }: SimDisk): number {
  return Number(state.now.get(KEY)?.value.toString().slice(1) ?? 0);
}
