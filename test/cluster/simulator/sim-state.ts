import type { ReplicaState, StateChange, StateKey, StateValue } from "../../../src/cluster/replication/state/replica-state.ts";
import type { Random } from "../../support/random.ts";
import type { DiskFaults } from "./data-path.ts";
import type { SimNode } from "./sim-node.ts";

/** What a disk has of the state of one partition. It outlives processes. */
export class SimStateDisk {
  /** What a power cut leaves for sure, and what was made since then, in order. */
  private synced: ReadonlyMap<string, StateValue> = new Map();
  private since: StateChange[][] = [];
  /** How many of these are in the file: a kill leaves them. */
  written = 0;
  now = new Map<string, StateValue>();

  copy(): SimStateDisk {
    const copy = new SimStateDisk();
    copy.synced = this.synced;
    copy.since = this.since.map((changes) => [...changes]);
    copy.written = this.written;
    copy.now = new Map(this.now);
    return copy;
  }

  change(changes: readonly StateChange[]): void {
    this.since.push([...changes]);
    make(this.now, changes);
  }

  write(): void {
    this.written = this.since.length;
  }

  /** What has to be as durable as acknowledged messages. */
  durable(durability: "write" | "fsync"): ReadonlyMap<string, StateValue> {
    return durability === "fsync" ? this.synced : this.now;
  }

  sync(count: number): void {
    const synced = new Map(this.synced);
    for (const changes of this.since.splice(0, count)) make(synced, changes);
    this.synced = synced;
    this.written -= count;
  }

  /** The process is gone, and what was not written with it. */
  cut(count = this.written): void {
    this.since.length = this.written = count;
    this.now = new Map(this.synced);
    for (const changes of this.since) make(this.now, changes);
  }

  /** The power goes: of what was not synced, any beginning is left. */
  cutPower(random: Random): void {
    this.cut(random.int(0, this.written));
  }
}

function make(map: Map<string, StateValue>, changes: readonly StateChange[]): void {
  for (const { key, epoch, number, value } of changes) {
    if (value === undefined) map.delete(key);
    else map.set(key, { key, epoch, number, value });
  }
}

/** The state of one partition on a SimStateDisk, in one process. */
export class SimState implements ReplicaState {
  private syncing: ((failure: Error | undefined) => void)[] = [];
  private isSyncing = false;
  private done: ((failure: Error | undefined) => void)[] = [];
  private failure: Error | undefined;

  constructor(
    private readonly disk: SimStateDisk,
    private readonly node: SimNode,
    private readonly random: Random,
    private readonly faults: DiskFaults,
    private readonly durability: "write" | "fsync",
  ) {}

  keysAfter(after: string, limit: number): StateKey[] {
    const keys = [...this.disk.now.values()].filter(({ key }) => key > after);
    return keys.sort((one, other) => (one.key < other.key ? -1 : 1)).slice(0, limit);
  }

  get(key: string): StateValue | undefined {
    return this.disk.now.get(key);
  }

  apply(changes: readonly StateChange[], done: (failure: Error | undefined) => void): void {
    if (this.faults.isFull || this.random.chance(this.faults.failure)) this.failure ??= new Error("ENOSPC: no space left on device");
    if (this.failure === undefined) this.disk.change(changes);
    this.done.push(done);
    if (this.done.length === 1) this.node.callAfterTurn(() => this.endTurn());
  }

  private endTurn(): void {
    const { failure, disk } = this;
    const done = this.done.splice(0);
    this.failure = undefined;
    if (failure !== undefined) {
      disk.cut();
      for (const one of done) one(failure);
      return;
    }
    disk.write();
    const isSynced = this.durability === "fsync";
    if (!isSynced) for (const one of done) one(undefined);
    this.syncing = this.syncing.concat(isSynced ? done : []);
    if (!this.isSyncing) this.beginSync();
  }

  private beginSync(): void {
    const { written: count } = this.disk;
    this.isSyncing = true;
    const covered = this.syncing.splice(0);
    const delayMs = this.durability === "fsync" ? this.random.next() * this.faults.syncMs : this.random.int(100, 2_000);
    this.node.callAfter(delayMs, () => {
      this.isSyncing = false;
      this.disk.sync(count);
      for (const one of covered) one(undefined);
      if (this.syncing.length > 0) this.beginSync();
    });
  }
}
