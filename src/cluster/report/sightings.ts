import type { Clock } from "../../base/clock.ts";
import type { ClusterView, ViewChange } from "../state/cluster-view.ts";
import type { PartitionRecord } from "../state/records.ts";

/**
 * Since when things are as they are, as far as this process has seen. Etcd does not say, so what is older than the process counts from its
 * start: times are at least what is told.
 */
export class Sightings {
  private readonly sinceMs = new Map<string, number>();
  private startMs: number;

  constructor(
    view: ClusterView,
    private readonly clock: Clock,
  ) {
    this.startMs = clock.steadyMs();
    view.listen((changes) => {
      for (const change of changes) this.take(change);
    });
  }

  /** How long a broker has been away, ms. */
  awayMs(uid: string): number {
    return this.age(`away ${uid}`);
  }

  /** How long a move has been in its state, by the prefix of its partition. */
  moveMs(name: string): number {
    return this.age(`move ${name}`);
  }

  /** How long a topic's change has been at the same step. */
  changeMs(topic: string): number {
    return this.age(`topic ${topic}`);
  }

  /** How long a removal has not got any further. */
  removalMs(uid: string): number {
    return this.age(`removal ${uid}`);
  }

  /** How long a partition has had no leader, or lacked replicas in sync. @param name `TOPIC/PARTITION` */
  partitionMs(name: string): number {
    return this.age(`partition ${name}`);
  }

  private age(what: string): number {
    return Math.round(this.clock.steadyMs() - (this.sinceMs.get(what) ?? this.startMs));
  }

  private take(change: ViewChange): void {
    switch (change.kind) {
      case "brokers":
        if (change.after !== undefined) this.sinceMs.delete(`away ${change.after.value.uid}`);
        if (change.before !== undefined && change.before.value.uid !== change.after?.value.uid)
          this.note(`away ${change.before.value.uid}`);
        return;
      case "moves":
        return this.noteIf(`move ${change.name}`, change.after !== undefined);
      case "topics":
        return this.noteIf(`topic ${change.name}`, change.after?.value.change !== undefined);
      case "removals":
        if (change.before?.value.left !== change.after?.value.left) this.noteIf(`removal ${change.name}`, change.after !== undefined);
        return;
      case "partitions": {
        const wasWhole = change.before === undefined || isWhole(change.before.value);
        if (change.after === undefined || isWhole(change.after.value)) this.sinceMs.delete(`partition ${change.name}`);
        else if (wasWhole) this.note(`partition ${change.name}`);
        return;
      }
    }
  }

  private note(what: string): void {
    this.sinceMs.set(what, this.clock.steadyMs());
  }

  private noteIf(what: string, isThere: boolean): void {
    if (isThere) this.note(what);
    else this.sinceMs.delete(what);
  }
}

function isWhole({ leader, inSync, replicas }: PartitionRecord): boolean {
  return leader !== "" && inSync.length === replicas.length;
}
