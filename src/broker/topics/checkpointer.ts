import type { Logger } from "../../base/logger.ts";
import type { Trouble } from "../../base/rate-limited-log.ts";
import type { Ballast } from "../storage/disk/ballast.ts";
import type { FreeSpace } from "../storage/disk/free-space.ts";
import type { MetadataStore, TopicRow } from "../storage/metadata/metadata-store.ts";
import type { Channel } from "./channel/channel.ts";
import type { Topic } from "./topic.ts";
import type { Turn } from "./turn.ts";

/** Cursors are saved this often while they move: what was finished earlier does not come again after a crash. */
const SAVE_INTERVAL_MS = 50;
/** And not less often than this, however long a save takes. */
const LONGEST_SAVE_INTERVAL_MS = 150;
/** How far the logs are synced is noted this often. */
const SAVE_SYNCED_INTERVAL_MS = 1000;
/** A difference of the clocks that is worth remembering. */
const SAVED_STEP_MS = 100;

/** What a checkpointer works with. */
export interface CheckpointerParts {
  readonly metadata: MetadataStore;
  readonly ballast: Ballast;
  readonly freeSpace: Pick<FreeSpace, "failed">;
  readonly turn: Pick<Turn, "nowMs" | "steadyMs" | "wakeAt">;
  readonly logger: Logger;
  readonly rateLimitedLog: Trouble;
}

/**
 * Saves what the store keeps of a running broker: topics, the cursors of channels, how far logs are on the disk, by how much
 * the wall clock was set. A store that cannot be written (a full disk) makes the broker unhealthy; all stays in memory and
 * is saved later.
 */
export class Checkpointer {
  /** Why the last save failed; undefined: it did not. */
  failure: Error | undefined;

  private unsaved: Channel[] = [];
  private nextSaveMs = 0;
  private nextSyncedMs = 0;
  /** How far the wall clock was set, as the store knows it. */
  private savedStepMs: number;

  /** @param directory the broker's folder below the data path */
  constructor(
    private readonly parts: CheckpointerParts,
    private readonly directory: string,
  ) {
    this.savedStepMs = parts.metadata.clockStep();
  }

  saveTopic(topic: Topic): void {
    if (!topic.ephemeral) this.save(() => this.parts.metadata.updateTopic(topicRow(topic)));
  }

  /** @returns why the store could not be written */
  saveChannel(channel: Channel): Error | undefined {
    return channel.persistent ? this.save(() => this.parts.metadata.updateChannel(channel.toRow())) : undefined;
  }

  /** The channel's cursor moved: it is saved soon. */
  addUnsaved(channel: Channel): void {
    channel.unsaved = true;
    this.unsaved.push(channel);
    const { turn } = this.parts;
    turn.wakeAt(Math.max(this.nextSaveMs, turn.nowMs + SAVE_INTERVAL_MS));
  }

  /** Saves the cursors that moved if it is time for that. @returns when it is next, infinite if nothing moved since */
  saveCursors(nowMs: number): number {
    if (this.unsaved.length > 0 && nowMs >= this.nextSaveMs) this.saveUnsaved(nowMs);
    return this.unsaved.length > 0 ? this.nextSaveMs : Number.POSITIVE_INFINITY;
  }

  private saveUnsaved(nowMs: number): void {
    const { metadata } = this.parts;
    const channels = this.unsaved;
    this.unsaved = [];
    const began = performance.now();
    const failure = this.save(() =>
      metadata.saveAll(() => {
        for (const channel of channels) if (!channel.deleted) metadata.updateChannel(channel.toRow());
      }),
    );
    if (failure === undefined) for (const channel of channels) channel.unsaved = false;
    else this.unsaved.push(...channels);
    // With thousands of moving cursors saving must not take all the time; but what is finished must be saved soon.
    this.nextSaveMs = nowMs + Math.min(Math.max(SAVE_INTERVAL_MS, 5 * (performance.now() - began)), LONGEST_SAVE_INTERVAL_MS);
  }

  /** Called now and then: notes how far logs are on the disk, and the clock's step. */
  review(nowMs: number, clockStepMs: number, topics: Iterable<Topic>): void {
    if (Math.abs(clockStepMs - this.savedStepMs) >= SAVED_STEP_MS) this.wallClockSet(clockStepMs);
    if (nowMs < this.nextSyncedMs) return;
    this.nextSyncedMs = nowMs + SAVE_SYNCED_INTERVAL_MS;
    this.saveSynced(topics);
  }

  /** Notes how far the logs are on the disk: recovery then tells what a crash tore from what was damaged since. */
  saveSynced(topics: Iterable<Topic>): void {
    const { metadata } = this.parts;
    const moved = [...topics].filter(({ log }) => log.files?.syncedSaved === false);
    if (moved.length === 0) return;
    this.save(() =>
      metadata.saveAll(() => {
        for (const { id, log } of moved) if (log.files !== undefined) metadata.saveSynced(id, log.files.takeSyncedSequence());
      }),
    );
  }

  /** All topics and cursors, exactly. */
  saveAll(topics: Iterable<Topic>): void {
    const { metadata } = this.parts;
    this.save(() =>
      metadata.saveAll(() => {
        for (const topic of topics) {
          if (topic.ephemeral) continue;
          metadata.updateTopic(topicRow(topic));
          for (const channel of topic.channels.values()) if (channel.persistent) metadata.updateChannel(channel.toRow());
        }
      }),
    );
  }

  /** The store remembers it, so that what is deferred goes by the same time after a restart. */
  private wallClockSet(stepMs: number): void {
    const seconds = (stepMs - this.savedStepMs) / 1000;
    const failure = this.save(() => this.parts.metadata.setClockStep(stepMs));
    if (failure !== undefined) return;
    this.savedStepMs = stepMs;
    this.parts.logger.warn(`CLOCK: the wall clock was set by ${seconds.toFixed(1)} s; timeouts and delays go on as if it had not been`);
  }

  private save(work: () => void): Error | undefined {
    const { ballast, freeSpace, rateLimitedLog } = this.parts;
    try {
      ballast.use(work);
      this.failure = undefined;
    } catch (error) {
      this.failure = error as Error;
      freeSpace.failed(this.parts.turn.steadyMs);
      rateLimitedLog.error(`cannot save to ${this.directory}: ${this.failure.message}`);
    }
    return this.failure;
  }
}

function topicRow(topic: Topic): TopicRow {
  return { id: topic.id, number: topic.number, name: topic.name, paused: topic.paused, released: topic.released };
}
