import { MAX_NAME_BYTES } from "../../frame/names.ts";
import type { Topic } from "./topic.ts";

/** The number of buckets is a power of two, so that a mask finds a hash's bucket. */
const FIRST_BUCKETS = 64;
const FNV_PRIME = 0x01000193;

/** A topic in the list of its bucket. */
interface Entry {
  topic: Topic;
  hash: number;
  next: Entry | undefined;
}

/**
 * Finds topics by the bytes of their names. A publish that names another topic than the one before finds it without making a
 * string. The table has at most twice as many buckets as it ever had topics at a time.
 */
export class NameTable {
  private buckets: (Entry | undefined)[] = new Array(FIRST_BUCKETS).fill(undefined);
  private size = 0;
  /** Chosen at random, so that nobody can make up names that share a bucket. */
  private readonly seed = (Math.random() * 2 ** 32) | 0;

  /** The topic whose name is in [from, to). */
  find(bytes: Uint8Array, from: number, to: number): Topic | undefined {
    if (to - from > MAX_NAME_BYTES) return undefined;
    const hash = this.hash(bytes, from, to);
    let entry = this.buckets[hash & (this.buckets.length - 1)];
    while (entry !== undefined && !(entry.hash === hash && entry.topic.isNamed(bytes, from, to))) entry = entry.next;
    return entry?.topic;
  }

  /** @param topic has a name that no other topic in the table has */
  add(topic: Topic): void {
    if (this.size === this.buckets.length) this.grow();
    this.put({ topic, hash: this.hashOf(topic), next: undefined });
    this.size++;
  }

  delete(topic: Topic): void {
    const bucket = this.hashOf(topic) & (this.buckets.length - 1);
    let before: Entry | undefined;
    let entry = this.buckets[bucket];
    while (entry !== undefined && entry.topic !== topic) {
      before = entry;
      entry = entry.next;
    }
    if (entry === undefined) return;
    if (before === undefined) this.buckets[bucket] = entry.next;
    else before.next = entry.next;
    this.size--;
  }

  private grow(): void {
    const old = this.buckets;
    this.buckets = new Array(2 * old.length).fill(undefined);
    for (let entry of old) {
      while (entry !== undefined) {
        const { next } = entry;
        this.put(entry);
        entry = next;
      }
    }
  }

  private put(entry: Entry): void {
    const bucket = entry.hash & (this.buckets.length - 1);
    entry.next = this.buckets[bucket];
    this.buckets[bucket] = entry;
  }

  private hashOf({ nameBytes }: Topic): number {
    return this.hash(nameBytes, 0, nameBytes.length);
  }

  /** FNV-1a, with the high bits folded into the low ones, which choose the bucket. */
  private hash(bytes: Uint8Array, from: number, to: number): number {
    let hash = this.seed;
    for (let at = from; at < to; at++) hash = Math.imul(hash ^ bytes[at], FNV_PRIME);
    return hash ^ (hash >>> 16);
  }
}
