import type { PublishError } from "./errors.ts";
import type { Features } from "./events.ts";
import { type Body, type BodyWithHeader, bodyBytes, itemBytes, type Outbox } from "./outbox.ts";

/** What is known of a message that was published. Messages of one batch share one. */
export interface Receipt {
  readonly broker: string;
  /** How often the message was sent. */
  readonly attempts: number;
  /** An earlier attempt may have succeeded at another broker, so that the message may be there twice. */
  readonly mayBeDuplicate: boolean;
}

/** Learns once what became of a message. */
export type Done = (error: PublishError | Error | undefined, receipt: Receipt | undefined) => void;

/** A message until a broker has acknowledged it. */
export interface Publication extends BodyWithHeader {
  /** The key by which its broker is chosen. */
  readonly key: string | undefined;
  /** Its header says more than its key, so that a broker without headers must not get it. */
  readonly needsHeader: boolean;
  readonly bytes: number;
  /** When it is given up. */
  readonly deadlineMs: number;
  done: Done | undefined;
  /** Its publisher does not want it any more. If it was not sent yet, it is left out. */
  isCancelled: boolean;
}

/** Says that a message may go to any partition, or to that of its key. */
const ANY_PARTITION = -1;

/** Messages that are sent in one command, and are acknowledged or refused together. */
export class Batch {
  readonly publications: Publication[] = [];
  bytes = 0;
  /** How often it was sent. */
  attempts = 0;
  /** On how many connections it was without an answer when they broke. */
  losses = 0;
  /** It may be at a broker that did not acknowledge it. */
  mayBeDuplicate = false;
  /** The broker that it was sent to last, and that has not answered or does not know whether it was published. */
  sentTo: string | undefined;
  /** What `sentTo` was before it was sent last. */
  doubtedAt: string | undefined;
  /** The broker that it was sent to knows its key, so that it can be repeated there. */
  wasKeyed = false;
  /** The cluster whose brokers all know its key; undefined: only the one that it was sent to may. */
  cluster: string | undefined;
  /** When brokers of a cluster have begun to refuse it, by the steady clock. */
  refusedSinceMs: number | undefined;
  /** Its publishers have been told that it took too long. */
  isAbandoned = false;
  /** A message has a header. */
  private hasHeader = false;
  /** It was last sent with headers. */
  private isExtended = false;

  /**
   * @param deferMs undefined for messages that are not deferred
   * @param isWhole all its messages were given in one call, and no other is added
   * @param idempotencyKey the same for all attempts
   * @param items the messages of a batch that was given in one call; the one publication then stands for all of them
   * @param partition of the topic; undefined: that of each message's key, or any
   */
  constructor(
    readonly topic: string,
    readonly deferMs: number | undefined,
    readonly isWhole: boolean,
    readonly idempotencyKey: string | undefined,
    private items: readonly BodyWithHeader[] | undefined = undefined,
    readonly partition: number | undefined = undefined,
  ) {
    this.hasHeader = items?.some(({ header }) => header !== undefined) ?? false;
  }

  get count(): number {
    return this.items?.length ?? this.publications.length;
  }

  /** The key by which its broker is chosen. Other brokers than the one that it was gathered for may not have all its keys. */
  get key(): string | undefined {
    return this.publications[0]?.key;
  }

  /** It was not given in one call, and its messages may belong to several brokers. */
  get hasSeveralKeys(): boolean {
    const { key, publications } = this;
    return !this.isWhole && publications.some((publication) => publication.key !== key);
  }

  /** A message has a key, so that the batch waits for its broker. */
  get isKeyed(): boolean {
    return this.partition !== undefined || this.publications.some(({ key }) => key !== undefined);
  }

  /** A broker without headers would lose more than keys, or choose the partition. */
  get needsHeaders(): boolean {
    return this.partition !== undefined || this.publications.some(({ needsHeader }) => needsHeader);
  }

  get deadlineMs(): number {
    return this.publications[0]?.deadlineMs ?? Number.POSITIVE_INFINITY;
  }

  /** It was not sent, and nobody wants any of its messages any more. */
  get isUnwanted(): boolean {
    return this.sentTo === undefined && this.publications.every(({ isCancelled }) => isCancelled);
  }

  /** As it was sent last. */
  get command(): string {
    const { isExtended } = this;
    if (this.deferMs !== undefined) return isExtended ? "DPUB_EXT" : "DPUB";
    if (this.isBatch) return isExtended ? "MPUB_EXT" : "MPUB";
    return isExtended ? "PUB_EXT" : "PUB";
  }

  /** A single message without a header can name its partition only so: PUB_EXT needs a header. */
  private get isBatch(): boolean {
    return this.count !== 1 || (this.isExtended && !this.hasHeader);
  }

  add(publication: Publication): void {
    this.publications.push(publication);
    if (publication.header !== undefined) this.hasHeader = true;
    this.bytes += publication.bytes;
  }

  /** What was sent last is not published. What was sent before may be. */
  wasRefused(): void {
    this.sentTo = this.doubtedAt;
  }

  /** Takes out messages that nobody wants any more. */
  dropCancelled(): void {
    if (!this.publications.some(({ isCancelled }) => isCancelled)) return;
    const kept = this.publications.filter(({ isCancelled }) => !isCancelled);
    this.publications.splice(0, this.publications.length, ...kept);
    // A whole batch has one publication for all.
    if (kept.length === 0) this.items = undefined;
    this.bytes = kept.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Each of its messages in a batch of its own. It was not given in one call. */
  singles(newKey: () => string | undefined): Batch[] {
    return this.publications.map((publication) => {
      const single = new Batch(this.topic, undefined, true, newKey());
      single.add(publication);
      // Under other keys they are not recognized.
      single.mayBeDuplicate = this.mayBeDuplicate || this.sentTo !== undefined;
      single.attempts = this.attempts;
      single.losses = this.losses;
      single.refusedSinceMs = this.refusedSinceMs;
      return single;
    });
  }

  /** @param features of the broker */
  writeTo(outbox: Outbox, { idempotency, messageHeaders }: Features): void {
    this.isExtended = messageHeaders && (this.hasHeader || this.partition !== undefined);
    const { isExtended, topic, deferMs, idempotencyKey, partition = ANY_PARTITION } = this;
    const idempotent = idempotency && idempotencyKey !== undefined;
    outbox.ascii(this.command).ascii(" ").ascii(topic);
    if (deferMs !== undefined) outbox.ascii(` ${deferMs}`);
    if (isExtended && (idempotent || partition !== ANY_PARTITION)) outbox.ascii(` ${partition}`);
    if (idempotent) outbox.ascii(" ").ascii(idempotencyKey);
    outbox.ascii("\n");
    const items = this.items ?? this.publications;
    const first = items[0] as BodyWithHeader;
    if (!isExtended) {
      if (this.isBatch) outbox.batch(items.map(({ body }) => body));
      else outbox.sized(first.body);
    } else if (this.isBatch && deferMs === undefined) {
      outbox.batchWithHeaders(items);
    } else {
      outbox.sizedWithHeader(first.header === undefined ? { body: first.body, header: "{}" } : first);
    }
  }

  /** @param onThrown gets what a callback throws, so that the others are called all the same */
  settle(error: Error | undefined, receipt: Receipt | undefined, onThrown: (thrown: unknown) => void): void {
    for (const publication of this.publications) settle(publication, error, receipt, onThrown);
  }
}

/** Tells the publisher of a message what became of it. @param onThrown gets what the callback throws */
export function settle(
  publication: Publication,
  error: Error | undefined,
  receipt: Receipt | undefined,
  onThrown: (thrown: unknown) => void,
): void {
  const { done } = publication;
  publication.done = undefined;
  try {
    done?.(error, receipt);
  } catch (thrown) {
    onThrown(thrown);
  }
}

/** The size in front of each body in a batch. */
export const BODY_SIZE_BYTES = 4;

/** How many bytes a message takes in a batch, at most. */
export function publicationBytes(body: Body, header: string | undefined): number {
  return header === undefined ? BODY_SIZE_BYTES + bodyBytes(body) : itemBytes({ body, header });
}
