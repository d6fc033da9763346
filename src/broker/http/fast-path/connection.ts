import { freeBuffer } from "../../../base/free-buffer.ts";
import { IDLE_AFTER_MS, type LimitedConnection } from "../../../http/server/connection-limit.ts";
import type { HttpLimits, HttpLoad } from "../../../http/server/load.ts";
import type { ProxiedSocket, TcpProxy } from "../../../http/server/tcp-proxy.ts";
import type { ClientConnection } from "../../../net/client-listener.ts";
import { UNKNOWN_LENGTH } from "../../../net/piece-buffer.ts";
import type { AckServices } from "../../acks/ack-queue.ts";
import type { BrokerOptions } from "../../options.ts";
import type { ChunkPool } from "../../storage/log/chunk.ts";
import type { Publishing } from "../../topics/publishing.ts";
import type { Topic } from "../../topics/topic.ts";
import { appendBatch } from "./batch.ts";
import type { ChunkedRequest } from "./chunked-request.ts";
import { headerOf } from "./header.ts";
import { ConnectionOrigin } from "./origin.ts";
import { PartialRequest, type PartialRequestHost } from "./partial-request.ts";
import { type AcknowledgedClient, PendingAcks } from "./pending-acks.ts";
import { IN_CHUNKS, INCOMPLETE, MAX_HEAD_BYTES, OTHER, RequestHead } from "./request-head.ts";
import type { Responses } from "./responses.ts";

/** A client with this many publishes that wait for their commit is not read. */
const MAX_PENDING_ACKS = 256;

/** Filled by each request in turn: nothing of it is needed between two requests. */
const head = new RequestHead();

/** What publishing on the fast path needs of the broker. */
export interface PublishServices extends AckServices {
  readonly options: Pick<BrokerOptions, "maxBodySizeBytes" | "maxMsgSizeBytes">;
  readonly turn: AckServices["turn"] & {
    /** The broker's time of this turn, ms. */
    readonly nowMs: number;
    /** Time of this turn by a clock that nobody sets, ms. */
    readonly steadyMs: number;
    readClock(): void;
  };
  readonly publishing: Publishing;
  readonly chunks: ChunkPool;
}

/** What the connections of all clients share. */
export interface FastPathHost {
  readonly services: PublishServices;
  readonly load: HttpLoad;
  readonly limits: HttpLimits;
  readonly partialRequests: PartialRequestHost;
  readonly responses: Responses;
  readonly idleTimeoutMs: number;
  /** Requests that publish are carried out here. False: every connection is passed on to Bun.serve(). */
  readonly isFast: boolean;
  /** The clients speak HTTP to this listener, and not HTTPS to Bun.serve(). */
  readonly isPlain: boolean;
  /** The server shuts down. */
  readonly isStopping: boolean;
  /** Passes a connection on to Bun.serve(). @param first bytes that have come and were not decoded @returns undefined: it cannot be */
  openProxy(client: ProxiedSocket, first: Buffer[], inputEnded: boolean): TcpProxy | undefined;
  /** Calls back a connection that a callback of another one has made room for. */
  callSoon(connection: FastPathConnection, call: (connection: FastPathConnection) => void): void;
}

/**
 * One client's connection to the broker's HTTP address. Requests that publish are decoded in the bytes that the socket brought,
 * and answered when the tick has committed them. At the first request that is anything else, the whole connection is passed on
 * to Bun.serve() (proxy.ts), for good.
 */
export class FastPathConnection implements ClientConnection, AcknowledgedClient, LimitedConnection {
  closed = false;

  private readonly acks: PendingAcks;

  private readonly partial: PartialRequest;
  /** Whether the connection counts among the requests that are being carried out. */
  private isCounted = false;

  /** Bytes that came while the connection was paused. */
  private postponed: Buffer[] = [];
  private isPaused = false;
  /** The request at the start of `postponed` is for Bun.serve(). */
  private isProxying = false;
  private proxy: TcpProxy | undefined;
  /** The client has ended its side. */
  private inputEnded = false;
  /** Responses that the client does not read. */
  private unsent: Buffer | undefined;

  private activeMs: number;
  private hasReceived = false;
  /** Nothing more is read, and no more is sent. */
  private isEnding = false;
  private topic: Topic | undefined;
  private readonly origin: ConnectionOrigin;

  constructor(
    private readonly host: FastPathHost,
    private readonly socket: Bun.Socket<FastPathConnection | undefined>,
  ) {
    this.acks = new PendingAcks(this, host.services);
    this.origin = new ConnectionOrigin(socket);
    this.partial = new PartialRequest(host.partialRequests, () => host.callSoon(this, goOn));
    this.activeMs = host.services.turn.steadyMs;
  }

  // ---- input

  receive(data: Buffer): void {
    this.noteActivity();
    this.hasReceived = true;
    if (this.isEnding) return freeBuffer(data);
    if (this.proxy !== undefined) this.proxy.onClientData(data);
    else if (this.isPaused) this.postponed.push(data);
    else {
      this.decode(data);
      this.proxyIfReady();
      if (!this.isPaused && this.proxy === undefined) freeBuffer(data);
    }
  }

  /** The client has ended its side. What it sent is answered, then the connection ends. */
  onInputEnd(): void {
    this.inputEnded = true;
    if (this.proxy !== undefined) this.proxy.onClientInputEnd();
    else this.endIfDone();
  }

  private decode(data: Buffer): void {
    const end = data.length;
    let at = 0;
    while (at < end) {
      if (this.acks.length >= MAX_PENDING_ACKS || this.unsent !== undefined) this.pause();
      if (this.isPaused) {
        this.postponed.push(data.subarray(at));
        return;
      }
      const { partial } = this;
      if (partial.chunked !== undefined) at = this.appendChunks(partial.chunked, data, at, end);
      else at = partial.isComing ? this.appendPiece(data, at, end) : this.decodeRequest(data, at, end);
    }
  }

  /** Decodes a request in place. Of one that is whole nothing is copied but its body, into the log. @returns the offset behind it */
  private decodeRequest(data: Buffer, at: number, end: number): number {
    const published = this.host.isFast ? this.publish(data, at, end) : OTHER;
    if (published > 0) return at + published;
    if (published === OTHER) {
      this.startProxying();
      return at;
    }
    this.partial.begin(this.host.services.turn.steadyMs);
    return this.appendPiece(data, at, end);
  }

  /** Adds bytes to a request that comes in pieces. @returns the offset behind them; `at` if there is no room for them now */
  private appendPiece(data: Buffer, at: number, end: number): number {
    const { partial } = this;
    const { bytes } = partial;
    const to = at + Math.min(end - at, (partial.hasHead ? partial.wholeBytes : MAX_HEAD_BYTES) - bytes.length);
    if (partial.hasHead && !partial.makeRoom(to - at, this.host.services.turn.steadyMs)) {
      this.pause();
      return at;
    }
    bytes.append(data, at, to, partial.wholeBytes);
    if (bytes.length < partial.wholeBytes) return to;
    const { length } = bytes;
    const published = this.publish(bytes.buffer, 0, length);
    if (published > 0) {
      if (partial.chunked === undefined) partial.clear();
      return to - (length - published);
    }
    if (published === OTHER || (!partial.hasHead && !partial.countHeadPiece())) {
      this.postponed.push(Buffer.from(bytes.buffer.subarray(0, bytes.length)));
      this.startProxying();
    }
    return to;
  }

  /**
   * Adds bytes to a request whose body comes in chunks, and publishes it when it is whole.
   *
   * @returns the offset behind them; `at` if there is no room for them now
   */
  private appendChunks(request: ChunkedRequest, data: Buffer, at: number, end: number): number {
    if (!this.partial.makeRoom(end - at, this.host.services.turn.steadyMs)) {
      this.pause();
      return at;
    }
    const to = request.append(data, at, end);
    if (request.isComing) return to;
    const { whole } = request;
    const published = whole === undefined ? OTHER : this.publish(whole, 0, whole.length);
    if (published > 0) this.partial.clear();
    else {
      this.postponed.push(...(whole === undefined ? request.forServer() : [Buffer.from(whole)]));
      this.startProxying();
    }
    return to;
  }

  /** There is room for the request that waits. */
  resumePartial(): void {
    if (this.closed || !this.partial.isWaiting) return;
    this.activeMs = this.host.services.turn.steadyMs;
    this.partial.endWait(this.activeMs);
    if (this.acks.length === 0 && this.unsent === undefined) this.resume();
    this.proxyIfReady();
  }

  // ---- publishing

  /**
   * Publishes the request that begins at `from`.
   *
   * @returns its length, or that of its head if its body comes in chunks, which `partial.chunked` takes; INCOMPLETE (if the head is there, `head` tells what it says, and `partial.wholeBytes` the length); or OTHER: it
   * is for Bun.serve(), as it is anything else or would be refused
   */
  private publish(bytes: Buffer, from: number, to: number): number {
    const headBytes = head.parse(bytes, from, to);
    if (headBytes <= 0) {
      this.partial.wholeBytes = UNKNOWN_LENGTH;
      return headBytes;
    }
    const { options, publishing, turn } = this.host.services;
    const limitBytes = head.batch ? options.maxBodySizeBytes : options.maxMsgSizeBytes;
    if (head.bodyBytes === IN_CHUNKS) {
      this.partial.expectChunks(head, bytes, from, headBytes, limitBytes, turn.steadyMs);
      return headBytes;
    }
    if (head.bodyBytes > limitBytes) return OTHER;
    // /mpub makes its topic before its body is there, /pub after that (nsqd/http.go).
    const whole = headBytes + head.bodyBytes;
    const isIncomplete = to - from < whole;
    if (isIncomplete && !head.batch) return this.expectBody(whole);
    const topic = this.openTopic(bytes);
    if (topic === undefined) return OTHER;
    if (isIncomplete) return this.expectBody(whole);
    const partition = topic.nextPartition();
    if (!partition.serving || !this.tryCountRequest()) return OTHER;
    const bodyAt = from + headBytes;
    const origin = this.origin.of(partition, head, bytes);
    const header = headerOf(head, bytes, topic);
    const pending = head.batch
      ? appendBatch(partition, head.binary, bytes, bodyAt, from + whole, publishing, options, origin, header)
      : publishing.append(partition, "", bytes, bodyAt, from + whole, origin, header);
    if (pending !== undefined) {
      this.acks.add(pending);
      return whole;
    }
    this.uncountIfDone();
    return OTHER;
  }

  private expectBody(whole: number): number {
    this.partial.expectBody(whole, this.host.services.turn.steadyMs);
    return INCOMPLETE;
  }

  /**
   * The topic that the head names. The topic of the last request costs no look-up, and no existing one a string.
   *
   * @returns undefined if nothing can be published to it. The handler behind Bun.serve() meets the same error, and answers it
   */
  private openTopic(bytes: Buffer): Topic | undefined {
    const { publishing } = this.host.services;
    const { topicStart, topicEnd } = head;
    const last = this.topic;
    if (last !== undefined && !last.deleted && last.isNamed(bytes, topicStart, topicEnd)) {
      return publishing.refusalFor(last) === undefined ? last : undefined;
    }
    const topic = publishing.topicAt(bytes, topicStart, topicEnd);
    if (topic instanceof Error) return undefined;
    this.topic = topic;
    return topic;
  }

  /** @returns false if too many requests are being carried out */
  private tryCountRequest(): boolean {
    this.isCounted ||= this.host.load.begin();
    return this.isCounted;
  }

  private uncountIfDone(): void {
    if (!this.isCounted || this.acks.length > 0) return;
    this.isCounted = false;
    this.host.load.end();
  }

  // ---- output

  respondOks(count: number): void {
    const { responses, services } = this.host;
    for (let left = count; left > 0; ) {
      const many = responses.okCount(left);
      const { buffer, length } = responses.okRun(many, services.turn.nowMs);
      this.send(buffer, length);
      left -= many;
    }
  }

  respondFailure(): void {
    this.host.services.publishing.errorCount++;
    const response = this.host.responses.failure(this.host.services.turn.nowMs);
    this.send(response, response.length);
  }

  private send(bytes: Buffer, length: number): void {
    let sent = 0;
    if (this.unsent === undefined) {
      sent = this.socket.write(bytes, 0, length);
      if (sent === length) return;
      // The client is gone. While it is not read, nothing else tells that.
      if (sent < 0) return this.abort();
    }
    const rest = bytes.subarray(sent, length);
    // The client is not read until they are sent, so these are the responses to MAX_PENDING_ACKS requests at the most.
    this.unsent = this.unsent === undefined ? Buffer.from(rest) : Buffer.concat([this.unsent, rest]);
  }

  /** The socket accepts bytes again. */
  onDrain(): void {
    this.noteActivity();
    if (this.proxy !== undefined) return this.proxy.onClientDrain();
    const { unsent } = this;
    if (unsent === undefined) return;
    const sent = this.socket.write(unsent, 0, unsent.length);
    if (sent < 0) return this.abort();
    this.unsent = sent === unsent.length ? undefined : unsent.subarray(sent);
    this.onAcksSent();
  }

  /** Responses were sent: goes on with what waited for that. */
  onAcksSent(): void {
    if (this.closed || this.unsent !== undefined || this.acks.length > 0) return;
    this.activeMs = this.host.services.turn.steadyMs;
    this.uncountIfDone();
    if (this.isPaused && !this.isProxying && !this.partial.isWaiting) this.resume();
    this.proxyIfReady();
    this.endIfDone();
  }

  private pause(): void {
    if (this.isPaused) return;
    this.isPaused = true;
    this.socket.pause();
  }

  private resume(): void {
    this.isPaused = false;
    const { postponed } = this;
    this.postponed = [];
    // What makes the connection pause again is postponed again, and everything after it, in their order.
    for (const data of postponed) {
      if (this.isPaused) this.postponed.push(data);
      else this.decode(data);
    }
    if (!this.isPaused) this.socket.resume();
  }

  // ---- the way to Bun.serve()

  /** The request under way and everything after it are for Bun.serve(), once the responses before them are sent. */
  private startProxying(): void {
    this.partial.clear();
    this.uncountIfDone();
    this.isProxying = true;
    this.pause();
  }

  private proxyIfReady(): void {
    if (!this.isProxying || this.proxy !== undefined || this.closed) return;
    if (this.acks.length > 0 || this.unsent !== undefined) return;
    const { postponed } = this;
    this.postponed = [];
    this.proxy = this.host.openProxy(this.socket, postponed, this.inputEnded);
    if (this.proxy === undefined) this.endWith(this.host.responses.tooManyConnections);
  }

  // ---- time, and the end

  private noteActivity(): void {
    const { turn } = this.host.services;
    turn.readClock();
    this.activeMs = turn.steadyMs;
  }

  /** Called several times a second: closes an idle connection, and one whose request comes too slowly. @param stalledMs for how long nothing was read */
  checkTime(nowMs: number, stalledMs: number): void {
    if (this.proxy !== undefined) return this.proxy.checkTime(nowMs);
    if (stalledMs > 0) {
      this.activeMs = nowMs;
      this.partial.excuse(nowMs - stalledMs, nowMs);
    }
    if (this.acks.length > 0 || this.partial.isWaiting) return;
    if (this.unsent === undefined && this.partial.isLate(nowMs)) return this.endWith(this.host.responses.tooSlow);
    if (nowMs - this.activeMs < this.host.idleTimeoutMs) return;
    // A client that does not read would not get an orderly end either.
    if (this.unsent === undefined) this.socket.end();
    else this.abort();
  }

  get idleSinceMs(): number {
    if (this.proxy !== undefined) return this.proxy.idleSinceMs;
    return this.acks.length > 0 || this.isProxying || this.partial.isWaiting ? Number.POSITIVE_INFINITY : this.activeMs;
  }

  get idleAfterMs(): number {
    if (this.proxy?.isInRequest === true) return IDLE_AFTER_MS.passedOn;
    return !this.hasReceived || this.partial.isComing ? IDLE_AFTER_MS.unfinished : IDLE_AFTER_MS.answered;
  }

  closeIdle(): void {
    this.socket.end();
    if (!this.closed) this.abort();
  }

  /** Tells the client why, and ends the connection. */
  private endWith(response: Uint8Array): void {
    this.isEnding = true;
    this.partial.clear();
    if (this.host.isPlain) this.socket.write(response);
    this.socket.end();
  }

  /** The server shuts down: the requests under way are answered, then the connection ends. */
  closeGracefully(): void {
    this.endIfDone();
  }

  private endIfDone(): void {
    if (this.closed || this.acks.length > 0 || this.unsent !== undefined || this.isPaused) return;
    // The rest of a request never comes from a client that has ended its side; at a shutdown it is waited for.
    if (this.inputEnded || (this.host.isStopping && !this.partial.hasHead)) this.socket.end();
  }

  onSocketClosed(): void {
    if (this.closed) return;
    this.closed = true;
    this.acks.clear();
    this.partial.clear();
    this.uncountIfDone();
    this.postponed = [];
    this.unsent = undefined;
    this.proxy?.onClientClosed();
  }

  abort(): void {
    this.socket.terminate();
  }
}

// Defined here, because a function at the place of its use would be created anew for each call.
const goOn = (connection: FastPathConnection): void => connection.resumePartial();
