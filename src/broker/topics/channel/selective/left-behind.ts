import type { MessageSlot } from "../in-flight.ts";

/** The state of an unfinished message that the window has moved past. Its record stays in the log. */
export class LeftMessage implements MessageSlot {
  constructor(
    readonly sequence: number,
    /** Position of its record in the log. */
    readonly position: number,
    public state: number,
    public owner: number,
    public attempts: number,
    public deadlineMs: number,
    public deliveredAtMs: number,
    /** Entry of its key (key-table.ts); 0: it has none. */
    readonly key: number,
    /** Sequence of the next message of its key; -1: there is none. */
    public next: number,
    /** A copy of its record, where the log forgets it. */
    readonly frame: Buffer | undefined,
    /** When it was published, ns (latency-recorder.ts); 0 in a broker that does not measure latencies. */
    readonly publishedNs = 0,
  ) {}
}

const FIRST_CAPACITY = 64;

/**
 * The unfinished messages below a window, in the order of their sequences. They are few: those of keys that hang, and those that no
 * consumer takes. Each is an object, unlike those in the window.
 */
export class LeftBehind {
  private readonly messages = new Map<number, LeftMessage>();
  /** Their sequences, ascending, from `start` on; some of them are not here any more. */
  private sequences = new Float64Array(FIRST_CAPACITY);
  private start = 0;
  private end = 0;

  get size(): number {
    return this.messages.size;
  }

  /** The lowest sequence. There is at least one message. */
  get first(): number {
    while (!this.messages.has(this.sequences[this.start])) this.start++;
    return this.sequences[this.start];
  }

  get(sequence: number): LeftMessage | undefined {
    return this.messages.get(sequence);
  }

  /** Adds a message whose sequence is above all others. */
  add(message: LeftMessage): void {
    if (this.messages.size === 0) this.start = this.end = 0;
    if (this.end === this.sequences.length) this.compact();
    this.sequences[this.end++] = message.sequence;
    this.messages.set(message.sequence, message);
  }

  remove(sequence: number): void {
    this.messages.delete(sequence);
  }

  clear(): void {
    this.messages.clear();
    this.start = this.end = 0;
  }

  /** In ascending order. A message that is removed meanwhile may be left out. */
  values(): IterableIterator<LeftMessage> {
    return this.messages.values();
  }

  private compact(): void {
    const { sequences, messages } = this;
    const kept = messages.size * 2 > sequences.length ? new Float64Array(sequences.length * 2) : sequences;
    let count = 0;
    for (let at = this.start; at < this.end; at++) if (messages.has(sequences[at])) kept[count++] = sequences[at];
    this.sequences = kept;
    this.start = 0;
    this.end = count;
  }
}
