import { shortUid } from "../data-path-uid.ts";
import { ClusterRefusal } from "../placement/cluster-refusal.ts";
import type { ClusterView } from "../state/cluster-view.ts";
import type { BrokerRecord } from "../state/records.ts";

/** At least as many digits of a uid are asked for when a broker is named by the first of them. */
const LEAST_DIGITS = 4;
/** `ip:rpc port:tcp port:worker id`. */
const YOUZAN_ID = /^(.+):\d+:(\d+):\d+$/;

/**
 * What operators call brokers. A replica is a data path, whose uid nobody remembers, so a broker is also found by its addresses. Those of
 * brokers that are away are known for as long as this process runs, if it has seen them.
 */
export class BrokerNames {
  /** The last record of each data path. */
  private readonly seen = new Map<string, BrokerRecord>();
  private readonly alive = new Set<string>();
  /** The data path that was at each TCP address last. */
  private readonly byTcp = new Map<string, string>();

  constructor(private readonly view: ClusterView) {
    view.listen((changes) => {
      for (const { kind, before, after } of changes) {
        if (kind !== "brokers") continue;
        if (before !== undefined) this.alive.delete(before.value.uid);
        if (after !== undefined) this.saw(after.value);
      }
    });
  }

  /** The data path at a TCP address, alive or not; undefined: this process has not seen one there. */
  at(tcp: string): string | undefined {
    return this.byTcp.get(tcp);
  }

  /** What a broker said last; undefined: it has been away since before this process was started. */
  record(uid: string): BrokerRecord | undefined {
    return this.seen.get(uid);
  }

  isAlive(uid: string): boolean {
    return this.alive.has(uid);
  }

  /** All data paths that are alive, have something, or are to be removed. */
  all(): Set<string> {
    const { view } = this;
    const uids = new Set<string>();
    for (const { value } of view.brokers.values()) uids.add(value.uid);
    for (const { value } of view.partitions.values()) for (const uid of value.replicas) uids.add(uid);
    for (const uid of view.removals.keys()) uids.add(uid);
    return uids;
  }

  /** `10.0.0.1:4151 (01234567)`; only the digits of a broker that was never seen. */
  label(uid: string): string {
    const record = this.seen.get(uid);
    const short = shortUid(uid);
    const address = record?.http || record?.tcp || "";
    return address === "" ? short : `${address} (${short})`;
  }

  /** @returns the data path uid of the broker that has this id, address, host name or beginning of a uid; Youzan's ids are addresses */
  find(given: string): string | ClusterRefusal {
    const name = given.replace(YOUZAN_ID, "$1:$2");
    const uids = this.all();
    for (const [id, { value }] of this.view.brokers) if (id === name) return value.uid;
    if (uids.has(name)) return name;
    const isBeginning = new RegExp(`^[0-9a-f]{${LEAST_DIGITS},}$`).test(name);
    const found = [...uids].filter((uid) => this.hasAddress(uid, name) || (isBeginning && uid.startsWith(name)));
    const [first] = found;
    if (first !== undefined && found.length === 1) return first;
    // An emptied disk at an old address: the one that is alive is meant.
    const alive = found.filter((uid) => this.isAlive(uid));
    if (alive.length === 1) return alive[0] as string;
    const list =
      [...(found.length > 1 ? found : uids)]
        .map((uid) => this.label(uid))
        .sort()
        .join(", ") || "none";
    return found.length > 1
      ? new ClusterRefusal("invalid", `"${name}" may be any of ${list}`)
      : new ClusterRefusal("no-such-broker", `there is no broker "${name}"; known are ${list}`);
  }

  private saw(record: BrokerRecord): void {
    this.alive.add(record.uid);
    this.seen.set(record.uid, record);
    if (record.tcp !== "") this.byTcp.set(record.tcp, record.uid);
  }

  private hasAddress(uid: string, name: string): boolean {
    const record = this.seen.get(uid);
    if (record === undefined) return false;
    return [record.tcp, record.http, record.replication].some(
      (address) => address !== "" && (address === name || hostOf(address) === name),
    );
  }
}

function hostOf(address: string): string {
  return address.slice(0, Math.max(0, address.lastIndexOf(":"))).replace(/^\[(.*)\]$/, "$1");
}
