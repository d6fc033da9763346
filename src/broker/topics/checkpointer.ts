import type { Clock } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import type { RateLimitedLog } from "../../base/rate-limited-log.ts";
import type { Ballast } from "../storage/disk/ballast.ts";
import type { FreeSpace } from "../storage/disk/free-space.ts";
import type { MetadataStore } from "../storage/metadata/metadata-store.ts";
import type { ChannelRow, TopicRow } from "../storage/metadata/rows.ts";
import type { SavedProgress } from "../storage/metadata/synced-progress.ts";
import type { ChannelPartition } from "./channel/channel-partition.ts";
import { ChannelRowSteps, channelRow } from "./channel/channel-row.ts";
import type { UnsyncedMoves } from "./channel/unsynced-moves.ts";
import { OperatorError } from "./operator-error.ts";
import type { PartitionState } from "./partition-state.ts";
import type { TopicPartition } from "./topic-partition.ts";
import type { Turn } from "./turn.ts";

/** Cursors that move are saved this often. A message that was finished earlier is not delivered again after a crash. */
const SAVE_INTERVAL_MS = 50;
/** Saves follow each other at least this often, however long one takes. */
const LONGEST_SAVE_INTERVAL_MS = 150;
/** How often it is noted how far the logs are synced. */
const SAVE_SYNCED_INTERVAL_MS = 1000;
/** The wall clock was set, rather than drifted, when it moved by more than this. */
const SAVED_STEP_MS = 100;

/** How a partition will be. */
export interface PartitionChange {
  readonly partition: TopicPartition;
  /** What will be different. */
  readonly changes: Partial<TopicRow>;
  /** The first deferred publish that the next channel will get; undefined: as it is. */
  readonly heldFrom?: number;
  /** The rows of its channels that will be different. */
  readonly channels?: () => ChannelRow[];
}

/** What a checkpointer works with. */
export interface CheckpointerParts {
  readonly metadata: MetadataStore;
  readonly ballast: Ballast;
  readonly freeSpace: Pick<FreeSpace, "failed">;
  readonly clock: Pick<Clock, "steadyMs">;
  readonly turn: Pick<Turn, "nowMs" | "steadyMs" | "wakeAt">;
  readonly logger: Logger;
  readonly rateLimitedLog: RateLimitedLog;
}

/**
 * Saves to the metadata store what changes while the broker runs: topics, the cursors of channels, how far logs are on the
 * disk, and by how much the wall clock was set. While the store cannot be written (a full disk), the broker is unhealthy, and
 * everything stays in memory until it can.
 */
export class Checkpointer {
  /** Why the last save failed; undefined if it did not. */
  failure: Error | undefined;

  private unsaved: ChannelPartition[] = [];
  /** Those whose progress is large. They are saved one after the other, each in steps of a turn. */
  private large: ChannelPartition[] = [];
  private steps: ChannelRowSteps | undefined;
  /** Rows that are about to be saved, and that other brokers get then. */
  private readonly noted: { readonly state: PartitionState; readonly row: ChannelRow }[] = [];
  /** Channels that have moved messages to entries which no sync has covered yet. */
  private readonly moves = new Set<UnsyncedMoves>();
  /** Those that the sync under way covers. If a channel's row rests on such entries: what the row said when the sync began. */
  private readonly beingSynced = new Map<UnsyncedMoves, SavedProgress | undefined>();
  private nextSaveMs = 0;
  private nextSyncedMs = 0;
  /** By how much the wall clock was set, as the metadata store has it. */
  private savedStepMs: number;

  /** @param directory the broker's folder below the data path */
  constructor(
    private readonly parts: CheckpointerParts,
    private readonly directory: string,
  ) {
    this.savedStepMs = parts.metadata.clockStep();
  }

  /** Saves a partition now, unless it is ephemeral. */
  savePartition(partition: TopicPartition): void {
    if (!partition.ephemeral) this.save(() => this.saveRow(partition));
    stateOf(partition)?.saveTopic({ ...partitionRow(partition), heldFrom: partition.deferredPublishes.heldFrom });
  }

  private saveRow(partition: TopicPartition): void {
    const { metadata } = this.parts;
    metadata.updateTopic(partitionRow(partition));
    metadata.saveHeld(partition.id, partition.deferredPublishes.heldFrom);
  }

  /** Saves a channel's cursor now. @returns why it could not be saved */
  saveChannel(channel: ChannelPartition): Error | undefined {
    if (!channel.persistent) return undefined;
    this.endSteps(channel);
    const row = channelRow(channel);
    const failure = this.save(() => this.parts.metadata.updateChannel(row));
    if (failure === undefined) stateOf(channel.partition)?.saveChannel(row);
    return failure;
  }

  /** Saves partitions as they will be, all or none, for a call that is carried out only if that succeeds. @throws OperatorError NOT_STORED */
  storePartitions(changes: readonly PartitionChange[]): void {
    const persistent = changes.filter(({ partition }) => !partition.ephemeral);
    if (persistent.length === 0) return;
    for (const { partition } of persistent) for (const channel of partition.channels.values()) this.endSteps(channel);
    const { metadata } = this.parts;
    const saved = persistent.map(({ partition, changes, heldFrom, channels }) => ({
      partition,
      row: { ...partitionRow(partition), ...changes },
      heldFrom: heldFrom ?? partition.deferredPublishes.heldFrom,
      channels: channels?.() ?? [],
    }));
    this.store(() =>
      metadata.saveAll(() => {
        for (const { partition, row, heldFrom, channels } of saved) {
          metadata.updateTopic(row);
          metadata.saveHeld(partition.id, heldFrom);
          for (const channel of channels) metadata.updateChannel(channel);
        }
      }),
    );
    for (const { partition, row, heldFrom, channels } of saved) {
      stateOf(partition)?.saveTopic({ ...row, heldFrom });
      for (const channel of channels) stateOf(partition)?.saveChannel(channel);
    }
  }

  /** Saves what a channel has of its partitions as it will be, in the same way. @throws OperatorError NOT_STORED */
  storeChannels(channels: readonly ChannelPartition[], changesOf: (channel: ChannelPartition) => Partial<ChannelRow>): void {
    const persistent = channels.filter((channel) => channel.persistent);
    if (persistent.length === 0) return;
    for (const channel of persistent) this.endSteps(channel);
    const { metadata } = this.parts;
    const rows = persistent.map((channel) => ({ ...channelRow(channel), ...changesOf(channel) }));
    this.store(() =>
      metadata.saveAll(() => {
        for (const row of rows) metadata.updateChannel(row);
      }),
    );
    for (const [i, { partition }] of persistent.entries()) stateOf(partition)?.saveChannel(rows[i]);
  }

  /** Makes changes of settings, all or none, and syncs them, for a call that is carried out only if that succeeds. @throws OperatorError NOT_STORED */
  storeSynced(work: () => void): void {
    this.store(() => this.parts.metadata.changeAll(work, true));
  }

  private store(work: () => void): void {
    if (this.save(work) !== undefined) throw new OperatorError("NOT_STORED");
  }

  /** Has a channel whose cursor moved saved within LONGEST_SAVE_INTERVAL_MS. */
  addUnsaved(channel: ChannelPartition): void {
    channel.unsaved = true;
    this.unsaved.push(channel);
    const { turn } = this.parts;
    turn.wakeAt(Math.max(this.nextSaveMs, turn.nowMs + SAVE_INTERVAL_MS));
  }

  /** Saves the cursors that moved, if it is time. @returns when to call again, ms; Infinity if no cursor waits to be saved */
  saveCursors(nowMs: number): number {
    if (this.unsaved.length > 0 && nowMs >= this.nextSaveMs) this.saveUnsaved(nowMs);
    else this.saveLarge();
    if (this.steps !== undefined || this.large.length > 0) return nowMs;
    return this.unsaved.length > 0 ? this.nextSaveMs : Number.POSITIVE_INFINITY;
  }

  /** A row of the channel that was begun must not replace one that is saved now. It is begun again. */
  private endSteps(channel: ChannelPartition): void {
    if (this.steps?.channel !== channel) return;
    this.steps = undefined;
    channel.markUnsaved();
  }

  /** Does one step of saving a channel whose progress is large. */
  private saveLarge(): void {
    if (this.steps === undefined) {
      const channel = this.large.shift();
      if (channel === undefined || channel.deleted) return;
      // What changes from here on is saved the next time.
      channel.unsaved = false;
      this.steps = new ChannelRowSteps(channel);
    }
    const { channel, isVoid } = this.steps;
    const row = isVoid ? undefined : this.steps.step();
    if (row === undefined && !isVoid) return;
    this.steps = undefined;
    const failure = row === undefined ? undefined : this.save(() => this.parts.metadata.updateChannel(row));
    if (row !== undefined && failure === undefined) stateOf(channel.partition)?.saveChannel(row);
    if ((isVoid || failure !== undefined) && !channel.deleted) channel.markUnsaved();
  }

  private saveUnsaved(nowMs: number): void {
    const { clock, metadata } = this.parts;
    const channels: ChannelPartition[] = [];
    for (const channel of this.unsaved) {
      if (channel.backlog.isLarge) {
        this.large.push(channel);
        continue;
      }
      // A row of it that was begun while it was large is older than this one.
      if (this.steps?.channel === channel) this.steps = undefined;
      channels.push(channel);
    }
    this.unsaved = [];
    const beganMs = clock.steadyMs();
    const work = () =>
      metadata.saveAll(() => {
        for (const channel of channels) if (!channel.deleted) metadata.updateChannel(this.rowOf(channel));
      });
    // To save nothing succeeds on a full disk as well, and would say that the store can be written.
    const failure = channels.length > 0 ? this.save(work) : undefined;
    this.toReplicas(failure === undefined);
    if (failure === undefined) for (const channel of channels) channel.unsaved = false;
    else this.unsaved.push(...channels);
    // Saving thousands of cursors takes a sixth of the time at the most, as long as LONGEST_SAVE_INTERVAL_MS allows it.
    const pauseMs = 5 * (clock.steadyMs() - beganMs);
    this.nextSaveMs = nowMs + Math.min(Math.max(SAVE_INTERVAL_MS, pauseMs), LONGEST_SAVE_INTERVAL_MS);
  }

  /** The row of a channel. That of a partition which other brokers have as well is noted for them. */
  private rowOf(channel: ChannelPartition): ChannelRow {
    const row = channelRow(channel);
    const state = stateOf(channel.partition);
    if (state !== undefined) this.noted.push({ state, row });
    return row;
  }

  /** Other brokers get the rows that were noted, if they are saved here. */
  private toReplicas(areSaved: boolean): void {
    if (this.noted.length === 0) return;
    for (const { state, row } of this.noted.splice(0)) if (areSaved) state.saveChannel(row);
  }

  /** Saves how far logs are on the disk, and by how much the wall clock was set. To be called regularly. */
  review(nowMs: number, clockStepMs: number, partitions: Iterable<TopicPartition>): void {
    if (Math.abs(clockStepMs - this.savedStepMs) >= SAVED_STEP_MS) this.wallClockSet(clockStepMs);
    if (nowMs < this.nextSyncedMs) return;
    this.nextSyncedMs = nowMs + SAVE_SYNCED_INTERVAL_MS;
    // Otherwise nobody would find out that it can be written again, as long as nothing changes.
    if (this.failure !== undefined) this.save(() => this.parts.metadata.setClockStep(this.savedStepMs));
    this.saveSynced(partitions);
    this.parts.metadata.checkpointIfLarge((failure) => {
      if (failure !== undefined) this.failed(failure);
    });
  }

  /** Saves how far the logs are on the disk. With that, recovery tells records that a crash tore from records that were damaged later. */
  saveSynced(partitions: Iterable<TopicPartition>): void {
    const { metadata } = this.parts;
    const moved = [...partitions].filter(({ log }) => log.files?.syncedSaved === false);
    if (moved.length === 0) return;
    const failure = this.save(() =>
      metadata.saveAll(() => {
        for (const { id, log } of moved) if (log.files !== undefined) metadata.saveSynced(id, log.files.takeSyncedSequence());
      }),
    );
    if (failure !== undefined) for (const { log } of moved) log.files?.syncedNotSaved();
  }

  // ---- progress that rests on entries of the deferred store

  addMoves(moves: UnsyncedMoves): void {
    this.moves.add(moves);
  }

  /** A sync of all entries of the deferred store begins. */
  syncBegins(): void {
    this.beingSynced.clear();
    for (const moves of this.moves) {
      moves.syncBegins();
      this.beingSynced.set(moves, this.recordedRow(moves.channel.id));
    }
  }

  /** What a channel's row says, if it has a record beside; undefined also if that cannot be read: the record stays for the next sync. */
  private recordedRow(channelId: number): SavedProgress | undefined {
    const { syncedProgress } = this.parts.metadata;
    try {
      return syncedProgress.floorOf(channelId) === undefined ? undefined : syncedProgress.rowOf(channelId);
    } catch (error) {
      this.failed(error as Error);
      return undefined;
    }
  }

  /** The sync has ended: what rests on the entries that it covered counts after a power cut, too. */
  syncEnded(succeeded: boolean): void {
    for (const moves of this.beingSynced.keys()) moves.syncEnded(succeeded);
    if (!succeeded || this.beingSynced.size === 0) return;
    const { metadata } = this.parts;
    const failure = this.save(() =>
      metadata.saveAll(() => {
        for (const [{ channel, any, restarted }, row] of this.beingSynced) {
          if (!any) metadata.syncedProgress.drop(channel.id);
          else if (row !== undefined && !restarted) metadata.syncedProgress.save(channel.id, row);
        }
      }),
    );
    // Where that fails, the next sync does it.
    if (failure === undefined) for (const moves of this.beingSynced.keys()) if (!moves.any) this.moves.delete(moves);
    this.beingSynced.clear();
  }

  /** Saves all topics and cursors, exactly. */
  saveAll(partitions: Iterable<TopicPartition>): void {
    const { metadata } = this.parts;
    this.steps = undefined;
    this.save(() =>
      metadata.saveAll(() => {
        for (const partition of partitions) {
          if (partition.ephemeral) continue;
          this.saveRow(partition);
          for (const channel of partition.channels.values()) if (channel.persistent) metadata.updateChannel(this.rowOf(channel));
        }
      }),
    );
    this.toReplicas(this.failure === undefined);
  }

  /** Saves by how much the wall clock was set, so that deferred messages go by the same time after a restart. */
  private wallClockSet(stepMs: number): void {
    const seconds = (stepMs - this.savedStepMs) / 1000;
    const failure = this.save(() => this.parts.metadata.setClockStep(stepMs));
    if (failure !== undefined) return;
    this.savedStepMs = stepMs;
    this.parts.logger.warn(`CLOCK: the wall clock was set by ${seconds.toFixed(1)} s; timeouts and delays are not affected`);
  }

  private save(work: () => void): Error | undefined {
    try {
      this.parts.ballast.use(work);
      this.failure = undefined;
    } catch (error) {
      this.failed(error as Error);
    }
    return this.failure;
  }

  private failed(error: Error): void {
    const { freeSpace, rateLimitedLog, turn } = this.parts;
    this.failure = error;
    freeSpace.failed(turn.steadyMs);
    rateLimitedLog.error(`cannot save to ${this.directory}: ${error.message}`);
  }
}

/** What other brokers get of a partition beside its messages; undefined: this broker has it alone, or does not lead it. */
function stateOf({ replicated }: TopicPartition): PartitionState | undefined {
  return replicated?.[0].state;
}

function partitionRow({ id, number, name, paused, released, log }: TopicPartition): TopicRow {
  return { id, number, name, paused, released, prefix: log.prefix };
}
