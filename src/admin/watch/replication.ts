import type { ClusterBroker, ClusterDetail, ClusterMove, ClusterRisk } from "../cluster-api.ts";
import { type Fields, fieldsOf, listOf, numberOf, textOf, textsOf } from "../upstream/fields.ts";
import { UpstreamError } from "../upstream/upstream.ts";
import { maybeNumber } from "./maybe-number.ts";
import type { WatchedLookup } from "./watched-lookup.ts";

/** A lookup server that is in no cluster is asked again after this time: it may be another process by then. */
const ASK_AGAIN_MS = 60_000;
/** As many digits of a uid say which broker it is. */
const SHOWN_DIGITS = 8;
/** What a lookup server is believed, whatever it answers. */
const MOST_BROKERS = 1_000;
const MOST_MOVES = 10_000;
const MOST_RISKS = 1_000;

const BROKER_STATES = ["alive", "leaving", "away", "removed"] as const;
const REMOVAL_STATES = ["draining", "drained"] as const;
const MOVE_KINDS = ["replace", "add", "drop", "lead"] as const;
const MOVE_REASONS = ["asked", "balance", "removal", "replicas"] as const;
const MOVE_STATES = ["waiting", "copying", "leading"] as const;

type Ask = (address: string, path: string) => Promise<unknown>;

/**
 * The replicated cluster, as a lookup server tells it. Whether there is one is found out: those of bunsq are asked, and one that is in none
 * is left alone for a while, so that without a cluster next to nothing is asked.
 */
export class Replication {
  /** What was told last; undefined: there is no cluster, or nobody has told of one. */
  detail: ClusterDetail | undefined;
  private isAsked = false;
  /** When lookup servers that are in no cluster may be asked again, on a clock that nobody sets, by their addresses. */
  private readonly againMs = new Map<string, number>();
  private names = new Map<string, string>();

  /** The lookup server to ask for more, and to have things changed by; undefined: there is no cluster. */
  get lookup(): string | undefined {
    return this.detail?.lookup;
  }

  /** What operators call a broker. */
  nameOf(uid: string): string {
    return this.names.get(uid) ?? uid.slice(0, SHOWN_DIGITS);
  }

  /** Asks the lookup server that told it last, or else the first one that tells. */
  async ask(lookups: Iterable<WatchedLookup>, nowMs: number, ask: Ask): Promise<void> {
    if (this.isAsked) return;
    this.isAsked = true;
    try {
      const candidates = [...lookups].filter(({ isUp, product, address }) => {
        return isUp && product === "bunsq" && nowMs >= (this.againMs.get(address) ?? 0);
      });
      candidates.sort((one, other) => Number(other.address === this.lookup) - Number(one.address === this.lookup));
      await this.askFirst(
        candidates.map(({ address }) => address),
        nowMs,
        ask,
      );
    } finally {
      this.isAsked = false;
    }
  }

  private async askFirst(addresses: readonly string[], nowMs: number, ask: Ask): Promise<void> {
    let why = "no lookup server of the cluster answers";
    for (const address of addresses) {
      try {
        this.fold(address, fieldsOf(await ask(address, "/cluster/status")));
        return;
      } catch (error) {
        if (isNoCluster(error)) {
          this.againMs.set(address, nowMs + ASK_AGAIN_MS);
          if (this.lookup === address) this.detail = undefined;
        } else why = error instanceof UpstreamError ? (error.code ?? error.why) : (error as Error).message;
      }
    }
    if (this.detail !== undefined) this.detail = { ...this.detail, down: why };
  }

  private fold(lookup: string, fields: Fields): void {
    const brokers = listOf(fields, "brokers").slice(0, MOST_BROKERS).map(fieldsOf);
    this.names = new Map(brokers.map((broker) => [textOf(broker, "uid"), nameIn(broker)]));
    this.detail = {
      cluster: textOf(fields, "cluster"),
      lookup,
      controller: textOf(fields, "controller"),
      topics: numberOf(fields, "topics"),
      partitions: numberOf(fields, "partitions"),
      without_leader: numberOf(fields, "without_leader"),
      under_replicated: numberOf(fields, "under_replicated"),
      brokers: brokers.map(brokerOf),
      moves: listOf(fields, "moves")
        .slice(0, MOST_MOVES)
        .map((move) => this.moveOf(fieldsOf(move))),
      balancing: fields.balancing === true,
      risks: listOf(fields, "risks")
        .slice(0, MOST_RISKS)
        .map((risk) => riskOf(fieldsOf(risk))),
    };
  }

  private moveOf(fields: Fields): ClusterMove {
    const [topic, partition] = [textOf(fields, "topic"), numberOf(fields, "partition")];
    return {
      key: `${topic}/${partition}`,
      topic,
      partition,
      why: oneOf(MOVE_REASONS, textOf(fields, "why")),
      for_ms: numberOf(fields, "for_ms"),
      ...this.moveIn(fields),
    };
  }

  /** What a move does, of `/cluster/status` or of a partition. */
  moveIn(fields: Fields): Pick<ClusterMove, "what" | "state" | "from" | "to"> {
    const [from, to] = [textOf(fields, "from"), textOf(fields, "to")];
    return {
      what: oneOf(MOVE_KINDS, textOf(fields, "what")),
      state: oneOf(MOVE_STATES, textOf(fields, "state")),
      from: from === "" ? "" : this.nameOf(from),
      to: to === "" ? "" : this.nameOf(to),
    };
  }
}

/** Whether a lookup server says that it is in no cluster, or does not know the call, as one of an earlier release. */
function isNoCluster(error: unknown): boolean {
  return error instanceof UpstreamError && (error.status === 404 || error.status === 405 || error.code?.startsWith("NO_CLUSTER") === true);
}

function nameIn(broker: Fields): string {
  return textOf(broker, "http") || textOf(broker, "uid").slice(0, SHOWN_DIGITS);
}

function brokerOf(fields: Fields): ClusterBroker {
  const [disk, load] = [fieldsOf(fields.disk), fieldsOf(fields.load)];
  const size = numberOf(disk, "size_bytes");
  const removal = fields.removal === null || fields.removal === undefined ? undefined : fieldsOf(fields.removal);
  return {
    uid: textOf(fields, "uid"),
    name: nameIn(fields),
    address: textOf(fields, "http"),
    state: oneOf(BROKER_STATES, textOf(fields, "state")),
    away_ms: maybeNumber(fields, "away_ms") ?? null,
    region: textOf(fields, "region"),
    zone: textOf(fields, "zone"),
    version: textOf(fields, "version"),
    leaders: numberOf(fields, "leaders"),
    replicas: numberOf(fields, "replicas"),
    in_sync: numberOf(fields, "in_sync"),
    disk_size_bytes: size > 0 ? size : null,
    disk_free_bytes: size > 0 ? numberOf(disk, "free_bytes") : null,
    in_bytes_per_second: numberOf(load, "in_bytes_per_second"),
    out_bytes_per_second: numberOf(load, "out_bytes_per_second"),
    stored_bytes: numberOf(load, "stored_bytes"),
    removal:
      removal === undefined
        ? null
        : {
            state: oneOf(REMOVAL_STATES, textOf(removal, "state")),
            partitions: numberOf(removal, "partitions"),
            left: numberOf(removal, "left"),
            problem: textOf(removal, "problem"),
          },
  };
}

function riskOf(fields: Fields): ClusterRisk {
  return {
    kind: textOf(fields, "kind"),
    severity: textOf(fields, "severity") === "critical" ? "critical" : "warning",
    text: textOf(fields, "text"),
    partitions: textsOf(fields, "partitions"),
    partition_count: numberOf(fields, "partition_count"),
    for_ms: maybeNumber(fields, "for_ms") ?? null,
  };
}

/** One of the words that are known; the first one for another. */
function oneOf<Word extends string>(words: readonly [Word, ...Word[]], word: string): Word {
  return words.find((known) => known === word) ?? words[0];
}
