import type { Database } from "bun:sqlite";
import { sealChannel } from "./rows.ts";

/** A seal that no row has: the start takes the row for damaged. */
const NO_SEAL = -1;

/** What a channel has finished: its floor, and what it has finished above that, as the channel encodes it. */
export interface SavedProgress {
  readonly floor: number;
  readonly progress: Uint8Array;
}

/**
 * What channels had finished when a sync had covered everything that this rests on. A channel's own row may say that a message is
 * done here because it has an entry in the deferred store, and the disk may have the row and not the entry. Such a channel has a
 * record here as well, which takes the place of the row's floor and progress after a power cut.
 */
export class SyncedProgress {
  /** There may be records. */
  private some = true;

  constructor(private readonly database: Database) {}

  /** The floor of a channel's record; undefined if it has none. */
  floorOf(channelId: number): number | undefined {
    if (!this.some) return undefined;
    const row = this.database.query("SELECT floor FROM synced_progress WHERE channel_id = ?").get(channelId) as SavedProgress | null;
    return row?.floor;
  }

  /** To be called before a row is written that rests on entries that are not synced: keeps what the row says so far. */
  keep(channelId: number): void {
    if (this.floorOf(channelId) !== undefined) return;
    const progress = this.rowOf(channelId);
    if (progress !== undefined) this.save(channelId, progress);
  }

  /** What the channel's own row says. */
  rowOf(channelId: number): SavedProgress | undefined {
    return (this.database.query("SELECT floor, progress FROM channels WHERE id = ?").get(channelId) as SavedProgress | null) ?? undefined;
  }

  save(channelId: number, { floor, progress }: SavedProgress): void {
    this.some = true;
    this.database
      .query("INSERT OR REPLACE INTO synced_progress (channel_id, floor, progress, seal) VALUES (?, ?, ?, ?)")
      .run(channelId, floor, progress, seal(channelId, { floor, progress }));
  }

  /** The channel's row rests on what is synced, or the channel is gone. */
  drop(channelId: number): void {
    if (this.some) this.database.query("DELETE FROM synced_progress WHERE channel_id = ?").run(channelId);
  }

  /** To be called when no channel rests on entries that are not synced. */
  dropAll(): void {
    if (this.some) this.database.run("DELETE FROM synced_progress");
    this.some = false;
  }

  /** Puts the records in the place of what the channels' rows say, after a power cut. */
  restore(): void {
    const rows = this.database
      .query(
        `SELECT id, topic_id AS topicId, name, paused, void_before AS voidBefore, requeues_void_before AS requeuesVoidBefore,
             channels.floor AS rowFloor, channels.progress AS rowProgress, channels.seal AS rowSeal,
             synced_progress.floor, synced_progress.progress, synced_progress.seal
           FROM synced_progress JOIN channels ON id = channel_id`,
      )
      .all() as RestoredRow[];
    const update = this.database.query("UPDATE channels SET floor = ?, progress = ?, seal = ? WHERE id = ?");
    for (const { rowFloor, rowProgress, rowSeal, seal: found, ...row } of rows) {
      const channel = { ...row, paused: row.paused === 1 };
      const isIntact = found === seal(row.id, row) && rowSeal === sealChannel({ ...channel, floor: rowFloor, progress: rowProgress });
      update.run(row.floor, row.progress, isIntact ? sealChannel(channel) : NO_SEAL, row.id);
    }
    this.dropAll();
  }
}

interface RestoredRow extends SavedProgress {
  id: number;
  topicId: number;
  name: string;
  paused: number;
  voidBefore: number;
  requeuesVoidBefore: number;
  rowFloor: number;
  rowProgress: Uint8Array;
  rowSeal: number | null;
  seal: number;
}

function seal(channelId: number, { floor, progress }: SavedProgress): number {
  return Bun.hash.crc32(progress, Bun.hash.crc32(JSON.stringify([channelId, floor])));
}
