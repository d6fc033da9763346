/** Most messages in a window. */
const MAX_MESSAGES = 65_536;

/**
 * A few mebibytes of consecutive messages of a topic, before they get their sequences. Messages that go to the same channels with
 * the same attempts are a group. A channel keeps a list of the ranges that it has finished, so where many groups alternate, the
 * groups are written one after the other.
 */
export class MergeWindow {
  count = 0;
  /** Message `i` of the window, from its timestamp on, is at [at[i], at[i] + bytes[i]) in `buffer`. */
  buffer: Buffer;
  readonly at = new Uint32Array(MAX_MESSAGES);
  readonly bytes = new Uint32Array(MAX_MESSAGES);
  /** How often each channel was sent the messages of a group; -1 for channels that do not get them (ABSENT in topic-merge.ts). */
  readonly groups: Int32Array[] = [];
  private readonly groupOf = new Uint32Array(MAX_MESSAGES);
  private readonly known = new Map<string, number>();
  private used = 0;
  private changes = 0;

  constructor(private readonly sizeBytes: number) {
    this.buffer = Buffer.allocUnsafeSlow(sizeBytes);
  }

  /** Whether a message has to wait for the next window. The first one always fits. */
  isFullFor(bytes: number): boolean {
    return this.count > 0 && (this.count === MAX_MESSAGES || this.used + bytes > this.buffer.length);
  }

  /** @param attempts for each channel, as in `groups` */
  add(source: Buffer, at: number, bytes: number, attempts: Int32Array): void {
    if (this.used + bytes > this.buffer.length) this.buffer = Buffer.allocUnsafeSlow(bytes);
    source.copy(this.buffer, this.used, at, at + bytes);
    const i = this.count++;
    this.at[i] = this.used;
    this.bytes[i] = bytes;
    this.used += bytes;
    const before = i > 0 ? this.groupOf[i - 1] : 0;
    const group = i > 0 && isEqual(this.groups[before], attempts) ? before : this.group(attempts);
    if (i > 0 && group !== before) this.changes++;
    this.groupOf[i] = group;
  }

  /** How often the group changes from one message to the next. */
  get groupChanges(): number {
    return this.changes;
  }

  /** The group of a message. */
  groupAt(i: number): Int32Array {
    return this.groups[this.groupOf[i]];
  }

  /** The messages in the order in which they are to be written. @param grouped group by group, and by id in each; false: by id */
  order(grouped: boolean): Uint32Array {
    const order = Uint32Array.from({ length: this.count }, (_, i) => i);
    const { groupOf } = this;
    return grouped ? order.sort((a, b) => groupOf[a] - groupOf[b] || a - b) : order;
  }

  /** Empties the window. */
  clear(): void {
    if (this.buffer.length > this.sizeBytes) this.buffer = Buffer.allocUnsafeSlow(this.sizeBytes);
    this.groups.length = 0;
    this.known.clear();
    this.count = this.used = this.changes = 0;
  }

  private group(attempts: Int32Array): number {
    const key = attempts.join();
    let group = this.known.get(key);
    if (group === undefined) {
      group = this.groups.length;
      this.groups.push(attempts.slice());
      this.known.set(key, group);
    }
    return group;
  }
}

function isEqual(a: Int32Array, b: Int32Array): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
