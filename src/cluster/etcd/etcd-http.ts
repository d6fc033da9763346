import type {
  Etcd,
  EtcdCompare,
  EtcdEntry,
  EtcdLease,
  EtcdOperation,
  EtcdRange,
  EtcdRead,
  EtcdTransaction,
  EtcdWatch,
  EtcdWatcher,
  EtcdWritten,
} from "./etcd.ts";
import { EtcdError } from "./etcd-error.ts";
import { type CallKind, type EtcdOptions, Gateway } from "./gateway.ts";
import { arrayOr, asObject, encodeText, entryOf, integer, type Json, leaseId, objectOr, prefixEnd, revisionOf } from "./gateway-json.ts";
import { WatchStream } from "./watch-stream.ts";

/** How many keys are read in one answer. */
const PAGE_KEYS = 1_000;
/** A range that is compacted away while its pages are read is begun again. */
const RANGE_ATTEMPTS = 3;

/**
 * etcd over its JSON gateway (https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/), tried on 3.4.23: keys and values are base64,
 * 64-bit numbers are strings, what is false or zero is left out.
 */
export class EtcdHttp implements Etcd {
  private readonly gateway: Gateway;

  constructor(options: EtcdOptions) {
    this.gateway = new Gateway(options);
  }

  get(key: string, limitMs?: number): Promise<EtcdRead | EtcdError> {
    return this.ask("/v3/kv/range", { key: encodeText(key) }, "repeatable", limitMs, (answer) => ({
      entry: firstEntry(answer),
      revision: revisionOf(answer),
    }));
  }

  async range(prefix: string, limitMs?: number): Promise<EtcdRange | EtcdError> {
    for (let attempt = 1; ; attempt++) {
      const range = await this.pages(prefix, limitMs);
      if (attempt === RANGE_ATTEMPTS || !(range instanceof EtcdError) || range.reason !== "compacted") return range;
    }
  }

  put(key: string, value: string, lease = "", limitMs?: number): Promise<EtcdWritten | EtcdError> {
    return this.ask("/v3/kv/put", putOf(key, value, lease), "write", limitMs, written);
  }

  remove(key: string, limitMs?: number): Promise<EtcdWritten | EtcdError> {
    return this.ask("/v3/kv/deleterange", { key: encodeText(key) }, "write", limitMs, written);
  }

  txn(
    conditions: readonly EtcdCompare[],
    then: readonly EtcdOperation[],
    otherwise: readonly EtcdOperation[] = [],
    limitMs?: number,
  ): Promise<EtcdTransaction | EtcdError> {
    const body = {
      compare: conditions.map(({ key, modRevision }) => ({
        key: encodeText(key),
        target: "MOD",
        result: "EQUAL",
        mod_revision: String(modRevision),
      })),
      success: then.map(requestOf),
      failure: otherwise.map(requestOf),
    };
    const isRead = [...then, ...otherwise].every((operation) => "get" in operation);
    return this.ask("/v3/kv/txn", body, isRead ? "repeatable" : "write", limitMs, (answer) => {
      const succeeded = answer.succeeded === true;
      const responses = arrayOr(answer.responses);
      const entries = (succeeded ? then : otherwise).flatMap((operation, i) =>
        "get" in operation ? [firstEntry(objectOr(asObject(responses[i]).response_range))] : [],
      );
      return { succeeded, revision: revisionOf(answer), entries };
    });
  }

  /** A lease that was granted without our knowing ends by itself, so asking twice does no harm. */
  grant(ttlMs: number, limitMs?: number): Promise<EtcdLease | EtcdError> {
    return this.ask("/v3/lease/grant", { TTL: String(Math.ceil(ttlMs / 1000)) }, "repeatable", limitMs, leaseOf);
  }

  async keepAlive(lease: string, limitMs?: number): Promise<EtcdLease | EtcdError> {
    const renewed = await this.ask("/v3/lease/keepalive", { ID: lease }, "repeatable", limitMs, (answer) =>
      leaseOf(asObject(answer.result)),
    );
    // etcd says that a lease is gone by leaving its TTL out.
    if (renewed instanceof EtcdError || renewed.ttlMs > 0) return renewed;
    return new EtcdError("lease-gone", "none", `etcd: lease ${lease} has ended`);
  }

  watch(prefix: string, fromRevision: number, watcher: EtcdWatcher): EtcdWatch {
    return new WatchStream(this.gateway, prefix, fromRevision, watcher);
  }

  /** Reads all pages of a range as of the revision of the first one. */
  private async pages(prefix: string, limitMs: number | undefined): Promise<EtcdRange | EtcdError> {
    const entries: EtcdEntry[] = [];
    const end = prefixEnd(prefix);
    let revision = 0;
    for (let from = prefix; ; from = `${entries.at(-1)?.key}\0`) {
      const request = { key: encodeText(from), range_end: end, limit: String(PAGE_KEYS), revision: String(revision) };
      const page = await this.ask("/v3/kv/range", request, "repeatable", limitMs, (answer) => ({
        entries: arrayOr(answer.kvs).map(entryOf),
        revision: revisionOf(answer),
        hasMore: answer.more === true,
      }));
      if (page instanceof EtcdError) return page;
      entries.push(...page.entries);
      if (revision === 0) revision = page.revision;
      if (!page.hasMore || page.entries.length === 0) return { entries, revision };
    }
  }

  private async ask<T>(
    path: string,
    body: Json,
    kind: CallKind,
    limitMs: number | undefined,
    read: (answer: Json) => T,
  ): Promise<T | EtcdError> {
    const answer = await this.gateway.call(path, body, kind, limitMs);
    if (answer instanceof EtcdError) return answer;
    try {
      return read(answer);
    } catch (error) {
      // What etcd did is not known, as what it said is not understood.
      return new EtcdError("unreachable", kind === "write" ? "unknown" : "none", `etcd: ${(error as Error).message}`);
    }
  }
}

function putOf(key: string, value: string, lease: string): Json {
  return { key: encodeText(key), value: encodeText(value), ...(lease === "" ? {} : { lease }) };
}

function requestOf(operation: EtcdOperation): Json {
  if ("put" in operation) return { request_put: putOf(operation.put, operation.value, operation.lease ?? "") };
  if ("remove" in operation) return { request_delete_range: { key: encodeText(operation.remove) } };
  return { request_range: { key: encodeText(operation.get) } };
}

function firstEntry(answer: Json): EtcdEntry | undefined {
  return arrayOr(answer.kvs).map(entryOf)[0];
}

function written(answer: Json): EtcdWritten {
  return { revision: revisionOf(answer) };
}

function leaseOf(answer: Json): EtcdLease {
  return { lease: leaseId(answer.ID), ttlMs: 1000 * integer(answer.TTL) };
}
