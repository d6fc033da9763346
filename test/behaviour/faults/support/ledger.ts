import type { Request } from "./file-kinds.ts";

/** A message, and what became known of it. */
export interface Sent {
  readonly body: string;
  readonly topic: string;
  readonly key: string;
  readonly deferMs: number;
  /** `repeat`: its key is that of a message that was acknowledged before, so it is no message of its own. */
  state: "sent" | "acknowledged" | "refused" | "repeat";
  /** The number of the run of the broker in which it was sent: an answer of one that was killed comes to nobody. */
  readonly run: number;
  /** By the wall clock. */
  readonly sentMs: number;
  /** When a consumer finished it, by the wall clock, ms; undefined: it did not. */
  finishedMs: number | undefined;
  /** It was finished shortly before a kill, so it may come again. */
  mayRepeat: boolean;
  /** It was requeued, so it may be among the deferred messages. */
  requeued: boolean;
}

/** A request that was refused. */
export interface Refused {
  /** What it was; a deferred publish with a key is both. */
  readonly requests: readonly Request[];
  readonly topic: string;
  readonly why: string;
}

/** All that clients know: what they published, what was acknowledged, and what came. It lasts over runs of the broker. */
export class Ledger {
  readonly messages = new Map<string, Sent>();
  /** Channels that were deleted, or whose topic was, owe nothing. */
  readonly deleted = new Set<string>();
  readonly refused: Refused[] = [];
  /** What must not have happened. */
  readonly violations: string[] = [];
  /** What was refused because it could not be synced may be delivered: it is in the log. */
  refusedMayCome = false;
  /** The power was cut since the last clean stop. */
  wasCut = false;
  run = 0;
  next = 0;

  copy(): Ledger {
    const copy = new Ledger();
    for (const [body, sent] of this.messages) copy.messages.set(body, { ...sent });
    for (const topic of this.deleted) copy.deleted.add(topic);
    copy.violations.push(...this.violations);
    copy.run = this.run;
    copy.next = this.next;
    return copy;
  }

  /** A consumer got a message. @returns the message, unless nobody published it */
  arrived(body: string): Sent | undefined {
    const sent = this.messages.get(body);
    if (sent === undefined) this.violate(`${body} was delivered and never published`);
    else if (this.deleted.has(sent.topic)) this.violate(`${body} was delivered, and its topic had been deleted`);
    else if (sent.state === "repeat") this.violate(`${body} was delivered, and repeats the key of another message`);
    else if (sent.state === "refused" && !this.refusedMayCome) this.violate(`${body} was delivered, and its publish was refused`);
    else if (sent.finishedMs !== undefined && !sent.mayRepeat) {
      this.violate(`${body} was delivered again, and had been finished`);
    } else {
      sent.finishedMs = undefined;
      // A power cut may take the record that a deferred message is in the log, or in another bucket.
      sent.mayRepeat &&= this.wasCut && (sent.deferMs > 0 || sent.requeued);
    }
    return sent;
  }

  /** The run is killed. What was finished at or after a time may come again. */
  restarts(sinceMs: number): void {
    for (const sent of this.messages.values()) {
      if (sent.finishedMs !== undefined && sent.finishedMs >= sinceMs) sent.mayRepeat = true;
    }
  }

  /** The run stops cleanly: nothing may come again. @param holding topics that have delivered nothing in this run */
  stops(holding: readonly string[]): void {
    for (const sent of this.messages.values()) sent.mayRepeat &&= holding.includes(sent.topic);
  }

  refuse(requests: readonly Request[], topic: string, error: unknown): void {
    const { name, message, stack } = error as Error;
    // A defect is no refusal.
    if (["TypeError", "RangeError", "ReferenceError"].includes(name)) this.violate(stack ?? message);
    this.refused.push({ requests, topic, why: message });
  }

  violate(what: string): void {
    if (this.violations.length < 20) this.violations.push(what);
  }

  /** What was acknowledged and is not finished. */
  get owed(): Sent[] {
    return [...this.messages.values()].filter(
      ({ state, finishedMs, topic }) => state === "acknowledged" && finishedMs === undefined && !this.deleted.has(topic),
    );
  }
}
