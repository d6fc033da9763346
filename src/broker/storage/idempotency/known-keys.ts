/** Names a key of a topic. Ids of topics are never used twice, so a new topic of the same name does not find the keys of the old one. */
export function nameFor(topicId: number, key: string): string {
  return `${topicId} ${key}`;
}

function partsOf(name: string): [topicId: number, key: string] {
  const space = name.indexOf(" ");
  return [Number(name.slice(0, space)), name.slice(space + 1)];
}

type TopicsByKey = Map<string, number | readonly number[]>;

const NO_TOPICS: readonly number[] = [];
/** A million keys at once would take a second. */
const INDEXED_PER_CALL = 1000;

/** Keys of topics, by nameFor(), with the times at which they were registered, in the order of their registration. */
export class KnownKeys {
  private readonly times = new Map<string, number>();
  /**
   * Goes on where it was. A new iterator of a Map passes over every key that was deleted in front of the oldest one, until the Map is
   * made smaller: with 500,000 keys, each of which evicted another one, that took 200 µs to 400 µs a key.
   */
  private readonly cursor = this.times.entries();
  /** What the cursor has given last, unless it was deleted. All keys behind it are newer. */
  private first: [name: string, timeMs: number] | undefined;
  /** Ids of the topics that know a key, mostly one. Made when somebody asks for it: only topics with several partitions need it. */
  private topics: TopicsByKey | undefined;
  /** Goes over the keys that were there before; undefined: all are in `topics`. */
  private unindexed: Iterator<string> | undefined;

  get size(): number {
    return this.times.size;
  }

  /** @returns when a key was registered, ms; undefined: it is not known */
  timeOf(name: string): number | undefined {
    return this.times.get(name);
  }

  /** Adds a key that is not known. */
  add(name: string, timeMs: number): void {
    this.times.set(name, timeMs);
    if (this.topics !== undefined) addTo(this.topics, name);
  }

  delete(name: string): void {
    if (this.times.delete(name) && this.topics !== undefined) removeFrom(this.topics, name);
    if (this.first?.[0] === name) this.first = undefined;
  }

  /** @returns the key that was registered first, and when, ms */
  oldest(): [name: string, timeMs: number] | undefined {
    // A cursor that has come to the end stays there, so it must not look for a key where there is none.
    if (this.first === undefined && this.times.size > 0) this.first = this.cursor.next().value;
    return this.first;
  }

  /**
   * Ids of all topics for which a key is known; undefined: it is not known yet. The first calls look at the keys there are, some in each
   * call, and from then on a key takes more memory.
   */
  topicsWith(key: string): readonly number[] | undefined {
    if (this.topics === undefined) {
      this.topics = new Map();
      this.unindexed = this.times.keys();
    }
    if (this.unindexed !== undefined && !this.indexSome(this.topics, this.unindexed)) return undefined;
    const found = this.topics.get(key) ?? NO_TOPICS;
    return typeof found === "number" ? [found] : found;
  }

  /** @returns whether that was all */
  private indexSome(topics: TopicsByKey, names: Iterator<string>): boolean {
    for (let left = INDEXED_PER_CALL; left > 0; left--) {
      const { value, done } = names.next();
      if (done === true) {
        this.unindexed = undefined;
        return true;
      }
      addTo(topics, value);
    }
    return false;
  }
}

function addTo(topics: TopicsByKey, name: string): void {
  const [topicId, key] = partsOf(name);
  const others = topics.get(key);
  if (others === undefined) topics.set(key, topicId);
  else if (typeof others !== "number") topics.set(key, [...others.filter((id) => id !== topicId), topicId]);
  else if (others !== topicId) topics.set(key, [others, topicId]);
}

function removeFrom(topics: TopicsByKey, name: string): void {
  const [topicId, key] = partsOf(name);
  const all = topics.get(key);
  if (all === undefined) return;
  const left = typeof all === "number" ? [] : all.filter((id) => id !== topicId);
  if (left.length === 0) topics.delete(key);
  else topics.set(key, left);
}
