import { join } from "node:path";
import { systemClock } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import { SequenceSet } from "../recovery/sequence-set.ts";
import { DeferredStore } from "../storage/deferred/deferred-store.ts";
import { KIND_PUBLISH, type ScannedEntry, type StoredEntry } from "../storage/deferred/entry.ts";
import { NO_BALLAST } from "../storage/disk/ballast.ts";
import type { Disk } from "../storage/disk/disk.ts";
import type { ChannelRow } from "../storage/metadata/rows.ts";

/** The deferred messages of a stopped broker. */
export class DeferredExport {
  /** Sequences of messages in the store, by channel id. The log has these messages too, but their channels get them from here. */
  readonly stored = new Map<number, SequenceSet>();
  private readonly store: DeferredStore;
  private readonly topics = new Set<number>();

  /**
   * Reads all entries.
   *
   * @param held the first publish that each topic without channels holds back for its first channel, by topic id
   * @param channels all channels, by id
   * @param hasJoined whether a topic's log has, at a sequence, the publish that was about to join it there
   */
  constructor(
    directory: string,
    disk: Disk,
    logger: Logger,
    private readonly channels: ReadonlyMap<number, ChannelRow>,
    private readonly held: ReadonlyMap<number, number>,
    hasJoined: (topicId: number, sequence: number) => boolean,
  ) {
    this.store = new DeferredStore({
      ...{ disk, logger, ballast: NO_BALLAST },
      directory: join(directory, "deferred"),
      clock: { currentMs: systemClock.wallMs },
    });
    this.store.recover(
      ({ topicId }, sequence) => hasJoined(topicId, sequence),
      (entry) => {
        if (!this.isWanted(entry)) return;
        this.topics.add(this.topicOf(entry));
        if (entry.kind === KIND_PUBLISH) return;
        const stored = this.stored.get(entry.channelId) ?? new SequenceSet();
        this.stored.set(entry.channelId, stored);
        stored.add(entry.sequence);
      },
    );
  }

  /** Visits the messages of a topic, of each channel's each once. Their bytes are valid until the visit is over. */
  visit(topicId: number, visit: (entry: ScannedEntry) => void): void {
    if (!this.topics.has(topicId)) return;
    // A crash may leave several entries of one message.
    const visited = new Map<number, SequenceSet>();
    this.store.revisitRecovered((entry) => {
      if (this.topicOf(entry) !== topicId || !this.isWanted(entry)) return;
      if (entry.kind !== KIND_PUBLISH) {
        const known = visited.get(entry.channelId) ?? new SequenceSet();
        visited.set(entry.channelId, known);
        if (!known.add(entry.sequence)) return;
      }
      visit(entry);
    });
  }

  /** Whether a topic without channels holds a publish back for its first one. Others belong to channels that were deleted. */
  isHeld(topicId: number, number: number): boolean {
    return number >= (this.held.get(topicId) ?? 0);
  }

  /** The entry of a requeue names its channel only. */
  private topicOf({ kind, topicId, channelId }: StoredEntry): number {
    return kind === KIND_PUBLISH ? topicId : (this.channels.get(channelId)?.topicId ?? 0);
  }

  private isWanted({ kind, channelId, number }: StoredEntry): boolean {
    if (kind === KIND_PUBLISH) return true;
    const channel = this.channels.get(channelId);
    return channel !== undefined && number >= channel.voidBefore && number >= channel.requeuesVoidBefore;
  }
}
