import type { Database } from "bun:sqlite";
import type { Durability } from "../../options.ts";
import { hasColumn } from "./schema.ts";

// The rows of topics and channels in the metadata store.

export interface TopicRow {
  /** Never used twice: deferred messages, keys and the journal name the topic by it. */
  id: number;
  /** A part of message ids. After a deletion another topic gets it, and continues at the sequence that the deleted one reached. */
  number: number;
  name: string;
  paused: boolean;
  /** The sequence from which on messages wait for the topic's first channel, or until the topic is unpaused. */
  released: number;
  /** The beginning of the topic's ids (frame/id.ts). Undefined: an earlier release made the row. */
  prefix?: number | undefined;
  /** Undefined: --durability applies. */
  durability?: Durability;
  /** The row's checksum does not match. */
  damaged?: true;
}

export interface ChannelRow {
  id: number;
  topicId: number;
  name: string;
  paused: boolean;
  /** Deferred entries with a lower number are void: the channel was emptied after they were stored. */
  voidBefore: number;
  /** Requeued entries of this channel with a lower number are void: a seek came after they were stored. */
  requeuesVoidBefore: number;
  floor: number;
  /** What is finished above the floor, and the attempts of what is not, as the channel encodes it. */
  progress: Uint8Array;
  /** It says that messages are done here which have entries in the deferred store that no sync has covered yet. */
  unsynced?: boolean;
  /** The row's checksum does not match. */
  damaged?: true;
}

/** SQLite has no checksums, and a flipped bit in a cursor would silently skip messages. So each row has a checksum of its own, its seal. */
export function sealTopic({ number, name, paused, released, prefix }: Omit<TopicRow, "id">): number {
  // Rows of earlier releases have no prefix, and were sealed without it.
  return Bun.hash.crc32(JSON.stringify([number, name, paused, released, ...(prefix === undefined ? [] : [prefix])]));
}

export function sealChannel(row: Omit<ChannelRow, "id" | "damaged" | "unsynced">): number {
  const { topicId, name, paused, voidBefore, requeuesVoidBefore, floor, progress } = row;
  return Bun.hash.crc32(progress, Bun.hash.crc32(JSON.stringify([topicId, name, paused, voidBefore, requeuesVoidBefore, floor])));
}

export function sealHeld(topicId: number, entry: number): number {
  return Bun.hash.crc32(JSON.stringify([topicId, entry]));
}

/** Reads the rows of topics, in the order of their names. */
export function readTopics(database: Database): TopicRow[] {
  const prefix = hasColumn(database, "topics", "prefix") ? "prefix" : "NULL AS prefix";
  const rows = database
    .query(`SELECT id, number, name, paused, released, ${prefix}, durability, seal FROM topics ORDER BY name`)
    .all() as (Omit<TopicRow, "paused" | "durability" | "prefix"> & {
    paused: number;
    prefix: number | null;
    durability: string | null;
    seal: number | null;
  })[];
  return rows.map(({ durability, seal, prefix, ...numbers }) => {
    const row = { ...numbers, paused: numbers.paused === 1, prefix: prefix ?? undefined };
    return {
      ...row,
      ...(durability === "fsync" || durability === "write" ? { durability } : {}),
      ...(seal !== null && seal !== sealTopic(row) ? { damaged: true as const } : {}),
    };
  });
}

/** Reads the rows of a topic's channels, in the order of their names. */
export function readChannels(database: Database, topicId: number): ChannelRow[] {
  const rows = database
    .query(
      `SELECT id, topic_id AS topicId, name, paused, void_before AS voidBefore,
           requeues_void_before AS requeuesVoidBefore, floor, progress, seal
         FROM channels WHERE topic_id = ? ORDER BY name`,
    )
    .all(topicId) as (Omit<ChannelRow, "paused"> & { paused: number; seal: number | null })[];
  return rows.map(({ seal, ...numbers }) => {
    const row = { ...numbers, paused: numbers.paused === 1 };
    return seal !== null && seal !== sealChannel(row) ? { ...row, damaged: true as const } : row;
  });
}
