import type { Replicated } from "../acks/pending-publish.ts";
import type { EntryHeader } from "../storage/deferred/entry.ts";
import type { ChannelRow } from "../storage/metadata/rows.ts";
import { encodeChannel, encodeDeferred, encodeJoining, encodeTopic, type TopicState } from "./state-format.ts";
import { CHANNEL_KEY, DEFERRED_KEY, JOINING_KEY, placeText, SETTINGS_KEY, type StateValues, TOPIC_KEY } from "./state-values.ts";

const MAX_BOUNDS = 1_000;

/** A publish that has joined the log, and whose entry goes once replicas have it there. */
interface Joined {
  readonly sequence: number;
  readonly number: number;
}

interface Waiting {
  readonly number: number;
  readonly resolve: () => void;
  readonly reject: (failure: Error) => void;
}

/** The partition that a state is of. */
interface StateOf {
  readonly releasable: number;
  readonly replicated: readonly { readonly replicaFailure: Error | undefined }[] | undefined;
}

/**
 * What a partition that this broker leads has beside its messages, as other brokers get it: channels, their cursors as they are saved, and
 * the messages in the deferred store. Entries of the store have places here, in the order in which they were made, as another broker has
 * other numbers for them. What waits until replicas have a change waits as for messages.
 */
export class PartitionState implements Replicated {
  /** The places of the entries that are not done, by their numbers, which ascend. */
  private readonly places = new Map<number, number>();
  /** What entries are to say that are not written yet, by their numbers. */
  private readonly staged = new Map<number, Buffer>();
  /** The places of the first entries that are not void, by their numbers. */
  private readonly bounds = new Map<number, number>();
  private joined: Joined[] = [];
  private waiting: Waiting[] = [];

  /** @param nextPlace behind all that are in use */
  constructor(
    private readonly partition: StateOf,
    private readonly values: StateValues,
    private nextPlace: number,
    private readonly clock: { toWall(atMs: number): number },
  ) {}

  // ---- what acknowledgements wait for

  get committedNext(): number {
    return this.values.number;
  }

  get releasable(): number {
    return this.values.mark;
  }

  get replicaFailure(): Error | undefined {
    return this.partition.replicated?.[0].replicaFailure;
  }

  /** Waits until replicas have all changes so far. @returns undefined: they have them. It rejects with the failure of end() */
  untilShared(): Promise<void> | undefined {
    const { number, mark } = this.values;
    if (mark >= number) return undefined;
    return new Promise((resolve, reject) => this.waiting.push({ number, resolve, reject }));
  }

  /** Replicas have more. */
  advanced(): void {
    const { mark } = this.values;
    while (this.waiting.length > 0 && this.waiting[0].number <= mark) this.waiting.shift()?.resolve();
  }

  /** Another broker leads the partition: it is not known which changes that one has. */
  end(failure: Error): void {
    for (const { reject } of this.waiting.splice(0)) reject(failure);
  }

  // ---- the topic and its channels

  saveTopic({ paused, released, heldFrom }: TopicState): void {
    this.values.set(TOPIC_KEY, encodeTopic({ paused, released, heldFrom: this.placeFrom(heldFrom) }));
  }

  /** A channel's row was saved. */
  saveChannel({ name, paused, floor, voidBefore, requeuesVoidBefore, progress }: ChannelRow): void {
    const bounds = { voidBefore: this.placeFrom(voidBefore), requeuesVoidBefore: this.placeFrom(requeuesVoidBefore) };
    this.values.set(CHANNEL_KEY + name, encodeChannel({ paused, floor, progress, ...bounds }));
  }

  removeChannel(name: string): void {
    this.values.set(SETTINGS_KEY + name, undefined);
    this.values.set(CHANNEL_KEY + name, undefined);
  }

  /** @param settings JSON; undefined: the default */
  saveSettings(channel: string, settings: string | undefined): void {
    this.values.set(SETTINGS_KEY + channel, settings === undefined ? undefined : Buffer.from(settings));
  }

  // ---- entries of the deferred store

  /** An entry that is in the state already has got a number. */
  adopt(number: number, place: number): void {
    this.places.set(number, place);
  }

  /** An entry is to be written. @param channel "": it is a publish @param frame holds the whole message frame in [from, to) */
  stage(header: EntryHeader, number: number, channel: string, frame: Buffer, from: number, to: number): void {
    if (this.places.has(number)) return;
    const { kind, attempts, sequence } = header;
    this.places.set(number, this.nextPlace++);
    this.staged.set(number, encodeDeferred({ kind, attempts, dueMs: this.clock.toWall(header.dueMs), sequence, channel }, frame, from, to));
  }

  /** It was written, or could not be. */
  told(number: number, isRefused: boolean): void {
    const value = this.staged.get(number);
    const place = this.places.get(number);
    if (value === undefined || place === undefined) return;
    this.staged.delete(number);
    if (isRefused) this.places.delete(number);
    else this.values.set(DEFERRED_KEY + placeText(place), value);
  }

  /** Its message is done, or another entry has it. */
  finished(number: number): void {
    const place = this.places.get(number);
    if (place === undefined) return;
    this.places.delete(number);
    this.staged.delete(number);
    this.values.set(DEFERRED_KEY + placeText(place), undefined);
    this.values.set(JOINING_KEY + placeText(place), undefined);
  }

  /** The message of an entry is about to join the log. */
  joining(number: number, sequence: number): void {
    const place = this.places.get(number);
    if (place !== undefined) this.values.set(JOINING_KEY + placeText(place), encodeJoining(sequence));
  }

  /** The log has refused it: it joins later. */
  notJoined(number: number): void {
    const place = this.places.get(number);
    if (place !== undefined) this.values.set(JOINING_KEY + placeText(place), undefined);
  }

  /** The log has it. The entry stays until replicas have that. */
  hasJoined(number: number, sequence: number): void {
    if (this.places.has(number)) this.joined.push({ number, sequence });
  }

  /** Replicas have more of the log. */
  released(): void {
    const { releasable } = this.partition;
    while (this.joined.length > 0 && this.joined[0].sequence < releasable) this.finished(this.joined.shift()?.number ?? 0);
  }

  /** The place of the first entry with at least this number. */
  private placeFrom(number: number): number {
    const known = this.bounds.get(number);
    if (known !== undefined) return known;
    let found = this.nextPlace;
    for (const [one, place] of this.places) {
      if (one < number) continue;
      found = place;
      break;
    }
    // Few are asked for again and again, and what is forgotten is found again.
    if (this.bounds.size >= MAX_BOUNDS) this.bounds.clear();
    this.bounds.set(number, found);
    return found;
  }
}
