import type { ReplicaAt, ReplicaRow, TopicReplication } from "../cluster-api.ts";
import { type Fields, fieldsOf, listOf, numberOf, textOf, textsOf } from "../upstream/fields.ts";
import { askBrokers } from "./ask-brokers.ts";
import type { Look } from "./look-cache.ts";
import { maybeNumber } from "./maybe-number.ts";
import type { Replication } from "./replication.ts";
import type { Watcher } from "./watcher.ts";

/** What a lookup server is believed, whatever it answers. */
const MOST_PARTITIONS = 100_000;
const CHANGES = ["create", "expand", "delete"] as const;

/** What a leader tells of one follower. */
interface Follower {
  lagMessages: number | null;
  lagBytes: number | null;
  lagMs: number;
}

/** What is asked of the cluster: of a topic, or of all of them. */
interface TopicFacts {
  minInSync: number;
  replicas: number;
}

/**
 * The partitions of the cluster, or of one topic: where their replicas are, as the lookup server tells, and what these lack, as their
 * leaders do. They are asked while somebody looks.
 */
export class ReplicaLook implements Look {
  rows: readonly ReplicaRow[] = [];
  /** By topic. */
  readonly topics = new Map<string, TopicReplication>();

  /** @param topic empty: all */
  constructor(
    private readonly topic: string,
    private readonly watcher: Watcher,
  ) {}

  get size(): number {
    return this.rows.length;
  }

  async refresh(): Promise<void> {
    const { replication } = this.watcher;
    const { detail } = replication;
    if (detail === undefined) return;
    const query = this.topic === "" ? "" : `?topic=${encodeURIComponent(this.topic)}`;
    let answer: unknown;
    try {
      answer = await this.watcher.ask(detail.lookup, `/cluster/topics${query}`);
    } catch {
      // That it does not answer is shown with the cluster; a topic that is not one of the cluster's has no rows.
      this.keep([]);
      return;
    }
    const alive = new Set(detail.brokers.flatMap(({ uid, away_ms: awayMs }) => (awayMs === null ? uid : [])));
    const lags = new Map<string, Follower>();
    const addresses = detail.brokers.flatMap(({ address, away_ms: awayMs }) => (awayMs !== null || address === "" ? [] : address));
    await askBrokers(addresses, async (broker) => {
      const replicas = fieldsOf(await this.watcher.ask(broker, `/cluster/replicas${query}`));
      for (const replica of listOf(replicas, "replicas")) readLags(fieldsOf(replica), lags);
    });
    this.keep(listOf(fieldsOf(answer), "topics").map(fieldsOf), lags, alive);
  }

  private keep(topics: readonly Fields[], lags: ReadonlyMap<string, Follower> = new Map(), alive: ReadonlySet<string> = new Set()): void {
    const { replication } = this.watcher;
    const rows: ReplicaRow[] = [];
    this.topics.clear();
    for (const fields of topics) {
      const topic = textOf(fields, "topic");
      const facts = { minInSync: numberOf(fields, "min_in_sync"), replicas: numberOf(fields, "replicas") };
      const own = listOf(fields, "partitions")
        .slice(0, MOST_PARTITIONS - rows.length)
        .map((partition) => rowOf(topic, facts, fieldsOf(partition), { replication, lags, alive }));
      for (const row of own) rows.push(row);
      this.topics.set(topic, {
        partitions: numberOf(fields, "partition_num"),
        replicas: facts.replicas,
        min_in_sync: facts.minInSync,
        under_replicated: own.filter((row) => row.in_sync < row.replica_count).length,
        without_leader: own.filter(({ state }) => state === "offline").length,
        change: CHANGES.find((known) => known === fields.change) ?? null,
      });
    }
    this.rows = rows;
  }
}

/** What the leader of a partition tells of its followers, by topic, partition and uid. */
function readLags(fields: Fields, lags: Map<string, Follower>): void {
  if (textOf(fields, "role") !== "leader") return;
  const key = `${textOf(fields, "topic")}/${numberOf(fields, "partition")}`;
  for (const follower of listOf(fields, "followers").map(fieldsOf)) {
    lags.set(`${key} ${textOf(follower, "uid")}`, {
      lagMessages: maybeNumber(follower, "lag_messages") ?? null,
      lagBytes: maybeNumber(follower, "lag_bytes") ?? null,
      lagMs: numberOf(follower, "lag_ms"),
    });
  }
}

interface Known {
  replication: Replication;
  lags: ReadonlyMap<string, Follower>;
  /** The uids of brokers that are. */
  alive: ReadonlySet<string>;
}

function rowOf(topic: string, { minInSync, replicas: wanted }: TopicFacts, fields: Fields, known: Known): ReplicaRow {
  const { replication, lags, alive } = known;
  const partition = numberOf(fields, "partition");
  const key = `${topic}/${partition}`;
  const leader = textOf(fields, "leader");
  const inSync = new Set(textsOf(fields, "in_sync").filter((uid) => alive.has(uid)));
  const uids = textsOf(fields, "replicas");
  const replicas = uids.map((uid): ReplicaAt => {
    const role = !alive.has(uid) ? "away" : uid === leader ? "leader" : inSync.has(uid) ? "in_sync" : "behind";
    return { uid, name: replication.nameOf(uid), role, lag_messages: lags.get(`${key} ${uid}`)?.lagMessages ?? null };
  });
  const isLed = leader !== "" && alive.has(leader);
  const followers = uids.flatMap((uid) => lags.get(`${key} ${uid}`) ?? []);
  const replicaCount = Math.max(wanted, uids.length);
  const move = fields.move === null || fields.move === undefined ? null : replication.moveIn(fieldsOf(fields.move));
  return {
    key,
    topic,
    partition,
    state: stateOf({ isLed, inSync: inSync.size, minInSync, replicaCount, isMoving: move !== null }),
    leader: leader === "" ? "" : replication.nameOf(leader),
    epoch: numberOf(fields, "epoch"),
    replicas,
    replica_count: replicaCount,
    in_sync: inSync.size,
    min_in_sync: minInSync,
    lag_messages: largest(followers.map(({ lagMessages }) => lagMessages)),
    lag_bytes: largest(followers.map(({ lagBytes }) => lagBytes)),
    lag_ms: largest(followers.map(({ lagMs }) => lagMs)),
    move,
  };
}

interface Condition {
  isLed: boolean;
  inSync: number;
  minInSync: number;
  replicaCount: number;
  isMoving: boolean;
}

/** The worst that is true of a partition. */
function stateOf({ isLed, inSync, minInSync, replicaCount, isMoving }: Condition): ReplicaRow["state"] {
  if (!isLed) return "offline";
  if (inSync < minInSync) return "unwritable";
  if (inSync < replicaCount) return "under_replicated";
  return isMoving ? "moving" : "ok";
}

/** Null if none is known. */
function largest(values: readonly (number | null)[]): number | null {
  return values.reduce((most, value) => (value === null || (most !== null && most >= value) ? most : value), null);
}
