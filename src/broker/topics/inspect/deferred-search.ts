import type { Bucket } from "../../storage/deferred/bucket.ts";
import type { DeferredStore } from "../../storage/deferred/deferred-store.ts";
import { KIND_PUBLISH, type StoredEntry } from "../../storage/deferred/entry.ts";

import { StoredMessage } from "../../storage/deferred/stored-message.ts";
import type { Channel } from "../channel/channel.ts";

// For people who look: entries on disk have no index, so they are looked through.

/** Looked through without a pause for others. */
const SLICE_BYTES = 128 * 1024;
/** Looked through for one page of a list. */
const PAGE_BYTES = 1024 * 1024;

/** Where a page begins that goes on behind another. */
type PageStart = { inMemory: number } | { startMs: number; widthMs: number; offset: number };

/** @returns undefined for what no page gave as its next */
export function parsePageStart(text: string): PageStart | undefined {
  const match = /^(?:memory-(\d{1,9})|disk-(\d{1,15})-(\d{1,12})-(\d{1,15}))$/.exec(text);
  if (match === null) return undefined;
  if (match[1] !== undefined) return { inMemory: Number(match[1]) };
  return { startMs: Number(match[2]), widthMs: Number(match[3]), offset: Number(match[4]) };
}

/** A page that is being filled. */
export interface DeferredPage {
  readonly full: boolean;
  add(message: StoredMessage): void;
}

/**
 * Fills a page with what is deferred in a channel and stands in the deferred store, and with the deferred publishes that
 * the channel will get: first what falls due within moments, by its due time, then bucket by bucket. The page may have
 * room left, since what is looked through for one is bounded.
 *
 * @returns where the next page begins; null at the end
 */
export function listDeferred(deferred: DeferredStore, channel: Channel, from: PageStart, page: DeferredPage): string | null {
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
    const { startMs, widthMs } = bucket;
    if (startMs < start.startMs || (startMs === start.startMs && widthMs < start.widthMs)) continue;
    let offset = startMs === start.startMs && widthMs === start.widthMs ? start.offset : 0;
    offset = Math.max(offset, bucket.movedTo);
    while (offset < bucket.length) {
      if (page.full || bytes >= PAGE_BYTES) return `disk-${startMs}-${widthMs}-${offset}`;
      let cut = -1;
      const end = bucket.scan(offset, SLICE_BYTES, (entry) => {
        if (
          cut >= 0 ||
          bucket.hasLoaded(entry.offset, entry.channelId) ||
          !belongs(deferred, channel, entry) ||
          deferred.target.underWay(entry)
        )
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
 * Finds the entry of one of a channel's messages that waits for its time. What is on disk is looked through in slices,
 * and others are served in between.
 */
export async function findDeferred(deferred: DeferredStore, channel: Channel, sequence: number): Promise<StoredMessage | undefined> {
  const isIt = (entry: StoredEntry) => entry.channelId === channel.id && entry.sequence === sequence && deferred.target.wanted(entry);
  const inMemory = () => deferred.findInMemory(isIt)[0];
  for (const bucket of deferred.unloadedBuckets) {
    const soon = inMemory();
    if (soon !== undefined) return soon;
    const found = await findIn(deferred, bucket, isIt);
    if (found !== undefined) return found;
  }
  return inMemory();
}

async function findIn(deferred: DeferredStore, bucket: Bucket, isIt: (entry: StoredEntry) => boolean): Promise<StoredMessage | undefined> {
  for (let offset = bucket.movedTo; offset < bucket.length && deferred.hasEntryAt(bucket, offset); ) {
    let found: StoredMessage | undefined;
    const end = bucket.scanAll(offset, SLICE_BYTES, (entry) => {
      if (isIt(entry) && !bucket.hasLoaded(entry.offset, entry.channelId)) found = StoredMessage.fromScan(entry, bucket);
    });
    // The last of several entries of a message counts; those before are done with.
    if (found !== undefined && !bucket.isDone(found.number)) return found;
    if (end === offset) return undefined;
    offset = end;
    await new Promise(setImmediate);
  }
  return undefined;
}

function belongs(deferred: DeferredStore, channel: Channel, entry: StoredEntry): boolean {
  if (!deferred.target.wanted(entry)) return false;
  if (entry.kind === KIND_PUBLISH) return entry.topicId === channel.topic.id && channel.deferrals.wantsPublish(entry.number);
  return entry.channelId === channel.id;
}
