/**
 * - `no-leader`: nothing can be published to partitions, or consumed from them
 * - `not-writable`: they take no publishes, as too few replicas are in sync
 * - `one-in-sync`: what was published last is on one disk alone
 * - `under-replicated`: they have fewer replicas in sync than they should
 * - `one-zone`: all replicas are in one zone, and there are others
 * - `disk-low`: a broker's disk is nearly full
 * - `broker-away`, `move-stuck`, `removal-stuck`, `topic-unfinished`: what their names say
 * - `too-few-brokers`: topics are to have more replicas than there are brokers
 * - `fewer-than-min-in-sync`: topics have fewer replicas than `-min-in-sync` asks to have a publish
 * - `no-controller`: nothing is moved
 * - `etcd-away`: what is told may be old
 * - `unreadable`: a value in etcd cannot be read
 */
export type RiskKind =
  | "no-leader"
  | "not-writable"
  | "one-in-sync"
  | "under-replicated"
  | "one-zone"
  | "disk-low"
  | "broker-away"
  | "move-stuck"
  | "removal-stuck"
  | "topic-unfinished"
  | "too-few-brokers"
  | "fewer-than-min-in-sync"
  | "no-controller"
  | "etcd-away"
  | "unreadable";

/** Something that an operator should know, and why it is so. */
export interface Risk {
  readonly kind: RiskKind;
  /** `critical`: something does not work now, or may be lost with one more disk. */
  readonly severity: "critical" | "warning";
  /** Sentences. */
  readonly text: string;
  /** Some of the partitions that it is about, as `TOPIC/PARTITION`, and how many these are. */
  readonly partitions: readonly string[];
  readonly partition_count: number;
  /** For how long at least, ms; null: that is not known. */
  readonly for_ms: number | null;
}

/** As many partitions are named. */
const NAMED = 20;
const SHOWN = 5;

/** Partitions that are in the same trouble for the same reason. */
export interface Trouble {
  readonly names: string[];
  forMs: number;
}

/** @param text gets what the partitions are called in a sentence: `3 partitions (a/0, a/1, b/0)` */
export function partitionRisk(
  kind: RiskKind,
  severity: Risk["severity"],
  { names, forMs }: Trouble,
  text: (which: string, isOne: boolean) => string,
): Risk {
  const some = names.slice(0, SHOWN).join(", ");
  const more = names.length > SHOWN ? ", …" : "";
  const isOne = names.length === 1;
  const which = isOne ? `partition ${some}` : `${names.length} partitions (${some}${more})`;
  return { kind, severity, text: text(which, isOne), partitions: names.slice(0, NAMED), partition_count: names.length, for_ms: forMs };
}

export function risk(kind: RiskKind, severity: Risk["severity"], text: string, forMs: number | null = null): Risk {
  return { kind, severity, text, partitions: [], partition_count: 0, for_ms: forMs };
}

/** A duration in words: `40 s`, `12 min`, `3 h`. */
export function inWords(ms: number): string {
  const seconds = Math.round(ms / 1_000);
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.round(minutes / 60);
  return hours < 48 ? `${hours} h` : `${Math.round(hours / 24)} days`;
}
