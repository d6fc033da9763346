import type { EtcdEntry } from "../../../src/cluster/etcd/etcd.ts";
import {
  type BrokerRecord,
  type Kind,
  type MoveRecord,
  type PartitionRecord,
  type Records,
  SHAPES,
  type TopicRecord,
} from "../../../src/cluster/state/records.ts";
import { KEYS, type SimWorld } from "./sim-world.ts";
import { Violation } from "./violation.ts";

/** A lookup server may take a broker for absent that has come back since then. */
const VIEW_LAG_MS = 15_000;
/** What a process has in etcd only while it lives. */
const LEASED: ReadonlySet<Kind> = new Set(["brokers", "lookups", "controller"]);

/** Looks at every revision of etcd: what moves may do to partitions. */
export class PlacementChecks {
  violation: Violation | undefined;
  ended = 0;
  /** The lowest that each topic has had, by its uid. */
  readonly lowestMinInSync = new Map<string, number>();
  /** Partitions whose next change is an operator's, who has nothing to lose. */
  readonly recovered = new Set<number>();
  private nextRevision = 0;
  private readonly partitions = new Map<string, PartitionRecord>();
  private readonly moves = new Map<string, MoveRecord>();
  private readonly topics = new Map<string, { now: TopicRecord; before: TopicRecord }>();
  private readonly brokers = new Map<string, string>();
  private readonly absentMs = new Map<string, number>();

  /** @param mayNotJoin why a replica that comes to be in sync must not be; undefined: it may */
  constructor(
    private readonly world: SimWorld,
    private readonly mayNotJoin: (prefix: number, uid: string) => string | undefined,
  ) {
    const { etcd } = world;
    const changed = etcd.changed.bind(etcd);
    etcd.changed = () => {
      this.look();
      changed();
    };
  }

  throwIfViolated(): void {
    if (this.violation !== undefined) throw this.violation;
  }

  private look(): void {
    for (const { revision, events } of this.world.etcd.store.historyFrom(this.nextRevision)) {
      this.nextRevision = revision + 1;
      const partitions = new Map(this.partitions);
      const moves = new Map(this.moves);
      for (const { key, entry } of events) this.apply(key, entry, partitions, moves);
      try {
        for (const [name, after] of partitions) {
          const before = this.partitions.get(name);
          if (before !== undefined && before !== after && before.uid === after.uid) this.checkPartition(name, before, after);
          if (after.successor !== undefined && !moves.has(String(after.prefix)))
            throw new Violation(`${name} has a successor without a move`);
        }
        this.checkMoves(moves, partitions);
      } catch (error) {
        this.violation ??= error as Violation;
      }
      replace(this.partitions, partitions);
      replace(this.moves, moves);
    }
  }

  private apply(key: string, entry: EtcdEntry | undefined, partitions: Map<string, PartitionRecord>, moves: Map<string, MoveRecord>): void {
    const place = KEYS.placeOf(key);
    if (place === undefined) return;
    const { kind, name } = place;
    if (LEASED.has(kind) && entry?.lease === "") this.violation ??= new Violation(`${key} does not end with its process: it has no lease`);
    const value = entry?.value;
    const record = value === undefined ? undefined : (SHAPES[kind].read(value) as Records[typeof kind]);
    if (record instanceof Error) this.violation ??= new Violation(`${key} cannot be read: ${record.message}`);
    if (kind === "partitions") set(partitions, name, record as PartitionRecord | undefined);
    if (kind === "moves") {
      set(moves, name, record as MoveRecord | undefined);
      if (record === undefined) this.ended++;
    }
    if (kind === "topics") {
      const now = record as TopicRecord | undefined;
      if (now !== undefined) {
        this.lowestMinInSync.set(now.uid, Math.min(now.minInSync, this.lowestMinInSync.get(now.uid) ?? now.minInSync));
      }
      set(this.topics, name, now === undefined ? undefined : { now, before: this.topics.get(name)?.now ?? now });
    }
    if (kind === "brokers") this.onBroker(name, record as BrokerRecord | undefined);
  }

  private onBroker(name: string, record: BrokerRecord | undefined): void {
    const uid = this.brokers.get(name);
    if (uid !== undefined) this.absentMs.set(uid, record === undefined ? Number.POSITIVE_INFINITY : this.world.time.nowMs);
    if (record !== undefined) {
      if (this.absentMs.get(record.uid) === Number.POSITIVE_INFINITY) this.absentMs.set(record.uid, this.world.time.nowMs);
      this.brokers.set(name, record.uid);
    }
  }

  private wasAbsent(uid: string): boolean {
    return this.world.time.nowMs - (this.absentMs.get(uid) ?? Number.NEGATIVE_INFINITY) < VIEW_LAG_MS;
  }

  private checkPartition(name: string, before: PartitionRecord, after: PartitionRecord): void {
    if (this.recovered.delete(after.prefix)) return;
    const where = `${name}: ${JSON.stringify(before)} became ${JSON.stringify(after)}`;
    if (after.prefix !== before.prefix) throw new Violation(`another prefix: ${where}`);
    if (after.epoch < before.epoch) throw new Violation(`an older epoch: ${where}`);
    if (after.leader !== before.leader && after.leader !== "" && after.epoch === before.epoch)
      throw new Violation(`two leaders in one epoch: ${where}`);
    if (after.inSync.length === 0) throw new Violation(`nobody is in sync: ${where}`);
    const news = after.inSync.filter((uid) => !before.inSync.includes(uid));
    for (const uid of news) {
      const why = this.mayNotJoin(after.prefix, uid);
      if (why !== undefined) throw new Violation(`${uid} is in sync, and ${why}: ${where}`);
    }
    const added = after.replicas.filter((uid) => !before.replicas.includes(uid));
    const move = this.moves.get(String(after.prefix));
    if (added.length > 0 && (move?.state !== "waiting" || added.some((uid) => uid !== move.to)))
      throw new Violation(`a replica was added that no move began with: ${where}`);
    if (added.length > 0 && (after.additions ?? 0) <= (before.additions ?? 0))
      throw new Violation(`a replica was added and not counted: ${where}`);
    for (const uid of before.replicas) if (!after.replicas.includes(uid)) this.checkRemoved(uid, before, after, where);
  }

  private checkRemoved(uid: string, before: PartitionRecord, after: PartitionRecord, where: string): void {
    const move = this.moves.get(String(before.prefix));
    const topic = this.topics.get(move?.topic ?? "");
    if (move === undefined || topic === undefined) throw new Violation(`a replica was removed without a move: ${where}`);
    if (uid === before.leader) throw new Violation(`the leader was removed: ${where}`);
    if (uid === move.to && !before.inSync.includes(uid)) return;
    if (uid !== move.from) throw new Violation(`another replica was removed: ${where}`);
    if (move.what === "replace" && !after.inSync.includes(move.to)) throw new Violation(`removed before the new one is in sync: ${where}`);
    const rest = after.inSync.length;
    const wanted = move.what === "drop" ? Math.min(topic.now.replicas, topic.before.replicas) : move.inSync;
    if (rest >= wanted || (move.what === "drop" && !before.inSync.includes(uid))) return;
    const lagging = after.replicas.filter((one) => !after.inSync.includes(one));
    if (
      move.what !== "drop" &&
      rest >= Math.min(topic.now.minInSync, topic.before.minInSync) &&
      lagging.every((one) => this.wasAbsent(one))
    )
      return;
    throw new Violation(`fewer than the ${wanted} of before are in sync: ${where}`);
  }

  private checkMoves(moves: ReadonlyMap<string, MoveRecord>, partitions: ReadonlyMap<string, PartitionRecord>): void {
    const busy = new Set<string>();
    for (const [name, { state, what, from, to, inSync, topic, partition }] of moves) {
      if (state === "waiting") continue;
      // Another one leads then, and nothing is copied: many partitions are handed over at once.
      for (const uid of what === "lead" ? [] : [from, to]) {
        if (uid === "") continue;
        if (busy.has(uid)) throw new Violation(`${uid} has two moves: ${JSON.stringify([...moves.values()])}`);
        busy.add(uid);
      }
      const known = this.moves.get(name)?.state === "waiting" ? this.partitions.get(`${topic}/${partition}`) : undefined;
      if (known !== undefined && partitions.get(`${topic}/${partition}`)?.inSync.length !== inSync)
        throw new Violation(`move ${name} began with ${known.inSync.length} in sync, and says ${inSync}`);
    }
  }
}

function set<T>(table: Map<string, T>, name: string, value: T | undefined): void {
  if (value === undefined) table.delete(name);
  else table.set(name, value);
}

function replace<T>(table: Map<string, T>, by: ReadonlyMap<string, T>): void {
  table.clear();
  for (const [name, value] of by) table.set(name, value);
}
