import type { EtcdError } from "./etcd-error.ts";

/** A key with its value, as etcd had it at a revision. Keys and values are text. */
export interface EtcdEntry {
  readonly key: string;
  readonly value: string;
  /** The revision that made the key. A key that was removed and put again has a new one. */
  readonly createRevision: number;
  /** The revision that changed the key last. */
  readonly modRevision: number;
  /** The lease that the key ends with; "" if it has none. */
  readonly lease: string;
}

/** A condition of a transaction: that the key was changed last by this revision. 0: that there is no such key. */
export interface EtcdCompare {
  readonly key: string;
  readonly modRevision: number;
}

/** What a transaction does to one key. */
export type EtcdOperation =
  | { readonly put: string; readonly value: string; readonly lease?: string }
  | { readonly remove: string }
  | { readonly get: string };

export interface EtcdRead {
  readonly entry: EtcdEntry | undefined;
  /** The revision of all of etcd that this was read at. */
  readonly revision: number;
}

export interface EtcdRange {
  /** In the order of their keys. */
  readonly entries: readonly EtcdEntry[];
  /** All entries are as they were at this revision, so a watch from the next one misses nothing. */
  readonly revision: number;
}

export interface EtcdWritten {
  readonly revision: number;
}

export interface EtcdTransaction {
  /** Whether all conditions held. */
  readonly succeeded: boolean;
  readonly revision: number;
  /** What the `get` operations found, in their order. */
  readonly entries: readonly (EtcdEntry | undefined)[];
}

export interface EtcdLease {
  readonly lease: string;
  /** How long it lasts from when etcd took the request. etcd may give more than was asked for. */
  readonly ttlMs: number;
}

/** A change of a key that a watch tells. */
export interface EtcdEvent {
  readonly key: string;
  /** The key as it is now; undefined: it was removed. */
  readonly entry: EtcdEntry | undefined;
}

export interface EtcdWatcher {
  /** Everything that one revision changed. Revisions come in their order, each once. */
  onEvents(revision: number, events: readonly EtcdEvent[]): void;
  /** etcd no longer has what came next, and the watch has ended: read everything again, and watch from there. */
  onCompacted(): void;
  /** The watch does not get through at the moment. It tries again by itself, and misses nothing. */
  onTrouble(error: EtcdError): void;
}

export interface EtcdWatch {
  /** Afterwards the watcher is not called any more. */
  close(): void;
}

/** The most operations that etcd takes in each branch of a transaction, and the most conditions. */
export const MAX_TXN_OPERATIONS = 128;

/**
 * What the cluster needs of etcd. Calls resolve to an EtcdError when they fail; they do not reject. A call that changes something is
 * made once: if its answer did not come, the error's outcome is `unknown`, and whoever called reads again what is true now.
 *
 * `limitMs` is how long a call may take over all endpoints; without it, the limit of the options holds.
 */
export interface Etcd {
  get(key: string, limitMs?: number): Promise<EtcdRead | EtcdError>;
  /** All keys that begin with the prefix. */
  range(prefix: string, limitMs?: number): Promise<EtcdRange | EtcdError>;
  /** @param lease the key ends with this lease; "": it stays */
  put(key: string, value: string, lease?: string, limitMs?: number): Promise<EtcdWritten | EtcdError>;
  remove(key: string, limitMs?: number): Promise<EtcdWritten | EtcdError>;
  /** Does `then` if all conditions hold, and `otherwise` if one does not, as one change. No key may be put twice, or put and removed. */
  txn(
    conditions: readonly EtcdCompare[],
    then: readonly EtcdOperation[],
    otherwise?: readonly EtcdOperation[],
    limitMs?: number,
  ): Promise<EtcdTransaction | EtcdError>;
  grant(ttlMs: number, limitMs?: number): Promise<EtcdLease | EtcdError>;
  /** Renews a lease. An error with the reason `lease-gone` says that etcd does not have it any more. */
  keepAlive(lease: string, limitMs?: number): Promise<EtcdLease | EtcdError>;
  /** Tells all changes of keys that begin with the prefix, from this revision on. */
  watch(prefix: string, fromRevision: number, watcher: EtcdWatcher): EtcdWatch;
}
