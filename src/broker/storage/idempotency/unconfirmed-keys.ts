import type { FileNotes } from "../file-notes.ts";
import type { KeyedTopic } from "./key-file.ts";

// The key of a deferred publish says nothing about whether its message is on the disk: there is no log to ask yet. So a key counts
// after a power cut only if the entry of its publish is found, or if the key was written again after a sync that covered the entry.

/** In the key of a deferred publish of an earlier build, which does not say which entry it has. */
const UNNUMBERED = -1;

/** What the key of a deferred publish has in place of a sequence. @param entryNumber the number of its entry in the deferred store */
export function deferredSequence(entryNumber: number): number {
  return UNNUMBERED - entryNumber;
}

/** The number of the entry of a deferred publish, by its deferredSequence(); 0 if that is not known. */
export function entryNumber(sequence: number): number {
  return UNNUMBERED - sequence;
}

/** The key of a deferred publish that no sync has covered yet. */
export interface UnconfirmedKey {
  readonly topic: Pick<KeyedTopic, "id">;
  readonly key: string;
  readonly sequence: number;
  readonly timeMs: number;
  /** Its acknowledgement waits for the sync: if that fails, the publish is refused, and its key is void. */
  readonly refusable: boolean;
}

/** Keys of deferred publishes that are to be written again when a sync has covered the publishes. */
export class UnconfirmedKeys {
  /** Those that no sync under way covers. */
  private waiting: UnconfirmedKey[] = [];
  /** Those that the sync under way covers. */
  private covered: UnconfirmedKey[] = [];

  add(key: UnconfirmedKey): void {
    this.waiting.push(key);
  }

  syncBegins(): void {
    this.covered = this.waiting;
    this.waiting = [];
  }

  /** The sync has succeeded. @returns the keys that it covered */
  takeCovered(): UnconfirmedKey[] {
    return this.covered.splice(0);
  }

  /** The keys wait for the next sync. */
  putBack(keys: readonly UnconfirmedKey[]): void {
    this.waiting = [...keys, ...this.waiting];
  }
}

/** A key of an earlier run that counts. */
export interface KeptKey {
  readonly topic: KeyedTopic;
  readonly key: string;
  readonly sequence: number;
  readonly timeMs: number;
  /** A sync has covered the deferred publish with the key. */
  confirmed: boolean;
}

/** Tells which of some entries of the deferred store are on the disk, by their numbers: in a bucket, or in the log that they joined. */
export type StoredEntries = (numbers: ReadonlySet<number>) => ReadonlySet<number>;

/**
 * Drops keys of deferred publishes that a power cut may have lost, though it has left their keys. These can be published again: a
 * message that comes twice is better than one that never comes.
 */
export function dropLost(kept: Map<string, KeptKey>, { lastRun, lastRunWroteAll }: FileNotes, stored: StoredEntries): void {
  const unconfirmed = [...kept].filter(([, { sequence, confirmed }]) => sequence < 0 && !confirmed);
  if (lastRun === "clean") for (const [, one] of unconfirmed) one.confirmed = true;
  if (lastRunWroteAll || unconfirmed.length === 0) return;
  const found = stored(new Set(unconfirmed.map(([, { sequence }]) => entryNumber(sequence))));
  for (const [name, { sequence }] of unconfirmed) {
    const isOfEarlierBuild = sequence === UNNUMBERED && lastRun === "unknown";
    if (!isOfEarlierBuild && !found.has(entryNumber(sequence))) kept.delete(name);
  }
}
