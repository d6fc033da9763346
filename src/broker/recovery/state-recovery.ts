import type { Logger } from "../../base/logger.ts";
import type { DeferredStore } from "../storage/deferred/deferred-store.ts";
import { type EntryHeader, KIND_PUBLISH, type ScannedEntry } from "../storage/deferred/entry.ts";
import type { EntryOwner, StagedEntries } from "../storage/deferred/staged-entries.ts";
import type { Ballast } from "../storage/disk/ballast.ts";
import type { MetadataStore } from "../storage/metadata/metadata-store.ts";
import type { ChannelRow } from "../storage/metadata/rows.ts";
import type { ChannelPartition } from "../topics/channel/channel-partition.ts";
import { channelRow } from "../topics/channel/channel-row.ts";
import { decodeProgress } from "../topics/channel/progress.ts";
import { PartitionState } from "../topics/partition-state.ts";
import {
  type ChannelState,
  type DeferredState,
  decodeChannel,
  decodeDeferred,
  decodeJoining,
  decodeTopic,
} from "../topics/state-format.ts";
import { CHANNEL_KEY, DEFERRED_KEY, JOINING_KEY, placeText, SETTINGS_KEY, type StateValues, TOPIC_KEY } from "../topics/state-values.ts";
import type { TopicPartition } from "../topics/topic-partition.ts";
import type { TopicRegistry } from "../topics/topic-registry.ts";
import type { Turn } from "../topics/turn.ts";
import { restoreChannel } from "./channel-recovery.ts";
import { isAnother } from "./deferred-recovery.ts";

export interface StateRecoveryParts {
  readonly metadata: MetadataStore;
  readonly deferred: DeferredStore;
  readonly logger: Logger;
  readonly ballast: Ballast;
  readonly registry: TopicRegistry;
  readonly turn: Turn & { toWall(atMs: number): number };
}

/** An entry that is to be in the deferred store. */
interface Kept {
  readonly place: number;
  readonly entry: DeferredState;
}

/** Builds the channels and the deferred messages of a partition from what went along with its messages at the broker that led it before. */
export class StateRecovery implements EntryOwner {
  /** What is here of the deferred store may be lost with this disk: other brokers have it. */
  readonly waitsForSync = false;
  private readonly state: PartitionState;

  constructor(
    private readonly parts: StateRecoveryParts,
    private readonly partition: TopicPartition,
    private readonly values: StateValues,
  ) {
    this.state = new PartitionState(partition, values, this.nextPlace(), parts.turn);
  }

  /** Whether no broker has led the partition that kept a state: what is in this broker's own stores is all there is. */
  get isNew(): boolean {
    return this.values.get(TOPIC_KEY) === undefined;
  }

  /** From here on, what changes goes to other brokers. */
  begin(): void {
    const [replicated] = this.partition.replicated ?? [];
    if (replicated !== undefined) replicated.state = this.state;
  }

  private save(): void {
    const { paused, released, deferredPublishes } = this.partition;
    this.state.saveTopic({ paused, released, heldFrom: deferredPublishes.heldFrom });
  }

  /** The place behind all entries, and behind all that channels name. */
  private nextPlace(): number {
    const places = [...this.values.keys(DEFERRED_KEY)].map(placeOf);
    const bounds = this.channels().flatMap(([, { voidBefore, requeuesVoidBefore }]) => [voidBefore, requeuesVoidBefore]);
    const { heldFrom = 0 } = decodeTopic(this.values.get(TOPIC_KEY)) ?? {};
    return Math.max(
      (places.at(-1) ?? 0) + 1,
      heldFrom,
      bounds.reduce((highest, bound) => Math.max(highest, bound), 1),
    );
  }

  private channels(): [string, ChannelState][] {
    return [...this.values.keys(CHANNEL_KEY)].flatMap((key): [string, ChannelState][] => {
      const channel = this.read(key, decodeChannel);
      return channel === undefined ? [] : [[key.slice(CHANNEL_KEY.length), channel]];
    });
  }

  /** Where channels go on. */
  floors(): number[] {
    const { released = 0 } = decodeTopic(this.values.get(TOPIC_KEY)) ?? {};
    return [released, ...this.channels().map(([, { floor }]) => floor)];
  }

  private read<T>(key: string, decode: (value: Buffer) => T): T | undefined {
    const value = this.values.get(key);
    if (value === undefined) return undefined;
    try {
      return decode(value);
    } catch (error) {
      this.parts.logger.error(`TOPIC(${this.partition.name}): ${key}, which another broker sent, is not used: ${(error as Error).message}`);
      return undefined;
    }
  }

  // ---- from the state of other brokers

  /** Puts the channels, and what is deferred, in the place of what this broker's own stores have of the partition. */
  restore(): void {
    const { deferred } = this.parts;
    const { partition } = this;
    const channels = this.channels();
    const kept = this.keptEntries(new Set(channels.map(([name]) => name)));
    partition.deferredPublishes.forgetAll();
    const first = deferred.nextNumber;
    const numberOf = (bound: number) => {
      const index = kept.findIndex(({ place }) => place >= bound);
      return first + (index < 0 ? kept.length : index);
    };
    this.restoreTopic(channels, numberOf);
    const rows = this.rowsOf(channels, numberOf);
    // First the entries: the numbers that rows name are theirs.
    const ids = new Map(rows.map(({ name, id }) => [name, id]));
    for (const one of kept) this.stage(one, ids.get(one.entry.channel) ?? 0);
    const ahead: string[] = [];
    for (const row of rows) restoreChannel(this.parts, this.parts.registry, partition, row, () => ahead.push(row.name));
    for (const name of ahead) this.goBack(name);
    for (const { entry } of kept) this.skip(entry);
    this.save();
    this.parts.turn.schedule();
  }

  /** The log lacks messages that a channel has had. Others get their sequences, which whoever leads next must not take for finished. */
  private goBack(channel: string): void {
    const part = this.partition.channels.get(channel);
    if (part === undefined) return;
    this.state.saveChannel(channelRow(part));
    part.markUnsaved();
  }

  private restoreTopic(channels: readonly [string, ChannelState][], numberOf: (bound: number) => number): void {
    const { partition } = this;
    const { log } = partition;
    const { paused = false, released = log.startSequence, heldFrom = 0 } = decodeTopic(this.values.get(TOPIC_KEY)) ?? {};
    partition.paused = paused;
    // What channels had was released by the leader before: replicas have it.
    const had = channels.reduce((highest, [, channel]) => Math.max(highest, reachOf(channel)), log.startSequence);
    partition.releasable = Math.max(partition.releasable, Math.min(had, log.next));
    partition.restoreReleased(released, channels.length > 0);
    partition.deferredPublishes.restoreHeld(numberOf(heldFrom));
  }

  /** Makes the rows of channels in the metadata store, in the place of those that are there. What those had in the deferred store is void then. */
  private rowsOf(channels: readonly [string, ChannelState][], numberOf: (bound: number) => number): ChannelRow[] {
    const { metadata, ballast, registry, logger } = this.parts;
    const { id: topicId, name: of, topic } = this.partition;
    const rows = channels.map(([name, { paused, floor, progress, ...bounds }]) => {
      const [voidBefore, requeuesVoidBefore] = [numberOf(bounds.voidBefore), numberOf(bounds.requeuesVoidBefore)];
      return { id: 0, topicId, name, paused, floor, progress, voidBefore, requeuesVoidBefore };
    });
    const save = () =>
      metadata.saveAll(() => {
        metadata.removeChannels(metadata.channels(topicId).map(({ id }) => id));
        for (const row of rows) {
          [row.id] = metadata.addChannels(row.name, [row]);
          metadata.updateChannel(row);
          const settings = this.values.get(SETTINGS_KEY + row.name)?.toString();
          if (settings === undefined) metadata.channelSettings.remove(topic.name, row.name);
          else metadata.channelSettings.save(topic.name, row.name, settings);
        }
      });
    try {
      ballast.use(save);
    } catch (error) {
      // Other brokers have them. They are saved here when this one takes the partition over again.
      logger.error(`TOPIC(${of}): cannot save its channels: ${(error as Error).message}`);
      for (const row of rows) row.id = registry.newMemoryId();
    }
    return rows;
  }

  /** Entries of channels that are there, and publishes that have not joined the log. */
  private keptEntries(channels: ReadonlySet<string>): Kept[] {
    const kept: Kept[] = [];
    for (const key of [...this.values.keys(DEFERRED_KEY)]) {
      const place = placeOf(key);
      const entry = this.read(key, decodeDeferred);
      if (entry === undefined) continue;
      const isGone = entry.channel === "" ? this.hasJoined(place, entry) : !channels.has(entry.channel);
      if (!isGone) kept.push({ place, entry });
      else for (const prefix of [DEFERRED_KEY, JOINING_KEY]) this.values.set(prefix + placeText(place), undefined);
    }
    return kept;
  }

  /** Whether the log has a publish that was about to join it. */
  private hasJoined(place: number, { frame }: DeferredState): boolean {
    const sequence = decodeJoining(this.values.get(JOINING_KEY + placeText(place)));
    if (sequence === undefined) return false;
    const { log } = this.partition;
    return sequence < log.startSequence || (sequence < log.committedNext && !isAnother(log, sequence, frame, 0, frame.length));
  }

  /** A message in the deferred store must not be delivered from the log as well. */
  private skip({ channel: name, sequence }: DeferredState): void {
    const channel = this.partition.channels.get(name);
    if (channel !== undefined && sequence >= channel.floor) channel.backlog.skip(sequence, sequence + 1);
  }

  /** @param channelId 0: it is a publish */
  private stage({ place, entry }: Kept, channelId: number): void {
    const { deferred, turn } = this.parts;
    const { kind, attempts, sequence, frame } = entry;
    const dueMs = entry.dueMs - turn.toWall(0);
    const header: EntryHeader = { kind, attempts, sequence, dueMs, channelId, topicId: kind === KIND_PUBLISH ? this.partition.id : 0 };
    this.state.adopt(deferred.nextNumber, place);
    deferred.writer.stage(this, header, frame, 0, frame.length, false);
  }

  /** The deferred store has one of them. */
  stored(staged: StagedEntries, at: number, error: Error | undefined): void {
    const { deferred, logger, registry, turn } = this.parts;
    const { name, deferredPublishes } = this.partition;
    if (error !== undefined)
      return logger.error(`TOPIC(${name}): cannot store a deferred message of the leader before: ${error.message}; the next leader has it`);
    const { topicId, channelId } = staged.ownerOf(at);
    if (channelId !== 0) {
      const channel = registry.channelPartitions.get(channelId);
      if (channel === undefined) return deferred.finish(staged.message(at));
      channel.deferrals.storedCount++;
    } else if (registry.partitionById(topicId) === undefined) return deferred.finish(staged.message(at));
    else deferredPublishes.restore(staged.number[at]);
    deferred.deliverStagedWhenDue(staged, at);
    turn.wakeAt(staged.dueMs[at]);
  }

  // ---- from this broker's own stores

  /** Puts what this broker has of the partition into the state: it was here alone before. */
  share(): void {
    const entries: { readonly number: number; readonly add: () => void }[] = [];
    this.parts.deferred.revisitRecovered((entry) => {
      const channel = this.parts.registry.channelPartitions.get(entry.channelId);
      if (!this.isOwn(entry, channel)) return;
      const { number, page, frameAt, frameBytes } = entry;
      const frame = Buffer.from(page.subarray(frameAt, frameAt + frameBytes));
      const header = { ...entry };
      entries.push({ number, add: () => this.state.stage(header, number, channel?.name ?? "", frame, 0, frame.length) });
    });
    for (const { number, add } of entries.sort((a, b) => a.number - b.number)) {
      add();
      this.state.told(number, false);
    }
    for (const part of this.partition.channels.values()) {
      if (!part.persistent) continue;
      part.channel.shareSettings([part]);
      this.state.saveChannel(channelRow(part));
    }
    this.save();
  }

  private isOwn(entry: ScannedEntry, channel: ChannelPartition | undefined): boolean {
    const isOurs = entry.kind === KIND_PUBLISH ? entry.topicId === this.partition.id : channel?.partition === this.partition;
    return isOurs && this.parts.registry.deferredTarget.wanted(entry);
  }
}

function placeOf(key: string): number {
  return Number(key.slice(key.indexOf("/") + 1));
}

/** All that a channel was given is below this. */
function reachOf({ floor, progress }: ChannelState): number {
  try {
    return Math.max(floor, decodeProgress(progress, floor).tried.at(-1)?.to ?? 0);
  } catch {
    return floor;
  }
}
