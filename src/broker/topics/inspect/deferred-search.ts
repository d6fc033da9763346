import type { Bucket } from "../../storage/deferred/bucket.ts";
import type { DeferredStore } from "../../storage/deferred/deferred-store.ts";
import { KIND_PUBLISH, type StoredEntry } from "../../storage/deferred/entry.ts";

import { StoredMessage } from "../../storage/deferred/stored-message.ts";
import type { ChannelPartition } from "../channel/channel-partition.ts";

// Entries of the deferred store have no index. A search for operators reads through its files, in pieces.

/** How much of a file is read before others get their turn. */
const SLICE_BYTES = 128 * 1024;
/** How much is read for one page of a list. */
const PAGE_BYTES = 1024 * 1024;

/** Where a page of a list starts: behind a number of messages in memory, or at an offset of a bucket. */
type PageStart = { inMemory: number } | { startMs: number; widthMs: number; offset: number };

/** @returns undefined for a text that listDeferred() did not return */
export function parsePageStart(text: string): PageStart | undefined {
  const match = /^(?:memory-(\d{1,9})|disk-(\d{1,15})-(\d{1,12})-(\d{1,15}))$/.exec(text);
  if (match === null) return undefined;
  if (match[1] !== undefined) return { inMemory: Number(match[1]) };
  return { startMs: Number(match[2]), widthMs: Number(match[3]), offset: Number(match[4]) };
}

/** A page of a list that is being filled. */
export interface DeferredPage {
  readonly full: boolean;
  add(message: StoredMessage): void;
}

/**
 * Fills a page with a channel's messages in the deferred store, including the deferred publishes that it will get. Messages in
 * memory, which fall due soon, come first, by due time; the others follow bucket by bucket. A page may stay short, because the
 * bytes that are read for it are bounded.
 *
 * @returns where the next page starts; null after the last one
 * @throws UnreadableFile if a bucket cannot be read
 */
export function listDeferred(deferred: DeferredStore, channel: ChannelPartition, from: PageStart, page: DeferredPage): string | null {
  if ("inMemory" in from) {
    const due = deferred.findInMemory((entry) => belongs(deferred, channel, entry));
    due.sort((a, b) => a.dueMs - b.dueMs || a.number - b.number);
    for (let i = from.inMemory; i < due.length; i++) {
      if (page.full) return `memory-${i}`;
      page.add(due[i]);
    }
  }
  const start = "inMemory" in from ? { startMs: 0, widthMs: 0, offset: 0 } : from;
  let bytes = 0;
  for (const bucket of deferred.unloadedBuckets) {
    bucket.checkRecovered();
    const { startMs, widthMs } = bucket;
    if (startMs < start.startMs || (startMs === start.startMs && widthMs < start.widthMs)) continue;
    let offset = startMs === start.startMs && widthMs === start.widthMs ? start.offset : 0;
    offset = Math.max(offset, bucket.movedTo);
    while (offset < bucket.toldTo) {
      if (page.full || bytes >= PAGE_BYTES) return `disk-${startMs}-${widthMs}-${offset}`;
      let cut = -1;
      const end = bucket.scan(offset, Math.min(SLICE_BYTES, bucket.toldTo - offset), (entry) => {
        if (cut >= 0 || bucket.hasLoaded(entry.offset, entry) || !belongs(deferred, channel, entry) || deferred.target.underWay(entry))
          return;
        if (page.full) cut = entry.offset;
        else page.add(StoredMessage.fromScan(entry, bucket));
      });
      if (end === offset) break;
      bytes += end - offset;
      offset = cut < 0 ? end : cut;
    }
  }
  return null;
}

/**
 * Finds a message of a channel in the deferred store. Files are read in slices, and others are served in between.
 *
 * @returns undefined if the store does not have it
 * @throws UnreadableFile if a bucket cannot be read that may have it
 */
export async function findDeferred(
  deferred: DeferredStore,
  channel: ChannelPartition,
  sequence: number,
): Promise<StoredMessage | undefined> {
  const isIt = (entry: StoredEntry) => entry.channelId === channel.id && entry.sequence === sequence && deferred.target.wanted(entry);
  const inMemory = () => deferred.findInMemory(isIt)[0];
  for (const bucket of deferred.unloadedBuckets) {
    const soon = inMemory();
    if (soon !== undefined) return soon;
    const found = bucket.awaitsRecovery ? undefined : await findIn(deferred, bucket, isIt);
    if (found !== undefined) return found;
  }
  const soon = inMemory();
  if (soon === undefined) for (const bucket of deferred.unloadedBuckets) bucket.checkRecovered();
  return soon;
}

async function findIn(deferred: DeferredStore, bucket: Bucket, isIt: (entry: StoredEntry) => boolean): Promise<StoredMessage | undefined> {
  for (let offset = bucket.movedTo; offset < bucket.toldTo && deferred.hasEntryAt(bucket, offset); ) {
    let found: StoredMessage | undefined;
    const end = bucket.scanAll(offset, Math.min(SLICE_BYTES, bucket.toldTo - offset), (entry) => {
      if (isIt(entry) && !bucket.hasLoaded(entry.offset, entry)) found = StoredMessage.fromScan(entry, bucket);
    });
    // If there are several entries of the message, the last one counts, and the others are done.
    if (found !== undefined && !bucket.isDone(found.number)) return found;
    if (end === offset) return undefined;
    offset = end;
    await new Promise(setImmediate);
  }
  return undefined;
}

/**
 * The messages that a channel has in the deferred store, without the deferred publishes that it will get. Files are read in slices, and
 * others are served in between. What happens meanwhile may make it leave some out, or give some twice.
 *
 * @throws UnreadableFile if a bucket cannot be read
 */
export async function* storedMessages(deferred: DeferredStore, channel: ChannelPartition): AsyncGenerator<StoredMessage[]> {
  const isIts = (entry: StoredEntry) => entry.channelId === channel.id && deferred.target.wanted(entry);
  yield deferred.findInMemory(isIts);
  for (const bucket of deferred.unloadedBuckets) {
    bucket.checkRecovered();
    for (let offset = bucket.movedTo; offset < bucket.toldTo && deferred.hasEntryAt(bucket, offset); ) {
      const found: StoredMessage[] = [];
      const end = bucket.scan(offset, Math.min(SLICE_BYTES, bucket.toldTo - offset), (entry) => {
        if (isIts(entry) && !bucket.hasLoaded(entry.offset, entry) && !deferred.target.underWay(entry))
          found.push(StoredMessage.fromScan(entry, bucket));
      });
      if (found.length > 0) yield found;
      if (end === offset) break;
      offset = end;
      await new Promise(setImmediate);
    }
  }
}

/** Whether an entry is of a message that the channel has or will get. */
function belongs(deferred: DeferredStore, channel: ChannelPartition, entry: StoredEntry): boolean {
  if (!deferred.target.wanted(entry)) return false;
  if (entry.kind === KIND_PUBLISH) return entry.topicId === channel.partition.id && channel.deferrals.wantsPublish(entry.number);
  return entry.channelId === channel.id;
}
