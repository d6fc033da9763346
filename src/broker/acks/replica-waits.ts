import type { Replicated } from "./pending-publish.ts";

/** What of a partition's log must be on its replicas before an acknowledgement goes out. */
interface ReplicaWait {
  readonly partition: Replicated;
  /** Sequence after the last message that is waited for. */
  readonly sequence: number;
}

/** Whoever waits. Those of one client are served in their order. */
export interface ReplicaWaiter<Client> {
  readonly client: Client;
  readonly waits: readonly ReplicaWait[];
  /** One of the partitions has refused what its replicas lacked. */
  failure: Error | undefined;
}

/** What is to be waited for now: all that partitions have committed so far. */
export function waitsOf(partitions: readonly Replicated[]): ReplicaWait[] {
  return partitions.map((partition) => ({ partition, sequence: partition.committedNext }));
}

/** Acknowledgements that wait until replicas have the messages, in the order in which their commits ended. */
export class ReplicaWaits<Client extends { readonly closed: boolean }, Waiter extends ReplicaWaiter<Client>> {
  private waiting: Waiter[] = [];

  get size(): number {
    return this.waiting.length;
  }

  /** A partition that refuses publishes by now refuses this one, too. */
  add(waiter: Waiter): void {
    for (const { partition } of waiter.waits) waiter.failure ??= partition.replicaFailure;
    this.waiting.push(waiter);
  }

  /**
   * A partition refuses what its replicas lack. That counts for good: when other messages have taken these sequences, nobody may take
   * them for the ones that were waited for.
   */
  refuse(partition: Replicated, failure: Error): void {
    for (const waiter of this.waiting) {
      const isConcerned = waiter.waits.some((wait) => wait.partition === partition && wait.sequence > partition.releasable);
      if (isConcerned) waiter.failure ??= failure;
    }
  }

  /** Removes those that are served: replicas have what they wait for, or it was refused, and no earlier one of their client waits. */
  takeServed(): Waiter[] {
    const blocked = new Set<Client>();
    const served: Waiter[] = [];
    this.waiting = this.waiting.filter((waiter) => {
      const { client, waits, failure } = waiter;
      if (client.closed) return false;
      const isServed = waits.every(
        ({ partition, sequence }) => partition.releasable >= sequence || (failure !== undefined && partition.isElsewhere !== true),
      );
      if (isServed && !blocked.has(client)) {
        served.push(waiter);
        return false;
      }
      blocked.add(client);
      return true;
    });
    return served;
  }
}
