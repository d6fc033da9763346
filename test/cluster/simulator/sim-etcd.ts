import type {
  Etcd,
  EtcdCompare,
  EtcdEvent,
  EtcdLease,
  EtcdOperation,
  EtcdRange,
  EtcdRead,
  EtcdTransaction,
  EtcdWatch,
  EtcdWatcher,
  EtcdWritten,
} from "../../../src/cluster/etcd/etcd.ts";
import { EtcdError } from "../../../src/cluster/etcd/etcd-error.ts";
import type { Random } from "../../support/random.ts";
import { EtcdStore } from "./etcd-store.ts";
import type { SimNode } from "./sim-node.ts";
import type { SimTime } from "./sim-time.ts";

/** How long etcd's cluster takes to notice that a lease has ended, at most. */
const LEASE_SLACK_MS = 500;
const CALL_LIMIT_MS = 2_000;

/** What may go wrong between one node and etcd. */
export interface EtcdFaults {
  /** How long a request or an answer is under way, at most, ms. */
  delayMs: number;
  /** The probability that one takes `slowMs` longer. */
  slow: number;
  slowMs: number;
  /** The probability that etcd does what it was asked, and the answer is lost. */
  answerLost: number;
  /** The probability that a request is lost. */
  requestLost: number;
}

export const NO_FAULTS: EtcdFaults = { delayMs: 2, slow: 0, slowMs: 0, answerLost: 0, requestLost: 0 };

/**
 * An etcd in memory that all nodes of a simulation share. Itself it is never wrong: it stands for a whole etcd cluster, which may be
 * away (`isDown`), or out of reach for one node (`cutOff()`), or tell one of nothing that it does not ask for (`deafen()`).
 */
export class SimEtcd {
  readonly store = new EtcdStore();
  faults: EtcdFaults = NO_FAULTS;
  isDown = false;
  private readonly cut = new Set<string>();
  private readonly deaf = new Set<string>();
  private readonly clients = new Set<SimEtcdClient>();

  constructor(
    readonly time: SimTime,
    readonly random: Random,
  ) {}

  /** etcd as one node reaches it. */
  client(node: SimNode): Etcd {
    const client = new SimEtcdClient(this, node);
    this.clients.add(client);
    return client;
  }

  reaches(node: SimNode): boolean {
    return !this.isDown && !this.cut.has(node.name);
  }

  /** Whether watches of a node are told what is new. */
  tells(node: SimNode): boolean {
    return this.reaches(node) && !this.deaf.has(node.name);
  }

  cutOff(name: string): void {
    this.cut.add(name);
  }

  /** The watches of a node stand still, as at a member of etcd that lags behind. Its calls are answered. */
  deafen(name: string): void {
    this.deaf.add(name);
  }

  heal(name: string): void {
    this.cut.delete(name);
    this.deaf.delete(name);
    this.changed();
  }

  setDown(isDown: boolean): void {
    this.isDown = isDown;
    if (!isDown) this.electLeader();
  }

  /** A new leader of etcd's own gives each lease its whole time again. */
  electLeader(): void {
    for (const [id, lease] of this.store.leases) this.renewed(id, lease.ttlMs);
    this.changed();
  }

  compact(): void {
    this.store.compact(this.store.revision);
  }

  /** Has watches told what is new. */
  changed(): void {
    for (const client of this.clients) client.wakeWatches();
  }

  /** A lease was granted or renewed: it ends unless that happens again. */
  renewed(id: string, ttlMs: number): void {
    const lease = this.store.leases.get(id);
    if (lease === undefined) return;
    lease.expiresAtMs = this.time.nowMs + ttlMs;
    const slackMs = this.random.chance(0.5) ? 0 : this.random.int(0, LEASE_SLACK_MS);
    this.time.after(ttlMs + slackMs, () => this.expire(id));
  }

  private expire(id: string): void {
    const lease = this.store.leases.get(id);
    if (lease === undefined || lease.expiresAtMs > this.time.nowMs) return;
    // Without a majority nothing ends, and its next leader begins anew.
    if (this.isDown) return;
    this.store.endLease(id);
    this.changed();
  }
}

class SimEtcdClient implements Etcd {
  private readonly watches = new Set<SimWatch>();

  constructor(
    private readonly etcd: SimEtcd,
    private readonly node: SimNode,
  ) {}

  get(key: string, limitMs?: number): Promise<EtcdRead | EtcdError> {
    return this.call(false, limitMs, (store) => ({ entry: store.entries.get(key), revision: store.revision }));
  }

  range(prefix: string, limitMs?: number): Promise<EtcdRange | EtcdError> {
    return this.call(false, limitMs, (store) => ({ entries: store.range(prefix), revision: store.revision }));
  }

  put(key: string, value: string, lease = "", limitMs?: number): Promise<EtcdWritten | EtcdError> {
    return this.call(true, limitMs, (store) => written(store.txn([], [{ put: key, value, lease }], [])));
  }

  remove(key: string, limitMs?: number): Promise<EtcdWritten | EtcdError> {
    return this.call(true, limitMs, (store) => written(store.txn([], [{ remove: key }], [])));
  }

  txn(
    conditions: readonly EtcdCompare[],
    then: readonly EtcdOperation[],
    otherwise: readonly EtcdOperation[] = [],
    limitMs?: number,
  ): Promise<EtcdTransaction | EtcdError> {
    const isWrite = [...then, ...otherwise].some((operation) => !("get" in operation));
    return this.call(isWrite, limitMs, (store) => store.txn(conditions, then, otherwise));
  }

  grant(ttlMs: number, limitMs?: number): Promise<EtcdLease | EtcdError> {
    return this.call(false, limitMs, (store) => {
      const lease = store.grant(ttlMs);
      this.etcd.renewed(lease.lease, lease.ttlMs);
      return lease;
    });
  }

  keepAlive(lease: string, limitMs?: number): Promise<EtcdLease | EtcdError> {
    return this.call(false, limitMs, (store) => {
      const known = store.leases.get(lease);
      if (known === undefined) return new EtcdError("lease-gone", "none", `etcd: lease ${lease} has ended`);
      this.etcd.renewed(lease, known.ttlMs);
      return { lease, ttlMs: known.ttlMs };
    });
  }

  watch(prefix: string, fromRevision: number, watcher: EtcdWatcher): EtcdWatch {
    const watch = new SimWatch(this.etcd, this.node, prefix, fromRevision, watcher, () => this.watches.delete(watch));
    this.watches.add(watch);
    watch.wake();
    return watch;
  }

  wakeWatches(): void {
    for (const watch of this.watches) watch.wake();
  }

  /**
   * One call: the request is under way, etcd does it, the answer is under way. Each of these may fail, and the caller cannot tell which
   * did. A request that is slow may be done long after its caller gave up.
   */
  private call<T>(isWrite: boolean, limitMs = CALL_LIMIT_MS, done: (store: EtcdStore) => T | EtcdError): Promise<T | EtcdError> {
    const { etcd, node } = this;
    const { random, faults, time } = etcd;
    return new Promise((resolve) => {
      const fail = (outcome: "none" | "unknown") => resolve(new EtcdError("unreachable", outcome, "etcd: no answer in time"));
      const timer = node.callAfter(limitMs, () => fail(isWrite ? "unknown" : "none"));
      const answer = (result: T | EtcdError) => {
        node.cancel(timer);
        resolve(result);
      };
      // Some ways of being away are told at once: nobody listens there.
      if (!etcd.reaches(node) && random.chance(0.3)) return void time.after(this.delay(), () => node.run(() => answer(refused())));
      if (random.chance(faults.requestLost)) return;
      time.after(this.delay(), () => {
        if (!etcd.reaches(node)) return;
        const before = etcd.store.revision;
        const result = done(etcd.store);
        if (etcd.store.revision !== before) etcd.changed();
        if (random.chance(faults.answerLost)) return;
        time.after(this.delay(), () => {
          if (etcd.reaches(node)) node.run(() => answer(result));
        });
      });
    });
  }

  private delay(): number {
    const { random, faults } = this.etcd;
    return random.next() * faults.delayMs + (random.chance(faults.slow) ? random.next() * faults.slowMs : 0);
  }
}

/** A watch of one node: it is told what happened a moment later, in pieces, and after a cut what it missed. */
class SimWatch implements EtcdWatch {
  private isClosed = false;
  private isWaking = false;

  constructor(
    private readonly etcd: SimEtcd,
    private readonly node: SimNode,
    private readonly prefix: string,
    private nextRevision: number,
    private readonly watcher: EtcdWatcher,
    private readonly onClose: () => void,
  ) {}

  close(): void {
    this.isClosed = true;
    this.onClose();
  }

  wake(): void {
    if (this.isWaking || this.isClosed) return;
    this.isWaking = true;
    const { random, faults } = this.etcd;
    const delayMs = random.next() * faults.delayMs + (random.chance(faults.slow) ? random.next() * faults.slowMs : 0);
    this.etcd.time.after(delayMs, () =>
      this.node.run(() => {
        this.isWaking = false;
        this.tell();
      }),
    );
  }

  private tell(): void {
    const { store, random } = this.etcd;
    if (this.isClosed || !this.etcd.tells(this.node)) return;
    if (this.nextRevision < store.compactedRevision) {
      this.close();
      return this.watcher.onCompacted();
    }
    for (const { revision, events } of store.historyFrom(this.nextRevision)) {
      this.nextRevision = revision + 1;
      const own: EtcdEvent[] = events.filter(({ key }) => key.startsWith(this.prefix));
      if (own.length > 0) this.watcher.onEvents(revision, own);
      if (this.isClosed) return;
      // The rest comes in another answer.
      if (random.chance(0.2)) return this.wake();
    }
  }
}

function written(result: EtcdTransaction | EtcdError): EtcdWritten | EtcdError {
  return result instanceof EtcdError ? result : { revision: result.revision };
}

function refused(): EtcdError {
  return new EtcdError("unreachable", "none", "etcd: connection refused");
}
