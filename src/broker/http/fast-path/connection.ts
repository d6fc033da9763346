import { freeBuffer } from "../../../base/free-buffer.ts";
import { MpubCheck } from "../../../frame/mpub.ts";
import { SMALL_BODY_BYTES } from "../../../http/server/body.ts";
import type { ClientConnection } from "../../../net/client-listener.ts";
import { PieceBuffer, UNKNOWN_LENGTH } from "../../../net/piece-buffer.ts";
import type { HeldPublish } from "../../acks/pending-publish.ts";
import type { Chunk } from "../../storage/log/chunk.ts";
import type { Topic } from "../../topics/topic.ts";
import { batchOfLines } from "../lines.ts";
import type { ExpressLane } from "./fast-path.ts";
import { type ExpressClient, ExpressHeld } from "./pending-acks.ts";
import { HandOver } from "./proxy.ts";
import { ExpressHead, INCOMPLETE, MAX_HEAD_BYTES, OTHER } from "./request-head.ts";

/** With so many publishes waiting for their commit a client's further requests wait too. */
const MAX_HELD = 256;
/** A head that comes in more pieces than this is none of a publishing client: each is looked at from its start. */
const MAX_HEAD_PIECES = 64;
/** How long a head may take to come, as with Bun.serve(). */
const HEAD_TIMEOUT_MS = 10_000;
/** Bytes of the count in front of a batch. */
const COUNT_BYTES = 4;

/** Filled by each request in turn: between two of them nothing of it is needed. */
const head = new ExpressHead();
const check = new MpubCheck();

/**
 * One client's connection to the broker's HTTP address. Requests that publish are taken apart in the bytes the socket
 * brought, and answered when the tick has committed them. At the first that is anything else all goes to Bun.serve()
 * (express-hand-over.ts), and stays there.
 */
export class ExpressConnection implements ClientConnection, ExpressClient {
  closed = false;

  /** Its answers that wait for their commit. */
  private readonly held = new ExpressHeld(this);

  /** A request that comes in pieces, from its first byte on. */
  private pieces: PieceBuffer<Chunk> | undefined;
  private headPieces = 0;
  private piecesSinceMs = 0;
  /** Bytes of the request under way, with its head; unknown while that is not complete. */
  private wholeBytes = UNKNOWN_LENGTH;
  /** Of the budget for large bodies. */
  private reservedBytes = 0;
  /** Counted among the requests under way. */
  private counted = false;

  /** What came while no more was taken. */
  private postponed: Buffer[] = [];
  private paused = false;
  /** The request at the start of `postponed` is not for the lane. */
  private handing = false;
  private handOver: HandOver | undefined;
  /** The client has ended its side. */
  private inputEnded = false;
  /** Answers that the client does not take. */
  private unsent: Buffer | undefined;

  private activeMs: number;
  private topic: Topic | undefined;

  constructor(
    private readonly lane: ExpressLane,
    private readonly socket: Bun.Socket<ExpressConnection | undefined>,
  ) {
    this.activeMs = lane.services.turn.steadyMs;
  }

  // ---- what comes in

  receive(data: Buffer): void {
    this.lane.services.turn.readClock();
    this.activeMs = this.lane.services.turn.steadyMs;
    if (this.handOver !== undefined) this.handOver.fromClient(data);
    else if (this.paused) this.postponed.push(data);
    else {
      this.take(data);
      this.handOverIfReady();
      if (!this.paused && this.handOver === undefined) freeBuffer(data);
    }
  }

  /** The client has ended its side: what it sent is answered, then the connection ends. */
  onInputEnd(): void {
    this.inputEnded = true;
    if (this.handOver !== undefined) this.handOver.clientEnded();
    else this.endIfDone();
  }

  private take(data: Buffer): void {
    const end = data.length;
    let at = 0;
    while (at < end) {
      if (this.held.length >= MAX_HELD || this.unsent !== undefined) this.pause();
      if (this.paused) {
        this.postponed.push(data.subarray(at));
        return;
      }
      at = this.pieces === undefined ? this.takeRequest(data, at, end) : this.collect(this.pieces, data, at, end);
    }
  }

  /** Of requests that are whole in what the socket brought nothing is copied but their bodies into the log. */
  private takeRequest(data: Buffer, at: number, end: number): number {
    const taken = this.publish(data, at, end);
    if (taken > 0) return at + taken;
    if (taken === OTHER || !this.startBody()) {
      this.leaveLane();
      return at;
    }
    this.piecesSinceMs = this.lane.services.turn.steadyMs;
    this.headPieces = 0;
    this.pieces = new PieceBuffer(this.lane.services.chunks);
    return this.collect(this.pieces, data, at, end);
  }

  /** Adds bytes to a request that comes in pieces. @returns the offset behind what was taken */
  private collect(pieces: PieceBuffer<Chunk>, data: Buffer, at: number, end: number): number {
    const hadHead = this.wholeBytes !== UNKNOWN_LENGTH;
    const to = at + Math.min(end - at, (hadHead ? this.wholeBytes : MAX_HEAD_BYTES) - pieces.length);
    pieces.append(data, at, to, this.wholeBytes);
    if (pieces.length < this.wholeBytes) return to;
    const taken = this.publish(pieces.buffer, 0, pieces.length);
    if (taken > 0) {
      const behind = pieces.length - taken;
      this.forgetPieces();
      return to - behind;
    }
    const isOther =
      taken === OTHER || (this.wholeBytes === UNKNOWN_LENGTH && ++this.headPieces > MAX_HEAD_PIECES) || (!hadHead && !this.startBody());
    if (isOther) {
      this.postponed.push(Buffer.from(pieces.buffer.subarray(0, pieces.length)));
      this.leaveLane();
    }
    return to;
  }

  /** The head is there, or not yet. @returns false: there is no room for the body now, and the request has to wait its turn */
  private startBody(): boolean {
    if (this.wholeBytes === UNKNOWN_LENGTH) return true;
    if (!this.countRequest()) return false;
    if (head.bodyBytes <= SMALL_BODY_BYTES) return true;
    if (!this.lane.load.bodies.tryReserve(head.bodyBytes)) return false;
    this.reservedBytes = head.bodyBytes;
    return true;
  }

  private forgetPieces(): void {
    if (this.reservedBytes > 0) this.lane.load.bodies.release(this.reservedBytes);
    this.reservedBytes = 0;
    this.pieces?.clear();
    this.pieces = undefined;
    this.wholeBytes = UNKNOWN_LENGTH;
  }

  // ---- publishing

  /**
   * Publishes the request that begins at `from`.
   *
   * @returns its bytes, INCOMPLETE (`wholeBytes` and `head` say how much there will be, if the head is there), or OTHER
   */
  private publish(bytes: Buffer, from: number, to: number): number {
    const headBytes = head.parse(bytes, from, to);
    if (headBytes <= 0) {
      this.wholeBytes = UNKNOWN_LENGTH;
      return headBytes;
    }
    const { options, publishing } = this.lane.services;
    const { maxMsgSizeBytes, maxBodySizeBytes } = options;
    if (head.bodyBytes > (head.batch ? maxBodySizeBytes : maxMsgSizeBytes)) return OTHER;
    // /mpub makes its topic before its body is there, /pub after (nsqd/http.go).
    const whole = headBytes + head.bodyBytes;
    const incomplete = to - from < whole;
    if (incomplete && !head.batch) return this.expectBody(whole);
    const topic = this.namedTopic(bytes);
    if (topic === undefined || publishing.refusalFor(topic) !== undefined) return OTHER;
    if (incomplete) return this.expectBody(whole);
    if (!this.countRequest()) return OTHER;
    const bodyAt = from + headBytes;
    const taken = head.batch ? this.publishBatch(topic, bytes, bodyAt, from + whole) : this.publishOne(topic, bytes, bodyAt);
    if (taken) return whole;
    this.uncountIfDone();
    return OTHER;
  }

  private expectBody(whole: number): number {
    this.wholeBytes = whole;
    return INCOMPLETE;
  }

  private publishOne(topic: Topic, bytes: Buffer, from: number): true {
    topic.publish(bytes, from, head.bodyBytes, this.lane.services.turn.time);
    this.hold(topic.pendingPub);
    return true;
  }

  /** @returns false for a batch that is refused, or empty */
  private publishBatch(topic: Topic, bytes: Buffer, from: number, to: number): boolean {
    const { options, turn } = this.lane.services;
    const { maxMsgSizeBytes, maxBodySizeBytes } = options;
    if (head.binary) {
      const over = check.reset().resume(bytes, from, to, maxMsgSizeBytes, maxBodySizeBytes);
      if (!over || check.error !== undefined) return false;
      topic.publishMany(bytes, from + COUNT_BYTES, from + check.offset, check.count, turn.time);
    } else {
      const batch = batchOfLines(bytes.subarray(from, to), maxMsgSizeBytes);
      if (batch === undefined || batch.length === COUNT_BYTES) return false;
      const lines = Buffer.from(batch.buffer, batch.byteOffset, batch.byteLength);
      topic.publishMany(lines, COUNT_BYTES, lines.length, lines.readUInt32BE(0), turn.time);
    }
    this.hold(topic.pendingMpub);
    return true;
  }

  /** The topic that the head names. One that exists costs no string; the same as last time no look-up. */
  private namedTopic(bytes: Buffer): Topic | undefined {
    const { topic } = this;
    const { topicStart, topicEnd } = head;
    if (topic !== undefined && !topic.deleted && topic.isNamed(bytes, topicStart, topicEnd)) return topic;
    const { registry } = this.lane.services;
    try {
      this.topic = registry.knownTopic(bytes, topicStart, topicEnd) ?? registry.topic(bytes.toString("latin1", topicStart, topicEnd));
    } catch {
      // Not swallowed: the request is handed over, and its handler meets the same error and tells of it.
      return undefined;
    }
    return this.topic;
  }

  /** @returns false when there are too many under way */
  private countRequest(): boolean {
    if (this.counted) return true;
    const { load, limits } = this.lane;
    if (load.underWay >= limits.requests) return false;
    load.underWay++;
    this.counted = true;
    return true;
  }

  private uncountIfDone(): void {
    if (!this.counted || this.held.length > 0 || this.wholeBytes !== UNKNOWN_LENGTH) return;
    this.counted = false;
    this.lane.load.underWay--;
  }

  // ---- what goes out

  private hold(publish: HeldPublish): void {
    if (this.held.push(publish)) this.lane.holdAcks(this.held);
  }

  answerOks(count: number): void {
    const { answers, services } = this.lane;
    for (let left = count; left > 0; ) {
      const many = answers.okCount(left);
      const { buffer, length } = answers.okRun(many, services.turn.nowMs);
      this.send(buffer, length);
      left -= many;
    }
  }

  answerFailure(): void {
    const answer = this.lane.answers.failure(this.lane.services.turn.nowMs);
    this.send(answer, answer.length);
  }

  private send(bytes: Buffer, length: number): void {
    let sent = 0;
    if (this.unsent === undefined) {
      sent = this.socket.write(bytes, 0, length);
      if (sent === length) return;
      // The client is gone, and while it is not read nothing else tells of that.
      if (sent < 0) return void this.socket.terminate();
    }
    const rest = bytes.subarray(sent, length);
    // No more is taken until they are out, so this is at most the answers to MAX_HELD requests.
    this.unsent = this.unsent === undefined ? Buffer.from(rest) : Buffer.concat([this.unsent, rest]);
  }

  /** The kernel takes bytes again. */
  onDrain(): void {
    this.lane.services.turn.readClock();
    this.activeMs = this.lane.services.turn.steadyMs;
    if (this.handOver !== undefined) return this.handOver.clientDrained();
    const { unsent } = this;
    if (unsent === undefined) return;
    const sent = this.socket.write(unsent, 0, unsent.length);
    if (sent < 0) return void this.socket.terminate();
    this.unsent = sent === unsent.length ? undefined : unsent.subarray(sent);
    this.released();
  }

  /** Answers went out: more can be taken, and what waited for them can happen. */
  released(): void {
    if (this.closed || this.unsent !== undefined || this.held.length > 0) return;
    this.activeMs = this.lane.services.turn.steadyMs;
    this.uncountIfDone();
    if (this.paused && !this.handing) {
      this.paused = false;
      const { postponed } = this;
      this.postponed = [];
      // What is not taken now is postponed again, in its order.
      for (const data of postponed) {
        if (this.paused) this.postponed.push(data);
        else this.take(data);
      }
      if (!this.paused) this.socket.resume();
    }
    this.handOverIfReady();
    this.endIfDone();
  }

  private pause(): void {
    if (this.paused) return;
    this.paused = true;
    this.socket.pause();
  }

  // ---- the way to Bun.serve()

  /** From the request on that is under way all is for Bun.serve(), once the answers before it are out. */
  private leaveLane(): void {
    this.forgetPieces();
    this.uncountIfDone();
    this.handing = true;
    this.pause();
  }

  private handOverIfReady(): void {
    if (!this.handing || this.handOver !== undefined || this.closed) return;
    if (this.held.length > 0 || this.unsent !== undefined) return;
    this.handOver = new HandOver(this.lane, this.socket, this.postponed, this.inputEnded);
    this.postponed = [];
  }

  // ---- life and death

  /** Looks at the clock. */
  checkTime(nowMs: number): void {
    if (this.handOver !== undefined) return this.handOver.checkTime(nowMs);
    if (this.held.length > 0) return;
    const headLate = this.pieces !== undefined && this.wholeBytes === UNKNOWN_LENGTH && nowMs - this.piecesSinceMs >= HEAD_TIMEOUT_MS;
    if (!headLate && nowMs - this.activeMs < this.lane.idleTimeoutMs) return;
    // Orderly, but to a client that takes nothing.
    if (this.unsent === undefined) this.socket.end();
    else this.socket.terminate();
  }

  /** The broker goes down: what is under way is answered, then the connection ends. */
  leave(): void {
    this.endIfDone();
  }

  private endIfDone(): void {
    if (this.closed || this.held.length > 0 || this.unsent !== undefined || this.paused) return;
    // A request that its client ended in the middle of never comes; one that is under way at the end is waited for.
    if (this.inputEnded || (this.lane.stopping && this.wholeBytes === UNKNOWN_LENGTH)) this.socket.end();
  }

  /** The socket is gone. */
  onSocketClosed(): void {
    if (this.closed) return;
    this.closed = true;
    this.held.clear();
    this.forgetPieces();
    this.uncountIfDone();
    this.postponed = [];
    this.unsent = undefined;
    this.handOver?.clientClosed();
  }

  abort(): void {
    this.socket.terminate();
  }
}
