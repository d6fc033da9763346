import type { Clock, Timer } from "../../base/clock.ts";
import type { ForwardedPublish } from "../../broker/forwarding/forwarded-publish.ts";
import type { LinkAnswer } from "../../broker/forwarding/leader-links.ts";
import type { Connection, Network } from "../net/network.ts";
import { WireError } from "../replication/fields.ts";
import { FrameSplitter } from "../replication/frame-splitter.ts";
import { decodeForwardFrame, encodeForwardFrame, type ForwardFrame } from "./forward-wire.ts";
import { SentFrames } from "./sent-frames.ts";

/** How long an attempt to connect may take, the WELCOME included. */
const ATTEMPT_LIMIT_MS = 1_000;
/** After an attempt that failed no other one is made for this long. */
const PAUSE_MS = 100;
const PING_MS = 1_000;
/** A broker that says nothing for this long, although it was asked, is given up. */
const SILENCE_LIMIT_MS = 3_000;
/** A ping that is late by this means that this process stood still, and has not read what came. */
const STALL_MS = 250;
/** No frame of an answering broker is longer. */
const MAX_ANSWER_BYTES = 1_024;

export interface ForwardLinkParts {
  readonly clock: Clock;
  readonly network: Network;
  readonly cluster: string;
  /** This broker's data path uid. */
  readonly uid: string;
  /** Where a broker listens for others; undefined: it is not alive. */
  addressOf(uid: string): string | undefined;
  onTrouble(uid: string, error: Error): void;
}

/** A publish that has no answer. */
interface Pending {
  readonly done: (answer: LinkAnswer) => void;
  /** Its number among the frames that were sent; undefined: it waits for the connection. */
  frame: number | undefined;
}

/** Where a connection is. */
interface Attempt {
  readonly connection: Connection;
  readonly frames: SentFrames;
  isWelcome: boolean;
  knowsKeys: boolean;
}

/** The connection by which this broker has publishes carried out by another one. It is made when the first one comes. */
export class ForwardLink {
  private attempt: Attempt | undefined;
  private limit: Timer | undefined;
  private pingTimer: Timer | undefined;
  private heardMs = 0;
  private failedMs = Number.NEGATIVE_INFINITY;
  private readonly pending = new Map<number, Pending>();
  private waiting: { number: number; publish: ForwardedPublish }[] = [];
  private lastNumber = 0;
  private isFlushAsked = false;
  private isClosed = false;

  constructor(
    private readonly parts: ForwardLinkParts,
    readonly uid: string,
  ) {}

  /** @param done called once, never from within this call */
  send(publish: ForwardedPublish, done: (answer: LinkAnswer) => void): void {
    const number = (this.lastNumber + 1) >>> 0;
    this.lastNumber = number;
    this.pending.set(number, { done, frame: undefined });
    this.waiting.push({ number, publish });
    if (this.attempt === undefined) this.connect();
    this.askFlush();
  }

  close(): void {
    this.isClosed = true;
    this.lose(this.attempt);
  }

  // ---- the connection

  private connect(): void {
    const { clock, network } = this.parts;
    const address = this.isClosed || clock.steadyMs() - this.failedMs < PAUSE_MS ? undefined : this.parts.addressOf(this.uid);
    // What waits is refused at the end of the turn.
    if (address === undefined) return;
    const splitter = new FrameSplitter(MAX_ANSWER_BYTES);
    const connection = network.connect(address, {
      onOpen: () => {
        if (this.attempt !== attempt) return;
        const { cluster, uid } = this.parts;
        attempt.frames.add(encodeForwardFrame({ kind: "knock", cluster, from: uid, to: this.uid }));
        attempt.frames.flush(connection);
      },
      onDrain: () => {
        if (this.attempt === attempt) attempt.frames.flush(connection);
      },
      onData: (bytes) => {
        try {
          splitter.push(bytes, (frame) => {
            if (this.attempt === attempt) this.receive(attempt, decodeForwardFrame(frame));
          });
        } catch (error) {
          if (!(error instanceof WireError)) throw error;
          this.parts.onTrouble(this.uid, error);
          this.lose(attempt);
        }
      },
      onClosed: () => this.lose(attempt),
    });
    const attempt: Attempt = { connection, frames: new SentFrames(), isWelcome: false, knowsKeys: false };
    this.attempt = attempt;
    this.limit = clock.callAfter(ATTEMPT_LIMIT_MS, () => this.lose(attempt));
  }

  private receive(attempt: Attempt, frame: ForwardFrame): void {
    this.heardMs = this.parts.clock.steadyMs();
    if (frame.kind === "welcome" && !attempt.isWelcome) return this.welcome(attempt, frame.knowsKeys);
    if (!attempt.isWelcome || frame.kind === "knock" || frame.kind === "welcome" || frame.kind === "publish") {
      throw new WireError(`${frame.kind} from a broker that was to answer publishes`);
    }
    if (frame.kind !== "answer") return;
    const pending = this.pending.get(frame.number);
    if (pending?.frame === undefined) throw new WireError(`an answer to publish ${frame.number}, which has none to come`);
    this.pending.delete(frame.number);
    const { answer } = frame;
    pending.done(answer.kind === "unknown" ? { ...answer, knowsKeys: attempt.knowsKeys } : answer);
  }

  private welcome(attempt: Attempt, knowsKeys: boolean): void {
    attempt.isWelcome = true;
    attempt.knowsKeys = knowsKeys;
    if (this.limit !== undefined) this.parts.clock.cancel(this.limit);
    this.pingLater(attempt);
    this.askFlush();
  }

  private pingLater(attempt: Attempt): void {
    const { clock } = this.parts;
    const dueMs = clock.steadyMs() + PING_MS;
    const { leftBytes } = attempt.frames;
    this.pingTimer = clock.callAfter(PING_MS, () => {
      const nowMs = clock.steadyMs();
      // While the other broker takes in a long publish, it has not read what it is to answer.
      if (nowMs - dueMs > STALL_MS || attempt.frames.leftBytes !== leftBytes) this.heardMs = nowMs;
      if (nowMs - this.heardMs > SILENCE_LIMIT_MS) return this.lose(attempt);
      attempt.frames.add(encodeForwardFrame({ kind: "ping" }));
      attempt.frames.flush(attempt.connection);
      this.pingLater(attempt);
    });
  }

  private askFlush(): void {
    if (this.isFlushAsked) return;
    this.isFlushAsked = true;
    this.parts.clock.callAfterTurn(() => {
      this.isFlushAsked = false;
      if (this.attempt === undefined) return this.refuse(() => ({ kind: "lost", wasSent: false, knowsKeys: false }));
      if (this.attempt.isWelcome) this.sendWaiting(this.attempt);
    });
  }

  private sendWaiting({ frames, connection }: Attempt): void {
    for (const { number, publish } of this.waiting) {
      const pending = this.pending.get(number);
      if (pending !== undefined) pending.frame = frames.add(encodeForwardFrame({ kind: "publish", number, publish }), publish.messages);
    }
    this.waiting = [];
    frames.flush(connection);
  }

  /** The connection is lost, or could not be made. */
  private lose(attempt: Attempt | undefined): void {
    if (attempt === undefined || attempt !== this.attempt) return;
    for (const timer of [this.limit, this.pingTimer]) if (timer !== undefined) this.parts.clock.cancel(timer);
    this.attempt = undefined;
    if (!attempt.isWelcome) this.failedMs = this.parts.clock.steadyMs();
    const { knowsKeys, frames } = attempt;
    attempt.connection.abort();
    this.refuse(({ frame }) => ({ kind: "lost", wasSent: frame !== undefined && frames.hasLeft(frame), knowsKeys }));
  }

  private refuse(answer: (pending: Pending) => LinkAnswer): void {
    const lost = [...this.pending.values()];
    this.pending.clear();
    this.waiting = [];
    for (const one of lost) one.done(answer(one));
  }
}
