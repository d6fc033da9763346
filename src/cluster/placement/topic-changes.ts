import type { Clock } from "../../base/clock.ts";
import { isValidName } from "../../frame/names.ts";
import type { Etcd, EtcdCompare, EtcdEntry, EtcdOperation, EtcdTransaction } from "../etcd/etcd.ts";
import { MAX_TXN_OPERATIONS } from "../etcd/etcd.ts";
import { EtcdError } from "../etcd/etcd-error.ts";
import type { ClusterView } from "../state/cluster-view.ts";
import { type ClusterKeys, topicAndPartition } from "../state/keys.ts";
import {
  MAX_PREFIX,
  type PartitionRecord,
  PREFIXES_SHAPE,
  type PrefixesRecord,
  SHAPES,
  type TopicChange,
  type TopicRecord,
} from "../state/records.ts";
import { BadValue } from "../state/shape.ts";
import { ClusterRefusal } from "./cluster-refusal.ts";
import { layoutOf, placedOf } from "./layout.ts";
import { placeNew } from "./place.ts";
import type { Placed } from "./placed.ts";
import { firstFree } from "./prefixes.ts";

/** How long a call goes on while etcd does not answer, or others are quicker. */
const LIMIT_MS = 10_000;
const AGAIN_MS = 100;
/** As many new partitions go into one transaction, beside the topic and the prefixes. */
const PARTITIONS_PER_TXN = MAX_TXN_OPERATIONS - 2;

/** What an operator says of a topic. */
export type TopicSettings = Omit<TopicRecord, "uid" | "keyPartitions" | "change" | "unknown">;

/** What a topic's settings become. */
export type TopicSettingsChange = Partial<Omit<TopicSettings, "partitions">>;

interface StoredTopic {
  readonly value: TopicRecord;
  readonly modRevision: number;
}

interface Found {
  readonly topic: StoredTopic | undefined;
  readonly prefixesRevision: number;
  readonly prefixes: PrefixesRecord;
}

/** Somebody else was quicker, and this is true now. */
class Overtaken {
  constructor(readonly found: Found | ClusterRefusal) {}
}

/** `again`: read what is true now, and go on from there. */
type Step = "done" | "again" | Overtaken | ClusterRefusal;

/**
 * Topics as transactions, by any lookup server. Each transaction rests on the revision of the topic's key, so two that change one topic do
 * not mix. What fits is one transaction. A topic of more than 126 partitions is made, expanded or removed in several; until the last one
 * its record says so, and whoever sees that may finish it. When an outcome is unknown, everything is read again.
 *
 * All calls resolve to undefined if the topic is as it was asked for.
 */
export class TopicChanges {
  /** The last of those who make partitions here: two at a time would only be in each other's way. */
  private lastMaking: Promise<unknown> = Promise.resolve();
  /** Why etcd did not do what it was asked last; undefined: it did, or said that the conditions do not hold. */
  private trouble: EtcdError | undefined;

  constructor(
    private readonly etcd: Etcd,
    private readonly keys: ClusterKeys,
    /** Where new partitions go follows from it; it may be behind. */
    private readonly view: ClusterView,
    private readonly clock: Clock,
    /** A number in [0, 1). */
    private readonly random: () => number,
  ) {}

  async create(topic: string, settings: TopicSettings): Promise<ClusterRefusal | undefined> {
    if (!isValidName(topic)) return new ClusterRefusal("invalid", `invalid topic name "${topic}"`);
    const uid = this.newUid();
    const record: TopicRecord = { ...settings, uid, keyPartitions: settings.partitions };
    const problem = SHAPES.topics.read(SHAPES.topics.write(record));
    if (problem instanceof BadValue) return new ClusterRefusal("invalid", problem.message);
    return this.inTurn(async (known) => {
      const found = known ?? (await this.read(topic));
      if (found instanceof ClusterRefusal || found === undefined) return found ?? "again";
      const { topic: stored } = found;
      if (stored === undefined) return this.make(topic, record, 0, found);
      const { change } = stored.value;
      if (change !== undefined) return this.goOn(topic, stored, stored.value.uid === uid);
      return stored.value.uid === uid ? "done" : new ClusterRefusal("topic-exists", `topic ${topic} exists`);
    });
  }

  /** Removes a topic and all its partitions. */
  async remove(topic: string): Promise<ClusterRefusal | undefined> {
    return this.onTopic(
      topic,
      async (stored) => {
        if (stored.value.change?.kind === "delete") return this.goOn(topic, stored, true);
        const { partitions } = stored.value;
        return this.beginDeletion(topic, stored, { kind: "delete", partitions, firstPrefix: 0 });
      },
      "done",
    );
  }

  /**
   * Changes settings; the controller brings the partitions to another number of replicas.
   *
   * @param changes a function gets the record that they are made to, and is called again if that has changed meanwhile
   */
  async change(
    topic: string,
    changes: TopicSettingsChange | ((record: TopicRecord) => TopicSettingsChange),
  ): Promise<ClusterRefusal | undefined> {
    return this.onTopic(topic, async (stored) => {
      if (stored.value.change !== undefined) return this.goOn(topic, stored, false);
      const made = typeof changes === "function" ? changes(stored.value) : changes;
      const text = SHAPES.topics.write({ ...stored.value, ...made });
      const value = SHAPES.topics.read(text);
      if (value instanceof BadValue) return new ClusterRefusal("invalid", value.message);
      return text === SHAPES.topics.write(stored.value) ? "done" : this.replace(topic, stored, value);
    });
  }

  /** Gives a topic more partitions. Those that it has stay as they are, and so do keys; see TopicRecord.keyPartitions. */
  async expand(topic: string, partitions: number): Promise<ClusterRefusal | undefined> {
    return this.onTopic(topic, async (stored, found) => {
      const { value } = stored;
      if (value.change !== undefined) return this.goOn(topic, stored, false);
      if (partitions < value.partitions)
        return new ClusterRefusal("fewer-partitions", `topic ${topic} has ${value.partitions} partitions; they cannot be made fewer`);
      if (partitions === value.partitions) return "done";
      const record = { ...value, partitions, keyPartitions: value.keyPartitions ?? value.partitions };
      const problem = SHAPES.topics.read(SHAPES.topics.write(record));
      return problem instanceof BadValue
        ? new ClusterRefusal("invalid", problem.message)
        : this.make(topic, record, value.partitions, found, await this.siblings(topic));
    });
  }

  /** Finishes what somebody began and did not end; nothing if there is no such thing. */
  async finish(topic: string): Promise<ClusterRefusal | undefined> {
    return this.onTopic(
      topic,
      async (stored) => (stored.value.change === undefined ? "done" : this.goOn(topic, stored, false, true)),
      "done",
    );
  }

  // ---- steps

  /** Makes partitions from `from` on, at once if they fit into a transaction, or says in the topic that they are being made. */
  private async make(topic: string, record: TopicRecord, from: number, found: Found, siblings?: readonly Placed[]): Promise<Step> {
    const { uid, partitions, replicas } = record;
    const { topic: stored, prefixesRevision, prefixes } = found;
    const count = partitions - from;
    const nextPrefix = firstFree(prefixes, this.givenPrefixes(), count);
    if (nextPrefix + count - 1 > MAX_PREFIX) return new ClusterRefusal("no-prefixes", "all prefixes of message ids are given");
    const places = placeNew(layoutOf(this.view), count, replicas, siblings);
    if (places === undefined) return this.tooFewBrokers(replicas);
    const isAtOnce = count <= PARTITIONS_PER_TXN;
    const change = { kind: from === 0 ? "create" : "expand", partitions, firstPrefix: nextPrefix } as const;
    const put = isAtOnce ? record : { ...record, partitions: from || partitions, change };
    const result = await this.ask(
      [
        { key: this.keys.topic(topic), modRevision: stored?.modRevision ?? 0 },
        { key: this.keys.prefixes, modRevision: prefixesRevision },
      ],
      [
        { put: this.keys.topic(topic), value: SHAPES.topics.write(put) },
        { put: this.keys.prefixes, value: PREFIXES_SHAPE.write({ ...prefixes, next: nextPrefix + count }) },
        ...(isAtOnce ? places.map((place, i) => this.newPartition(topic, from + i, uid, nextPrefix + i, place)) : []),
      ],
      this.keysOf(topic),
    );
    if (result instanceof EtcdError) return "again";
    if (result.succeeded) return isAtOnce ? "done" : "again";
    return new Overtaken(this.foundIn(topic, result.entries));
  }

  /**
   * The next transaction of a change that takes several.
   *
   * @param isOwn its end is what was asked for
   * @param mayGiveUp a topic that cannot be finished is removed
   */
  private async goOn(topic: string, stored: StoredTopic, isOwn: boolean, mayGiveUp = false): Promise<Step> {
    const range = await this.etcd.range(this.keys.partitionsOf(topic));
    const { change } = stored.value;
    if (range instanceof EtcdError || change === undefined) return "again";
    const isEnd =
      change.kind === "delete"
        ? await this.removeSome(topic, stored, range.entries)
        : await this.makeSome(topic, stored, range.entries, mayGiveUp);
    return isEnd === true && isOwn ? "done" : isEnd instanceof ClusterRefusal ? isEnd : "again";
  }

  private async removeSome(topic: string, { modRevision }: StoredTopic, entries: readonly EtcdEntry[]): Promise<boolean> {
    const key = this.keys.topic(topic);
    const isLast = entries.length < MAX_TXN_OPERATIONS;
    const operations: EtcdOperation[] = entries.slice(0, MAX_TXN_OPERATIONS).map((entry) => ({ remove: entry.key }));
    if (isLast) operations.push({ remove: key });
    return (await this.txn([{ key, modRevision }], operations)) && isLast;
  }

  private async makeSome(
    topic: string,
    stored: StoredTopic,
    entries: readonly EtcdEntry[],
    mayGiveUp: boolean,
  ): Promise<boolean | ClusterRefusal> {
    const { value, modRevision } = stored;
    const { change } = value;
    if (change === undefined) return false;
    const key = this.keys.topic(topic);
    const from = change.kind === "create" ? 0 : value.partitions;
    const siblings = this.partitionsIn(entries, value.uid);
    const missing = Array.from({ length: change.partitions - from }, (_, i) => from + i).filter((partition) => !siblings.has(partition));
    if (missing.length === 0) {
      const whole = { ...value, partitions: change.partitions, change: undefined };
      return this.txn([{ key, modRevision }], [{ put: key, value: SHAPES.topics.write(whole) }]);
    }
    const next = missing.slice(0, PARTITIONS_PER_TXN);
    const places = placeNew(layoutOf(this.view), next.length, value.replicas, [...siblings.values()]);
    if (places === undefined && mayGiveUp && change.kind === "create") {
      await this.beginDeletion(topic, stored, { ...change, kind: "delete" });
      return false;
    }
    if (places === undefined) return this.tooFewBrokers(value.replicas);
    const revisions = new Map(entries.map((entry) => [entry.key, entry.modRevision]));
    await this.txn(
      [
        { key, modRevision },
        ...next.map((partition) => {
          const key = this.keys.partition(topic, partition);
          return { key, modRevision: revisions.get(key) ?? 0 };
        }),
      ],
      next.map((partition, i) => this.newPartition(topic, partition, value.uid, change.firstPrefix + partition - from, places[i])),
    );
    return false;
  }

  private newPartition(topic: string, partition: number, uid: string, prefix: number, replicas: readonly string[]): EtcdOperation {
    const record: PartitionRecord = { uid, prefix, replicas, leader: "", epoch: 0, inSync: replicas };
    return { put: this.keys.partition(topic, partition), value: SHAPES.partitions.write(record) };
  }

  /** From now on brokers drop what they have of it; those that are away find it in `deleted` when they come back. */
  private beginDeletion(topic: string, stored: StoredTopic, change: TopicChange): Promise<Step> {
    const { value } = stored;
    const put = this.keys.member("deleted", value.uid);
    return this.replace(topic, stored, { ...value, change }, [{ put, value: SHAPES.deleted.write({ topic }) }]);
  }

  private async replace(
    topic: string,
    { modRevision }: StoredTopic,
    value: TopicRecord,
    more: readonly EtcdOperation[] = [],
  ): Promise<Step> {
    const key = this.keys.topic(topic);
    await this.txn([{ key, modRevision }], [{ put: key, value: SHAPES.topics.write(value) }, ...more]);
    // That it is as it should be is read again, as after an unknown outcome.
    return "again";
  }

  private tooFewBrokers(replicas: number): ClusterRefusal {
    return new ClusterRefusal("too-few-brokers", `${replicas} replicas need as many brokers that are alive and not being removed`);
  }

  // ---- etcd

  /** Repeats a step on a topic that was there at first. @param gone what it means that it is not there any more */
  private async onTopic(
    topic: string,
    step: (stored: StoredTopic, found: Found) => Promise<Step>,
    gone: "done" | undefined = undefined,
  ): Promise<ClusterRefusal | undefined> {
    const unknown = new ClusterRefusal("no-such-topic", `there is no topic ${topic}`);
    if (!isValidName(topic)) return unknown;
    let uid: string | undefined;
    return this.repeat(async (known) => {
      const found = known ?? (await this.read(topic));
      if (found === undefined || found instanceof ClusterRefusal) return found ?? "again";
      if (found.topic === undefined || found.topic.value.uid !== (uid ?? found.topic.value.uid))
        return uid === undefined ? unknown : (gone ?? unknown);
      uid = found.topic.value.uid;
      return step(found.topic, found);
    });
  }

  /** Repeats a step, of which one at a time is made here. */
  private inTurn(step: (known?: Found | ClusterRefusal) => Promise<Step>): Promise<ClusterRefusal | undefined> {
    return this.repeat((known) => {
      const made = this.lastMaking.then(() => step(known));
      this.lastMaking = made.catch(() => {});
      return made;
    });
  }

  /** @param step gets what the one before has found that was overtaken */
  private async repeat(step: (known?: Found | ClusterRefusal) => Promise<Step>): Promise<ClusterRefusal | undefined> {
    const untilMs = this.clock.steadyMs() + LIMIT_MS;
    let known: Found | ClusterRefusal | undefined;
    while (true) {
      const result = await step(known);
      if (result === "done") return undefined;
      if (result instanceof ClusterRefusal) return result;
      if (this.clock.steadyMs() > untilMs) return this.unfinished();
      known = result instanceof Overtaken ? result.found : undefined;
      if (known === undefined) await new Promise<void>((resolve) => this.clock.callAfter(AGAIN_MS * this.random(), resolve));
    }
  }

  private unfinished(): ClusterRefusal {
    const why = this.trouble?.message ?? "others change the same";
    return new ClusterRefusal("unknown-outcome", `it was not done within ${LIMIT_MS / 1_000} s, and may yet happen: ${why}`);
  }

  /** @returns undefined if etcd cannot be read now */
  private async read(topic: string): Promise<Found | ClusterRefusal | undefined> {
    const result = await this.ask([], this.keysOf(topic));
    return result instanceof EtcdError ? undefined : this.foundIn(topic, result.entries);
  }

  private keysOf(topic: string): { readonly get: string }[] {
    return [{ get: this.keys.topic(topic) }, { get: this.keys.prefixes }];
  }

  private foundIn(topic: string, [entry, prefixes]: readonly (EtcdEntry | undefined)[]): Found | ClusterRefusal {
    const value = entry === undefined ? undefined : SHAPES.topics.read(entry.value);
    const counter = prefixes === undefined ? { next: 1, taken: [] } : PREFIXES_SHAPE.read(prefixes.value);
    if (value instanceof BadValue || counter instanceof BadValue)
      return new ClusterRefusal("invalid", `what etcd has for topic ${topic} or for prefixes cannot be read`);
    return {
      topic: entry === undefined || value === undefined ? undefined : { value, modRevision: entry.modRevision },
      prefixesRevision: prefixes?.modRevision ?? 0,
      prefixes: counter,
    };
  }

  private givenPrefixes(): Set<number> {
    return new Set([...this.view.partitions.values()].map(({ value }) => value.prefix));
  }

  private async siblings(topic: string): Promise<Placed[]> {
    const range = await this.etcd.range(this.keys.partitionsOf(topic));
    return range instanceof EtcdError ? [] : [...this.partitionsIn(range.entries).values()];
  }

  private partitionsIn(entries: readonly EtcdEntry[], uid?: string): Map<number, Placed> {
    const found = new Map<number, Placed>();
    for (const { key, value } of entries) {
      const { topic, partition } = topicAndPartition(key.slice(`${this.keys.prefix}partitions/`.length));
      const record = SHAPES.partitions.read(value);
      if (record instanceof BadValue || (uid !== undefined && record.uid !== uid)) continue;
      found.set(partition, placedOf(topic, partition, record));
    }
    return found;
  }

  /** @returns whether it was surely done */
  private async txn(conditions: readonly EtcdCompare[], operations: readonly EtcdOperation[]): Promise<boolean> {
    const result = await this.ask(conditions, operations);
    return !(result instanceof EtcdError) && result.succeeded;
  }

  private async ask(...transaction: Parameters<Etcd["txn"]>): Promise<EtcdTransaction | EtcdError> {
    const result = await this.etcd.txn(...transaction);
    this.trouble = result instanceof EtcdError ? result : undefined;
    return result;
  }

  private newUid(): string {
    return Array.from({ length: 4 }, () => Math.floor(this.random() * 0x10000))
      .map((part) => part.toString(16).padStart(4, "0"))
      .join("");
  }
}
