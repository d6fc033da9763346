import type { Timer } from "../../base/clock.ts";
import { StartError } from "../../base/start-error.ts";
import { withoutDefaults } from "../../broker/storage/metadata/topic-settings.ts";
import type { Topic } from "../../broker/topics/topic.ts";
import type { TopicPartition } from "../../broker/topics/topic-partition.ts";
import type { PartitionOrigin } from "../../broker/topics/topic-plan.ts";
import type { Replication } from "../replication/replication.ts";
import type { ClusterView, Stored, ViewChange } from "../state/cluster-view.ts";
import { type ClusterKeys, topicAndPartition } from "../state/keys.ts";
import type { PartitionRecord, TopicRecord } from "../state/records.ts";
import { MemberPartition } from "./member-partition.ts";
import type { MemberParts } from "./member-parts.ts";
import { ReplicaMemories, StoredMemory } from "./replica-memories.ts";
import { isUsable } from "./routing.ts";

/** What the partitions of a member stand on. */
export interface MemberPartitionsParts extends MemberParts {
  readonly view: ClusterView;
  readonly keys: ClusterKeys;
  /** Called with topics of which this broker leads other partitions than before. */
  readonly onServing: (topics: ReadonlySet<string>) => void;
}

/** For how long a turn may follow records. */
const SLICE_MS = 20;
/** As many partitions of a topic are made in one turn. */
const OPENED_PER_TURN = 10;
const REVIEW_MS = 250;
const REVIEWS_PER_SECOND = 4;

/** A record that names this broker among the replicas. */
interface Wanted {
  readonly index: number;
  readonly stored: Stored<PartitionRecord>;
}

/**
 * The partitions that this broker has of the cluster. It opens those whose records in etcd name its data path, and drops those that name it no
 * more. What it has from earlier runs is not served before its record is known.
 */
export class MemberPartitions {
  /** By `TOPIC/PARTITION`. */
  private readonly byName = new Map<string, MemberPartition>();
  private readonly memories: ReplicaMemories;
  private replication: Replication | undefined;
  private served = new Set<string>();
  /** What earlier runs left was compared with etcd. */
  private isCompared = false;
  /** Topics of which something failed: it is tried again. */
  private readonly failed = new Set<string>();
  /** Topics of which records have changed. */
  private readonly changedTopics = new Set<string>();
  /** They are looked at in the next turn. */
  private isAsked = false;
  private isClosed = false;
  private isTrusted = true;
  private reviews = 0;
  private timer: Timer | undefined;

  constructor(private readonly parts: MemberPartitionsParts) {
    const { broker, clock, errors } = parts;
    this.memories = new ReplicaMemories(broker.metadata, clock, errors);
    const earlier = [...broker.registry.partitions].flatMap((partition) => {
      const memory = this.memoryOfEarlier(partition);
      return memory === undefined ? [] : [{ partition, memory }];
    });
    this.noteLosses(earlier);
    for (const { partition, memory } of earlier) this.add(partition, memory);
  }

  /** What this start has found the next one may not find. */
  private noteLosses(earlier: readonly { readonly partition: TopicPartition; readonly memory: StoredMemory }[]): void {
    const lossy = earlier.filter(({ partition, memory }) => memory.isWhole && this.mayLack(partition));
    try {
      this.memories.ceaseToBeWhole(lossy.map(({ memory }) => memory));
    } catch (error) {
      throw new StartError(`cannot note that replicas may have lost messages: ${(error as Error).message}`);
    }
  }

  /** Whether this broker leads a partition, and takes publishes to it. @param name `TOPIC/PARTITION` */
  isServing(name: string): boolean {
    return this.byName.get(name)?.replicated.isServing === true;
  }

  /**
   * This data path is an older copy of itself: none of its replicas may lead before it has caught up. That is on the disk when this returns.
   *
   * @throws what the metadata store throws
   */
  distrust(): void {
    this.isTrusted = false;
    const memories = [...this.byName.values()].map(({ memory }) => memory);
    for (const memory of memories) memory.isWhole = false;
    this.memories.save(memories);
  }

  /** Follows the records from now on. */
  start(replication: Replication): void {
    this.replication = replication;
    this.parts.view.listen((changes) => this.changed(changes));
    this.review();
  }

  /** Follows no records any more. */
  close(): void {
    this.isClosed = true;
    this.changedTopics.clear();
    this.memories.close();
    if (this.timer !== undefined) this.parts.clock.cancel(this.timer);
  }

  /** The epochs of many partitions are saved together, before each of them hears of its own. @throws what the metadata store throws */
  saveEpochs(epochs: ReadonlyMap<object, number>): void {
    const stored = [...epochs].flatMap(([memory, epoch]): [StoredMemory, number][] =>
      memory instanceof StoredMemory ? [[memory, epoch]] : [],
    );
    this.memories.saveEpochs(new Map(stored));
  }

  private review(): void {
    this.timer = this.parts.clock.callAfter(REVIEW_MS, () => this.review());
    for (const partition of this.byName.values()) partition.obey();
    if (++this.reviews % REVIEWS_PER_SECOND !== 0) return;
    for (const partition of this.byName.values()) partition.trim();
    for (const topic of this.failed) this.changedTopics.add(topic);
    this.failed.clear();
    if (this.changedTopics.size > 0) this.reconcileLater();
    const { states, errors } = this.parts;
    states.review((failure) => {
      if (failure !== undefined) errors.error(`CLUSTER: cannot tidy what it has of channels: ${failure.message}`);
    });
  }

  // ---- earlier runs

  /** What is remembered of a partition of an earlier run; undefined: it is this broker's alone. */
  private memoryOfEarlier({ id, ephemeral, log }: TopicPartition): StoredMemory | undefined {
    const epoch = log.files?.epoch ?? 0;
    const row = this.memories.earlier(id) ?? (epoch > 0 ? { topicId: id, uid: "", epoch, isWhole: false } : undefined);
    return row === undefined || ephemeral ? undefined : this.memories.of({ ...row, epoch: Math.max(row.epoch, epoch) });
  }

  /** Whether its log may lack what the run before had told others. */
  private mayLack({ id, fsync, name, log }: TopicPartition): boolean {
    const { states, broker } = this.parts;
    const { notes, registry } = broker;
    // The kernel still has what a process wrote that was killed.
    const isWritten = (notes.lastRun === "clean" || notes.lastRun === "killed") && this.memories.earlier(id)?.wasCut !== true;
    const isKept = fsync || isWritten;
    const isLost = log.files?.isNew === true || (log.files?.syncs.savedSequence ?? 0) > log.next;
    return !isKept || isLost || registry.corruptRegionsIn(name) > 0 || log.files?.isSound === false || states.damaged.has(log.prefix);
  }

  private add(partition: TopicPartition, memory: StoredMemory): MemberPartition {
    const added = new MemberPartition(this.parts, partition, memory, (changed) => this.servingChanged(changed));
    this.byName.set(added.name, added);
    return added;
  }

  private servingChanged({ partition }: MemberPartition): void {
    // Whoever hears of it may publish at once, which is possible when the change is over.
    if (this.served.size === 0)
      this.parts.clock.callAfterTurn(() => {
        const { served } = this;
        this.served = new Set();
        this.parts.onServing(served);
      });
    this.served.add(partition.topic.name);
  }

  // ---- records

  private changed(changes: readonly ViewChange[]): void {
    if (this.isClosed) return;
    const topics = new Set<string>();
    if (!this.isCompared) for (const { partition } of this.byName.values()) topics.add(partition.topic.name);
    this.isCompared = true;
    for (const { kind, name, after } of changes) {
      if (kind === "topics") topics.add(name);
      else if (kind === "partitions") topics.add(topicAndPartition(name).topic);
      else if (kind === "deleted" && after !== undefined) topics.add(after.value.topic);
    }
    this.saveEpochsOf(changes);
    for (const topic of topics) this.changedTopics.add(topic);
    if (!this.isAsked) this.reconcileChanged();
  }

  /** Some in each turn: other brokers must not take this one for dead. */
  private reconcileChanged(): void {
    const { clock } = this.parts;
    this.isAsked = false;
    const untilMs = clock.steadyMs() + SLICE_MS;
    for (const topic of this.changedTopics) {
      this.changedTopics.delete(topic);
      this.attempt(topic, () => this.reconcile(topic));
      if (clock.steadyMs() >= untilMs) break;
    }
    if (this.changedTopics.size > 0) this.reconcileLater();
  }

  private reconcileLater(): void {
    if (this.isAsked || this.isClosed) return;
    this.isAsked = true;
    this.parts.clock.callAfterTurn(() => this.reconcileChanged());
  }

  private saveEpochsOf(changes: readonly ViewChange[]): void {
    const epochs = new Map<StoredMemory, number>();
    for (const { kind, name, after } of changes) {
      if (kind !== "partitions" || after === undefined) continue;
      const known = this.byName.get(name);
      if (known !== undefined && known.number === after.value.prefix) epochs.set(known.memory, after.value.epoch);
    }
    this.trySaveEpochs(epochs);
  }

  private trySaveEpochs(epochs: ReadonlyMap<StoredMemory, number>): void {
    try {
      this.memories.saveEpochs(epochs);
    } catch (error) {
      // Each replica saves its own.
      this.parts.errors.error(`CLUSTER: epochs cannot be saved: ${(error as Error).message}`);
    }
  }

  /** Whatever fails for one topic must not keep the others from what they need. It is tried again. */
  private attempt(topic: string, action: () => void): void {
    try {
      action();
    } catch (error) {
      this.failed.add(topic);
      this.parts.errors.error(`CLUSTER: topic ${topic}: ${(error as Error).message}`);
    }
  }

  /** Brings what this broker has of a topic to what its records say. */
  private reconcile(name: string): void {
    const { view, broker } = this.parts;
    this.drop(
      name,
      this.ofTopic(name).filter(({ memory }) => view.deleted.has(memory.uid)),
    );
    const record = view.topics.get(name)?.value;
    const isOthers = (uid: string) => record === undefined || (uid !== "" && uid !== record.uid);
    const kept = this.ofTopic(name).filter(({ memory }) => isOthers(memory.uid));
    if (kept.length > 0) return this.keep(kept);
    if (record === undefined || !isUsable(record)) return;
    const wanted = this.wanted(name, record);
    this.dropMoved(name, record, wanted);
    this.open(name, record, wanted);
    const topic = broker.registry.topics.get(name);
    if (topic !== undefined) this.applySettings(topic, record);
    const here = wanted.flatMap(({ index, stored }) => {
      const known = this.known(name, index);
      return known === undefined ? [] : [{ known, stored }];
    });
    this.trySaveEpochs(new Map(here.map(({ known, stored }) => [known.memory, stored.value.epoch])));
    for (const { known, stored } of here) {
      known.apply(record);
      this.begin(known).onRecord(stored);
    }
  }

  private wanted(name: string, record: TopicRecord): Wanted[] {
    const { view, uid } = this.parts;
    const wanted: Wanted[] = [];
    for (let index = 0; index < record.partitions; index++) {
      const stored = view.partitions.get(`${name}/${index}`);
      if (stored?.value.uid === record.uid && stored.value.replicas.includes(uid)) wanted.push({ index, stored });
    }
    return wanted;
  }

  /**
   * Etcd does not have this topic, or another one of its name, and does not say that it was deleted. It may have been lost there, or be an
   * older copy. What this broker has of it is not served, and stays on the disk.
   */
  private keep(kept: readonly MemberPartition[]): void {
    for (const { number } of kept) this.replication?.remove(number);
    const [{ memory }] = kept;
    throw new Error(
      `etcd does not have the topic ${memory.uid} that this broker has messages of, and does not say that it was deleted; they are kept, and not served`,
    );
  }

  private begin(known: MemberPartition) {
    const { replication } = this;
    if (replication === undefined) throw new Error("replication has not begun");
    const running = replication.replica(known.number);
    if (running !== undefined) return running;
    const { topic, index } = known.partition;
    const replica = replication.add(known.replicaParts(this.parts.keys.partition(topic.name, index)));
    known.begin(replica);
    return replica;
  }

  // ---- opening

  /** Opens the partitions that this broker does not have. */
  private open(name: string, record: TopicRecord, wanted: readonly Wanted[]): void {
    const { registry } = this.parts.broker;
    const unknown = wanted.filter(({ index, stored }) => !this.isKnown(name, index, record, stored.value));
    if (unknown.length === 0) return;
    const missing = unknown.slice(0, OPENED_PER_TURN);
    if (missing.length < unknown.length) this.changedTopics.add(name);
    const origins = new Map(missing.map(({ index, stored }) => [index, originOf(stored.value)]));
    const held = missing.map(({ index }) => index);
    registry.topicWith(name, record.partitions, { held, ...settingsOf(record) }, origins);
    const added: MemberPartition[] = [];
    for (const { index, stored } of missing) {
      const partition = registry.topics.get(name)?.partition(index);
      if (partition === undefined) throw new Error(`partition ${index} was not made`);
      // Nobody has anything yet, or this broker gets it from others.
      const { epoch } = stored.value;
      added.push(this.add(partition, this.memories.of({ topicId: partition.id, uid: record.uid, epoch, isWhole: epoch === 0 })));
    }
    this.memories.save(added.map(({ memory }) => memory));
  }

  /** Whether this broker has a partition. One that it had alone becomes a replica, if its record was made for that. */
  private isKnown(name: string, index: number, record: TopicRecord, { prefix, inSync }: PartitionRecord): boolean {
    if (this.known(name, index) !== undefined) return true;
    const { registry } = this.parts.broker;
    const partition = registry.topics.get(name)?.partition(index);
    if (partition === undefined) return false;
    const isMadeAnew = partition.log.startSequence === partition.log.next && this.ofTopic(name).length > 0;
    if (partition.log.prefix !== prefix && isMadeAnew) {
      // The start has put it in the place of one whose files were lost.
      registry.dropPartitions(partition.topic, [partition]);
      return false;
    }
    // Another broker's topic may have the same prefix. The one that a record was made for is in sync.
    const isOthers = partition.log.startSequence < partition.log.next && !inSync.includes(this.parts.uid);
    if (partition.log.prefix !== prefix || isOthers)
      throw new Error(`this broker has a topic of its own with this name; empty and delete it here, or give it replicas`);
    const memory = this.memories.of({ topicId: partition.id, uid: record.uid, epoch: 0, isWhole: this.isTrusted });
    this.memories.save([memory]);
    this.add(partition, memory);
    return true;
  }

  private applySettings(topic: Topic, record: TopicRecord): void {
    const { partitions, keyPartitions, durability, retentionMs, retentionBytes, paused } = record;
    topic.keyPartitions = keyPartitions;
    const wanted = settingsOf(record);
    const now = { ...topic.settings, ...wanted, partitions: Math.max(topic.settings.partitions, partitions) };
    if (!Bun.deepEquals(withoutDefaults(now), withoutDefaults(topic.settings)))
      this.parts.broker.registry.topicWith(topic.name, partitions, { held: topic.partitions.map(({ index }) => index), ...wanted });
    if (topic.durability !== durability) topic.setDurability(durability);
    const { own, timeMs, bytes } = topic.retention;
    const isKeeping = retentionMs > 0 || retentionBytes > 0;
    if (isKeeping && !(own && timeMs === retentionMs && bytes === retentionBytes))
      topic.setRetention({ timeMs: retentionMs, bytes: retentionBytes });
    else if (!isKeeping && own) topic.setRetention(undefined);
    if (paused !== topic.paused) {
      if (paused) topic.pause();
      else topic.unpause();
    }
  }

  // ---- dropping

  /** Drops the partitions of a topic that other brokers have instead. */
  private dropMoved(name: string, record: TopicRecord, wanted: readonly Wanted[]): void {
    const { view, errors } = this.parts;
    const moved = this.ofTopic(name).filter(({ partition, memory, number }) => {
      const { value: stored, modRevision = 0 } = view.partitions.get(`${name}/${partition.index}`) ?? {};
      if (stored?.uid !== record.uid || stored.prefix !== number || wanted.some(({ index }) => index === partition.index)) return false;
      // An answer of etcd has told its replica of a newer record than was heard here: it was added again, and others may rely on it.
      if ((this.replication?.replica(number)?.stored?.modRevision ?? 0) > modRevision) return false;
      if (stored.epoch >= memory.epoch) return true;
      errors.error(
        `CLUSTER: ${name}/${partition.index}: etcd has epoch ${stored.epoch}, and this broker epoch ${memory.epoch}: it was set back. What this broker has is kept`,
      );
      return false;
    });
    this.drop(name, moved);
  }

  private drop(name: string, dropped: readonly MemberPartition[]): void {
    if (dropped.length === 0) return;
    const { registry, logger } = this.parts.broker;
    const topic = registry.topics.get(name);
    for (const { number } of dropped) this.replication?.remove(number);
    logger.info(`TOPIC(${name}): this broker has partitions no more: ${dropped.map(({ partition }) => partition.index).join(", ")}`, {
      topic: name,
    });
    if (topic !== undefined)
      registry.dropPartitions(
        topic,
        dropped.map(({ partition }) => partition),
      );
    for (const one of dropped) this.forget(one);
  }

  private ofTopic(name: string): MemberPartition[] {
    const partitions = this.parts.broker.registry.topics.get(name)?.partitions ?? [];
    return partitions.flatMap(({ index }) => this.known(name, index) ?? []);
  }

  private known(topic: string, index: number): MemberPartition | undefined {
    const known = this.byName.get(`${topic}/${index}`);
    if (known?.partition.deleted !== true) return known;
    // An operator has deleted it here.
    this.forget(known);
    return undefined;
  }

  private forget({ name, number }: MemberPartition): void {
    this.replication?.remove(number);
    this.byName.delete(name);
    this.parts.states.remove(number);
  }
}

/** What a topic's record says of its settings. */
function settingsOf({ ordered, multiPart = false, extended, fixedChannels = false, channelOrder = "none" }: TopicRecord) {
  return { ordered, multiPart, ...(extended !== undefined && { extended }), fixedChannels, channelOrder };
}

/** All replicas of a new partition begin with the same sequence. */
function originOf({ prefix }: PartitionRecord): PartitionOrigin {
  return { prefix, firstSequence: 0, firstPosition: 0 };
}
