import type { ClusterView } from "../state/cluster-view.ts";

/**
 * Where the data paths of brokers were. A broker that serves at the address of one that is gone, with another data path, is what came back
 * after its disk was lost or emptied: the data path before will not come back, unless somebody puts it back.
 */
export class EmptiedPaths {
  /** Where a data path was seen last: the address at which other brokers reach it. */
  private readonly addresses = new Map<string, string>();

  constructor(private readonly view: Pick<ClusterView, "brokers" | "partitions">) {}

  /** To be called several times a minute. */
  look(): void {
    const { addresses, view } = this;
    const alive = this.alive();
    const needed = new Set([...view.partitions.values()].flatMap(({ value }) => value.replicas));
    for (const uid of addresses.keys()) if (!alive.has(uid) && !needed.has(uid)) addresses.delete(uid);
    for (const [uid, address] of alive) addresses.set(uid, address);
  }

  isAlive(uid: string): boolean {
    return this.alive().has(uid);
  }

  /** The data path that has taken the place of one that is gone; undefined: none has, or it is not known where it was. */
  successorOf(gone: string): string | undefined {
    const address = this.addresses.get(gone);
    if (address === undefined || address === "") return undefined;
    for (const [uid, other] of this.alive()) if (uid !== gone && other === address) return uid;
    return undefined;
  }

  private alive(): Map<string, string> {
    return new Map([...this.view.brokers.values()].map(({ value }) => [value.uid, value.replication]));
  }
}
