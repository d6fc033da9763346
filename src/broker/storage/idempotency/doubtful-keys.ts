import { isKernelError } from "../disk/unreadable-file.ts";
import type { KeyedTopic } from "./key-file.ts";

/**
 * Whether a topic exists and has a message at a sequence; for a negative one, whether it exists. Undefined: it is not open yet.
 *
 * @throws the kernel's error where it cannot be read now
 */
export type IsThere = (topic: KeyedTopic, sequence: number) => boolean | undefined;

/** Where the message of a key is, if it exists. */
export interface DoubtfulKey {
  readonly topic: KeyedTopic;
  readonly sequence: number;
}

/** Keys of an earlier run of which it is not known yet whether their messages exist: a topic is not open, or a log cannot be read. */
export class DoubtfulKeys {
  isThere: IsThere = () => undefined;
  private readonly keys = new Map<string, DoubtfulKey>();

  get size(): number {
    return this.keys.size;
  }

  add(name: string, key: DoubtfulKey): void {
    this.keys.set(name, key);
  }

  /** Whether the message of a key exists. @returns undefined: it is not known yet. What cannot be read keeps nobody else waiting */
  ask(topic: KeyedTopic, sequence: number): boolean | undefined {
    try {
      return this.isThere(topic, sequence);
    } catch (error) {
      if (!isKernelError(error)) throw error;
      return undefined;
    }
  }

  /**
   * Asks again about the keys of a topic, which was opened.
   *
   * @param forget called with those whose messages do not exist
   * @returns one more than the highest sequence of such a key
   */
  recheck(topicId: number, forget: (name: string) => void): number {
    let next = 0;
    for (const [name, { topic, sequence }] of this.keys) {
      if (topic.id !== topicId) continue;
      const there = this.ask(topic, sequence);
      if (there === undefined) continue;
      this.keys.delete(name);
      if (there) continue;
      forget(name);
      next = Math.max(next, sequence + 1);
    }
    return next;
  }

  /** Asks again about one key, which a publish has. @param forget called if its message does not exist @returns why it is still in doubt */
  reason(name: string, forget: (name: string) => void): Error | undefined {
    const key = this.keys.get(name);
    if (key === undefined) return undefined;
    try {
      if (this.isThere(key.topic, key.sequence) === false) forget(name);
      this.keys.delete(name);
      return undefined;
    } catch (error) {
      if (!isKernelError(error)) throw error;
      return error;
    }
  }
}
