import type { PublishError } from "./errors.ts";
import { type Body, bodyBytes, type Outbox } from "./outbox.ts";

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
export interface Publication {
  readonly body: Body;
  /** The key by which its broker is chosen. */
  readonly key: string | undefined;
  readonly bytes: number;
  /** When it is given up. */
  readonly deadlineMs: number;
  done: Done | undefined;
  /** Its publisher does not want it any more. If it was not sent yet, it is left out. */
  isCancelled: boolean;
}

/** Messages that are sent in one command, and are acknowledged or refused together. */
export class Batch {
  readonly publications: Publication[] = [];
  bytes = 0;
  /** How often it was sent. */
  attempts = 0;
  /** It may be at a broker that did not acknowledge it. */
  mayBeDuplicate = false;
  /** The broker that it was sent to and that has not answered. */
  sentTo: string | undefined;
  /** The broker that it was sent to knows its key, so that it can be repeated there. */
  wasKeyed = false;
  /** Its publishers have been told that it took too long. */
  isAbandoned = false;

  /**
   * @param deferMs undefined for messages that are not deferred
   * @param isWhole all its messages were given in one call, and no other is added
   * @param idempotencyKey the same for all attempts
   * @param bodies of a batch that was given in one call; the one publication then stands for all of them
   */
  constructor(
    readonly topic: string,
    readonly deferMs: number | undefined,
    readonly isWhole: boolean,
    readonly idempotencyKey: string | undefined,
    private bodies: readonly Body[] | undefined = undefined,
  ) {}

  get count(): number {
    return this.bodies?.length ?? this.publications.length;
  }

  get deadlineMs(): number {
    return this.publications[0]?.deadlineMs ?? Number.POSITIVE_INFINITY;
  }

  /** It was not sent, and nobody wants any of its messages any more. */
  get isUnwanted(): boolean {
    return this.sentTo === undefined && this.publications.every(({ isCancelled }) => isCancelled);
  }

  get command(): "PUB" | "MPUB" | "DPUB" {
    if (this.deferMs !== undefined) return "DPUB";
    return this.count === 1 ? "PUB" : "MPUB";
  }

  add(publication: Publication): void {
    this.publications.push(publication);
    this.bytes += publication.bytes;
  }

  /** Takes out messages that nobody wants any more. */
  dropCancelled(): void {
    if (!this.publications.some(({ isCancelled }) => isCancelled)) return;
    const kept = this.publications.filter(({ isCancelled }) => !isCancelled);
    this.publications.splice(0, this.publications.length, ...kept);
    // A whole batch has one publication for all.
    if (kept.length === 0) this.bodies = undefined;
    this.bytes = kept.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** @param withKey whether the broker knows idempotency keys */
  writeTo(outbox: Outbox, withKey: boolean): void {
    const { command, topic, deferMs, idempotencyKey, publications } = this;
    outbox.ascii(command).ascii(" ").ascii(topic);
    if (deferMs !== undefined) outbox.ascii(` ${deferMs}`);
    if (withKey && idempotencyKey !== undefined) outbox.ascii(" ").ascii(idempotencyKey);
    outbox.ascii("\n");
    if (command === "MPUB") outbox.batch(this.bodies ?? publications.map(({ body }) => body));
    else outbox.sized((publications[0] as Publication).body);
  }

  /** @param onThrown gets what a callback throws, so that the others are called all the same */
  settle(error: Error | undefined, receipt: Receipt | undefined, onThrown: (thrown: unknown) => void): void {
    for (const publication of this.publications) {
      const { done } = publication;
      publication.done = undefined;
      try {
        done?.(error, receipt);
      } catch (thrown) {
        onThrown(thrown);
      }
    }
  }
}

/** The size in front of each body in a batch. */
export const BODY_SIZE_BYTES = 4;

/** How many bytes a message takes in a batch, at most. */
export function publicationBytes(body: Body): number {
  return BODY_SIZE_BYTES + bodyBytes(body);
}
