import type { Clock, Timer } from "../../base/clock.ts";
import type { CloseReason, Connection, ConnectionEvents, Network } from "../net/network.ts";
import { WireError } from "./fields.ts";
import { FrameSplitter } from "./frame-splitter.ts";
import { Incoming } from "./incoming.ts";
import { Outgoing } from "./outgoing.ts";
import { decodeFrame, encodeFrame, type Frame, type Hello, MAX_FRAME_BYTES, type Mark, type ReplicaEnd, WIRE_VERSION } from "./wire.ts";

/** Pauses between attempts to connect. Each is up to half as long again, so that brokers do not knock together. */
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 1_000;
/** How long an attempt may take, the HELLO included. */
const ATTEMPT_LIMIT_MS = 2_000;
/** A connection on which nothing came for this long is given up: the other end may be gone without a word. */
const SILENCE_LIMIT_MS = 5_000;
/** Above this, nothing more is read from logs for this peer until some of it has left. */
const QUEUE_LIMIT_BYTES = 8 * 1024 * 1024;

/** A peer that has taken so little is given up: what is asked for by others is not bounded by the limit above. */
const LONGEST_QUEUE_BYTES = MAX_FRAME_BYTES + 8 * QUEUE_LIMIT_BYTES;

/** What peers need of the process that they are part of. */
export interface PeerParts {
  readonly clock: Clock;
  readonly network: Network;
  /** A number in [0, 1). */
  readonly random: () => number;
  readonly hello: Hello;
}

export interface PeerEvents {
  /** The two can talk. */
  onUp(peer: Peer): void;
  /** What was under way is lost. */
  onDown(peer: Peer): void;
  onFrame(peer: Peer, frame: Exclude<Frame, Hello>): void;
  /** @param who the other broker's uid, or where its connection comes from */
  onTrouble(who: string, error: Error): void;
}

/**
 * Another broker, and the one connection with it. The one of the two with the lower uid makes the connection. The other one knocks when
 * it has ended: whether a new one is refused tells that the process is gone.
 */
export class Peer {
  /** The last attempt to connect was refused, and there was no connection since. */
  isRefused = false;
  /** When something came, by the steady clock. */
  heardMs: number;
  /** On which both have said HELLO. */
  private connection: Connection | undefined;
  private attempt: Connection | undefined;
  private attemptLimit: Timer | undefined;
  private retry: Timer | undefined;
  private pauseMs = FIRST_PAUSE_MS;
  private isClosed = false;
  private readonly outgoing = new Outgoing();
  private isFlushAsked = false;
  private readonly ends = new Map<number, ReplicaEnd>();
  private marks: Mark[] = [];

  constructor(
    private readonly parts: PeerParts,
    readonly uid: string,
    private reachedAt: string,
    private readonly events: PeerEvents,
  ) {
    this.heardMs = parts.clock.steadyMs();
  }

  start(): void {
    this.connect();
  }

  close(): void {
    this.isClosed = true;
    this.stopAttempt();
    this.connection?.abort();
    this.connection = undefined;
  }

  get isUp(): boolean {
    return this.connection !== undefined;
  }

  /** "": not known. */
  get address(): string {
    return this.reachedAt;
  }

  get isFull(): boolean {
    return this.outgoing.queuedBytes > QUEUE_LIMIT_BYTES;
  }

  /** @param address "": it is not connected to any more */
  moveTo(address: string): void {
    if (address === this.address) return;
    this.reachedAt = address;
    if (this.isUp) return;
    this.stopAttempt();
    this.pauseMs = FIRST_PAUSE_MS;
    this.connect();
  }

  // ---- sending

  send(frame: Frame): void {
    this.sendEncoded(encodeFrame(frame));
  }

  /** @param frame what encodeFrame() returned */
  sendEncoded(frame: Buffer): void {
    if (!this.isUp) return;
    if (this.outgoing.queuedBytes > LONGEST_QUEUE_BYTES) return this.giveUp();
    this.outgoing.push(frame);
    this.askFlush();
  }

  private giveUp(): void {
    this.events.onTrouble(this.uid, new Error("it does not take what it is sent"));
    this.connection?.abort();
  }

  /** Has the end of a partition told at the end of the turn. */
  sendEnd(end: ReplicaEnd): void {
    if (!this.isUp) return;
    this.ends.set(end.partition, end);
    this.askFlush();
  }

  /** A FOLLOW is sent next: what was to be said of the partition's end is of the time before it. */
  dropEnd(partition: number): void {
    this.ends.delete(partition);
  }

  /** Has a watermark told with the next beat. */
  sendMark(mark: Mark): void {
    if (this.isUp) this.marks.push(mark);
  }

  /** To be called every 200 ms. */
  beat(): void {
    if (!this.isUp) return;
    if (this.parts.clock.steadyMs() - this.heardMs > SILENCE_LIMIT_MS) return this.lose();
    this.send({ kind: "beat", marks: this.marks });
    this.marks = [];
  }

  /** This process stood still: what came meanwhile has not been read. */
  forgiveSilence(nowMs: number): void {
    this.heardMs = nowMs;
  }

  private askFlush(): void {
    if (this.isFlushAsked) return;
    this.isFlushAsked = true;
    this.parts.clock.callAfterTurn(() => this.sendNow());
  }

  /** Sends what would be sent at the end of the turn. */
  sendNow(): void {
    if (!this.isFlushAsked) return;
    this.isFlushAsked = false;
    if (this.ends.size > 0) this.outgoing.push(encodeFrame({ kind: "ends", ends: [...this.ends.values()] }));
    this.ends.clear();
    this.flush();
  }

  private flush(): void {
    if (this.connection !== undefined) this.outgoing.flush(this.connection);
  }

  // ---- the connection

  private get dials(): boolean {
    return this.parts.hello.uid < this.uid;
  }

  /** Makes a connection, or finds out whether one could be made. */
  private connect(): void {
    if (this.isClosed || this.isUp || this.address === "") return;
    const { clock, network } = this.parts;
    const attempt = network.connect(
      this.address,
      this.eventsOf(() => attempt),
    );
    this.attempt = attempt;
    this.attemptLimit = clock.callAfter(ATTEMPT_LIMIT_MS, () => attempt.abort());
  }

  private connectLater(): void {
    if (this.isClosed || this.isUp) return;
    const { clock, random } = this.parts;
    const pauseMs = this.pauseMs * (1 + random() / 2);
    this.pauseMs = Math.min(LONGEST_PAUSE_MS, 2 * this.pauseMs);
    this.retry = clock.callAfter(pauseMs, () => {
      this.retry = undefined;
      this.connect();
    });
  }

  private stopAttempt(): void {
    for (const timer of [this.retry, this.attemptLimit]) if (timer !== undefined) this.parts.clock.cancel(timer);
    this.attempt?.abort();
    this.retry = this.attemptLimit = this.attempt = undefined;
  }

  /** Takes a connection on which the other one has said HELLO, which was checked. @returns what the connection tells from now on */
  accept(connection: Connection): ConnectionEvents {
    if (this.isUp) this.lose(false);
    this.stopAttempt();
    this.nowUp(connection);
    this.outgoing.push(encodeFrame(this.parts.hello));
    this.askFlush();
    this.events.onUp(this);
    return this.eventsOf(() => connection);
  }

  /** What comes on a connection that is neither the current one nor the current attempt does not count. */
  private eventsOf(own: () => Connection): ConnectionEvents {
    const splitter = new FrameSplitter(MAX_FRAME_BYTES);
    const counts = () => own() === this.connection || own() === this.attempt;
    const failed = (error: Error) => {
      this.events.onTrouble(this.uid, error);
      own().abort();
      this.ended(own(), "failed");
    };
    const incoming = new Incoming(this.parts.clock, own, {
      onFrame: (frame) => {
        if (counts()) this.receive(own(), decodeFrame(frame));
      },
      onFailed: (error, isLate) => {
        if (error instanceof WireError) return failed(error);
        if (!isLate) throw error;
        failed(new Error(`a defect of this program: ${error.stack}`));
      },
      onEnd: (reason) => this.ended(own(), reason),
    });
    return {
      onOpen: () => this.opened(own()),
      onDrain: () => {
        if (own() === this.connection) this.flush();
      },
      onData: (bytes) => {
        if (counts()) this.heardMs = this.parts.clock.steadyMs();
        try {
          splitter.push(bytes, (frame) => incoming.push(frame));
        } catch (error) {
          if (!(error instanceof WireError)) throw error;
          incoming.work();
          return failed(error);
        }
        incoming.work();
      },
      onClosed: (reason) => incoming.end(reason),
    };
  }

  private opened(connection: Connection): void {
    if (connection !== this.attempt) return;
    this.isRefused = false;
    if (this.dials) {
      const hello = encodeFrame(this.parts.hello);
      connection.write(hello, 0, hello.length);
      return;
    }
    // It was a knock: somebody is there, and will make a connection. A process that stands still would never close this one.
    connection.abort();
    this.ended(connection, "closed");
  }

  private ended(connection: Connection, reason: CloseReason): void {
    if (connection === this.connection) return this.lose();
    if (connection !== this.attempt) return;
    this.attempt = undefined;
    this.stopAttempt();
    if (reason === "refused") this.isRefused = true;
    this.connectLater();
  }

  private receive(connection: Connection, frame: Frame): void {
    if (frame.kind !== "hello") {
      if (connection !== this.connection) throw new WireError(`${frame.kind} before HELLO`);
      return this.events.onFrame(this, frame);
    }
    if (connection === this.connection) throw new WireError("a second HELLO");
    checkHello(frame, this.parts.hello);
    if (frame.uid !== this.uid) throw new WireError(`it is ${frame.uid}, and not ${this.uid}`);
    this.attempt = undefined;
    this.stopAttempt();
    this.nowUp(connection);
    this.events.onUp(this);
  }

  private nowUp(connection: Connection): void {
    this.connection = connection;
    this.isRefused = false;
    this.pauseMs = FIRST_PAUSE_MS;
    this.heardMs = this.parts.clock.steadyMs();
  }

  /** @param again false: another connection takes its place */
  private lose(again = true): void {
    this.connection?.abort();
    this.connection = undefined;
    this.outgoing.clear();
    this.ends.clear();
    this.marks = [];
    this.events.onDown(this);
    if (again) this.connect();
  }
}

/** @throws WireError for a broker that this one cannot talk to */
export function checkHello(theirs: Hello, ours: Hello): void {
  if (theirs.version !== WIRE_VERSION) throw new WireError(`it speaks version ${theirs.version}, and not ${WIRE_VERSION}`);
  if (theirs.cluster !== ours.cluster) throw new WireError(`it is of the cluster "${theirs.cluster}", and not "${ours.cluster}"`);
  if (theirs.uid === ours.uid) throw new WireError("it has the same data path uid");
}
