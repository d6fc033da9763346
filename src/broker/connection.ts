import { giveBack } from "../base/give-back.ts";
import { fatal, type ProtocolError } from "../frame/error.ts";
import { ATTEMPTS_OFFSET, encodeFrame, FRAME_TYPE_ERROR, FRAME_TYPE_RESPONSE, MAGIC_V2, MESSAGE_ID_BYTES } from "../frame/frame.ts";
import { countAscending } from "../frame/id.ts";
import { Line } from "../frame/line.ts";
import { MpubCheck } from "../frame/mpub.ts";
import { isValidName } from "../frame/names.ts";
import { ClientAuth } from "./auth/client-auth.ts";
import type { Broker } from "./broker.ts";
import type { Channel } from "./channel.ts";
import { type BodyCommand, WAIT } from "./commands/command.ts";
import { sequenceAt } from "./commands/fin.ts";
import { findCommand } from "./commands/find-command.ts";
import { IDENTIFY } from "./commands/identify.ts";
import type { HeldPublish } from "./held.ts";
import { type AnsweredClient, HeldAnswers, OK_FRAME } from "./held-answers.ts";
import type { Chunk } from "./log/chunk.ts";
import type { Topic } from "./topic.ts";
import { IN_ZONE } from "./topology.ts";
import { Outbox } from "./transport/outbox.ts";
import type { Packer } from "./transport/packer.ts";
import { type Handshake, isNoHandshake, type TlsFacts } from "./transport/tls.ts";
import { tlsRequirement } from "./transport/tls-options.ts";
import type { PlainTransport, Transport } from "./transport/transport.ts";
import { CorruptStream, type Unpacker } from "./transport/unpacker.ts";
import { type Compression, compress, type Upgrade } from "./transport/upgrade.ts";

export const STATE_INIT = 0;
export const STATE_SUBSCRIBED = 3;
export const STATE_CLOSING = 4;

/** nsqd reads commands through a buffer of this size; a longer line ends the connection. */
const MAX_LINE_BYTES = 16 * 1024;
/** A body starts with this much memory at the most, and gets more as its bytes come. */
const FIRST_BODY_BYTES = 128 * 1024;
/** With this much unread by the client, its commands wait too. */
const PAUSE_PENDING_BYTES = 1024 * 1024;
const PAUSE_HELD = 16 * 1024;
/** How long a client that is hung up on may take to read what it still gets. */
const LAST_WORDS_MS = 30_000;
/** How long a client has for its side of a TLS handshake, as in nsqd. */
const HANDSHAKE_TIMEOUT_MS = 5000;
/** A few bytes can become many: more than this waits for the next turn of the event loop. */
const UNPACKED_PER_TURN_BYTES = 1024 * 1024;
/** How long a client may take to hang up after we have ended our side. */
const LINGER_MS = 2000;

const HEARTBEAT_FRAME = encodeFrame(FRAME_TYPE_RESPONSE, "_heartbeat_");

const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
/** "FIN " + id + "\n", the commonest line there is. */
const FIN_ID_OFFSET = 4;
const FIN_LINE_BYTES = FIN_ID_OFFSET + MESSAGE_ID_BYTES + 1;

const MAGIC = 0;
const COMMAND = 1;
const SIZE = 2;
const BODY = 3;
/** A command waits for an answer from elsewhere, and all that comes behind it waits for that command. */
const WAITING = 4;
/** Between IDENTIFY's answer and the last layer that it promised. */
const UPGRADE = 5;

const line = new Line();

/**
 * One client's connection: takes its bytes apart into commands, and keeps what the protocol knows of a client.
 *
 * Nothing is done inside the socket's callback beyond decoding, changing state in memory and appending to logs;
 * what must be written or sent waits for the tick (broker.ts).
 */
export class Connection implements AnsweredClient {
  state = STATE_INIT;
  channel: Channel | undefined;
  clientId: string;
  hostname: string;
  userAgent = "";
  topologyRegion = "";
  topologyZone = "";
  /** How near it is (topology.ts): of consumers that are ready, only the nearest are given messages. */
  nearness: number;
  sampleRate = 0;
  heartbeatIntervalMs: number;
  msgTimeoutMs: number;
  outputBufferSizeBytes = 16 * 1024;
  outputBufferTimeoutMs: number;
  readonly connectTimeMs = Date.now();

  readyCount = 0;
  inFlightCount = 0;
  messageCount = 0;
  finishCount = 0;
  requeueCount = 0;

  /** What its TLS handshake agreed on; undefined without TLS. */
  tls: TlsFacts | undefined;
  compression: Compression | undefined;

  /** What it may do; undefined where everybody may do everything. */
  readonly auth: ClientAuth | undefined;

  /** In the broker's list of connections to be flushed. */
  dirty = false;
  /** Nothing more is read; the connection ends when what it still gets is out. */
  dying = false;
  closed = false;

  private readonly remoteIp: string;
  private readonly outbox: Outbox;
  private mode = MAGIC;
  /** Bytes of a magic, a line or a size word that came in pieces. */
  private partial: Buffer | undefined;
  private partialBytes = 0;
  private command: BodyCommand | undefined;
  private bodyBytes = 0;
  /** A body that comes in pieces. */
  private body: Chunk | undefined;
  private bodyFilled = 0;

  /** The command that waits: its line, or its body if it is named. */
  private waiting: { command: BodyCommand | undefined; bytes: Buffer } | undefined;
  /** What came behind it, and whether the client has ended its side since. */
  private postponed: Buffer[] = [];
  private postponedEnd = false;

  /** Answers that wait for a commit, and those that wait behind them. */
  private readonly held: HeldAnswers;

  /** The walk over an MPUB's body that is under way. */
  readonly mpub = new MpubCheck();
  /** When a DPUB whose body is under way falls due, from now, ms. */
  deferMs = 0;
  /** It negotiated that its publishes may have keys. */
  idempotent = false;
  /** Of the publish whose body is under way; empty for none. */
  publishKey = "";

  /** Its commands are refused until it speaks TLS. */
  private tlsDue: boolean;
  /** The layers that are still to be put on, in their order. */
  private upgrades: Upgrade[] = [];
  private handshake: Handshake | undefined;
  private handshakeDueMs = 0;
  private packer: Packer | undefined;
  private unpacker: Unpacker | undefined;
  /** Compressed bytes wait for their turn, and the socket with them. */
  private unpacking = false;
  private inputEndedLater = false;
  /** Set while what is to be compressed waits for the next turn of the event loop. */
  private nextTurn: NodeJS.Immediate | undefined;

  private nextHeartbeatMs: number;
  private lastCommandMs: number;
  private stuckSinceMs = 0;
  private endedMs = 0;
  private dyingSinceMs = 0;
  private reading = true;

  private readonly published = new Map<string, { count: number }>();
  private lastTopic: Topic | undefined;
  private lastTopicName: Buffer = Buffer.alloc(0);
  private lastPublished: { count: number } | undefined;

  constructor(
    readonly broker: Broker,
    readonly id: number,
    private transport: Transport,
    /** `ip:port`, as nsqd shows it. */
    readonly remoteAddress: string,
  ) {
    const { options } = broker;
    this.tlsDue = tlsRequirement(options) !== "false";
    this.nearness = broker.topology?.nearness("", "") ?? IN_ZONE;
    this.auth = broker.authority === undefined ? undefined : new ClientAuth(broker.authority, this);
    this.outbox = new Outbox(transport, broker.stages, broker.chunks);
    this.held = new HeldAnswers(this, this.outbox);
    this.remoteIp = remoteAddress.slice(0, Math.max(0, remoteAddress.lastIndexOf(":"))).replace(/^\[|\]$/g, "");
    this.clientId = this.hostname = this.remoteIp;
    this.heartbeatIntervalMs = broker.clientTimeoutMs / 2;
    this.msgTimeoutMs = options.msgTimeoutMs;
    this.outputBufferTimeoutMs = options.outputBufferTimeoutMs;
    this.lastCommandMs = broker.currentMs;
    this.nextHeartbeatMs = this.lastCommandMs + this.heartbeatIntervalMs;
  }

  /** Published messages by topic: what makes a client a producer in the statistics. */
  get pubCounts(): Map<string, number> {
    return new Map([...this.published].map(([topic, { count }]) => [topic, count]));
  }

  get isProducer(): boolean {
    return this.published.size > 0;
  }

  /** How many messages it can be given now. */
  get capacity(): number {
    if (this.dying || !this.sendsAll) return 0;
    return Math.max(0, this.readyCount - this.inFlightCount);
  }

  // ---- what comes in

  /** Bytes from the client. The buffer is the connection's. */
  receive(data: Buffer): void {
    if (this.unpacker === undefined) {
      this.take(data);
      giveBack(data);
      return;
    }
    this.unpacker.feed(data);
    if (!this.unpacking) this.unpack(this.unpacker);
  }

  /** The same without compression. The buffer is the caller's until this returns. */
  private take(data: Buffer): void {
    if (this.dying) return;
    const end = data.length;
    let at = 0;
    let view: DataView | undefined;
    while (at < end && !this.dying) {
      if (this.mode === COMMAND) {
        let finished = 0;
        // The commonest line by far is taken without looking for its end.
        if (this.partialBytes === 0 && end - at >= FIN_LINE_BYTES && isFinLine(data, at)) {
          // One for all that the socket delivered: FINs out of order must not cost one each.
          if (end - at >= 2 * FIN_LINE_BYTES) view ??= new DataView(data.buffer, data.byteOffset, data.byteLength);
          finished = this.finishLines(data, view, at, end);
        }
        at = finished > 0 ? at + finished * FIN_LINE_BYTES : this.readLine(data, at, end);
      } else if (this.mode === BODY) {
        at = this.readBody(data, at, end);
      } else if (this.mode === SIZE) {
        at = this.readSize(data, at, end);
      } else if (this.mode === WAITING) {
        this.postponed.push(Buffer.from(data.subarray(at, end)));
        return;
      } else if (this.mode === MAGIC) {
        at = this.readMagic(data, at, end);
      } else {
        at = this.readBeforeUpgrade(data, at, end);
      }
    }
    if (this.outbox.pendingBytes > PAUSE_PENDING_BYTES || this.held.length > PAUSE_HELD) this.pauseReading();
  }

  /** The client has ended its side: what it sent is answered, then the connection ends. */
  inputEnded(): void {
    if (this.dying) return;
    if (this.unpacking) {
      this.inputEndedLater = true;
      return;
    }
    if (this.mode === WAITING) {
      this.postponedEnd = true;
      return;
    }
    if (this.mode === SIZE || this.mode === BODY) this.fail((this.command as BodyCommand).truncated(this.mode === BODY, this));
    this.die();
  }

  /**
   * FINs without ado, as many in a row as there are: a consumer finishes what came in one run in the order it came.
   *
   * @returns how many lines were taken; 0 when the first one's id, or anything else, asks for the command in full
   */
  private finishLines(data: Buffer, view: DataView | undefined, at: number, end: number): number {
    const { channel } = this;
    const sequence = channel === undefined ? -1 : sequenceAt(channel, data, at + FIN_ID_OFFSET);
    if (channel === undefined || sequence < 0) return 0;
    const count = view === undefined ? 1 : countAscending(view, at, end, FIN_LINE_BYTES, FIN_ID_OFFSET, sequence);
    let finished = channel.finishRun(this, sequence, count);
    if (finished === 0 && channel.finish(this, sequence) === undefined) finished = 1;
    if (finished === 0) return 0;
    this.lastCommandMs = this.broker.nowMs;
    this.finishCount += finished;
    return finished;
  }

  private readMagic(data: Buffer, at: number, end: number): number {
    at = this.collect(data, at, end, MAGIC_V2.length);
    if (this.partialBytes < MAGIC_V2.length) return at;
    const magic = (this.partial as Buffer).toString("latin1", 0, MAGIC_V2.length);
    this.partialBytes = 0;
    this.broker.log.info(`CLIENT(${this.remoteAddress}): desired protocol magic '${magic}'`);
    if (magic !== MAGIC_V2) {
      this.broker.log.error(`client(${this.remoteAddress}) bad protocol magic '${magic}'`);
      this.respond(encodeFrame(FRAME_TYPE_ERROR, "E_BAD_PROTOCOL"));
      this.die();
    }
    this.mode = COMMAND;
    this.broker.connectionReady(this);
    return at;
  }

  private readLine(data: Buffer, at: number, end: number): number {
    let stop = at;
    while (stop < end && data[stop] !== LF) stop++;
    const length = this.partialBytes + stop - at;
    if (length >= MAX_LINE_BYTES) {
      this.broker.log.error(`client(${this.remoteAddress}) - failed to read command - line longer than ${MAX_LINE_BYTES} bytes`);
      this.die();
      return end;
    }
    if (stop === end) return this.collect(data, at, end, length);
    if (this.partialBytes > 0) {
      this.collect(data, at, stop, length);
      this.partialBytes = 0;
      this.execute(this.partial as Buffer, 0, length);
    } else {
      this.execute(data, at, stop);
    }
    return stop + 1;
  }

  private execute(buffer: Buffer, start: number, lineEnd: number): void {
    let end = lineEnd;
    if (end > start && buffer[end - 1] === CR) end--;
    line.set(buffer, start, end);
    this.lastCommandMs = this.broker.nowMs;
    const command = findCommand(line);
    if (this.tlsDue && command !== IDENTIFY) {
      return this.fail(fatal("E_INVALID", `cannot ${line.text(0)} in current state (TLS required)`));
    }
    if (command === undefined) {
      return this.fail(fatal("E_INVALID", `invalid command ${line.text(0)}`));
    }
    const error = command.execute(this, line);
    if (error !== undefined) return error === WAIT ? this.wait(undefined, buffer, start, lineEnd) : this.fail(error);
    if ("body" in command) {
      this.command = command as BodyCommand;
      this.mode = SIZE;
    }
  }

  private readSize(data: Buffer, at: number, end: number): number {
    let size: number;
    if (this.partialBytes === 0 && end - at >= 4) {
      size = data.readInt32BE(at);
      at += 4;
    } else {
      at = this.collect(data, at, end, 4);
      if (this.partialBytes < 4) return at;
      size = (this.partial as Buffer).readInt32BE(0);
      this.partialBytes = 0;
    }
    const error = (this.command as BodyCommand).size(this, size);
    if (error !== undefined) {
      this.fail(error);
      return at;
    }
    this.bodyBytes = size;
    this.bodyFilled = 0;
    this.mode = BODY;
    return at;
  }

  private readBody(data: Buffer, at: number, end: number): number {
    const command = this.command as BodyCommand;
    if (this.bodyFilled === 0) {
      // Whole in what the socket delivered: decoded in place.
      const length = command.measure(this, data, at, end, this.bodyBytes, true);
      if (typeof length !== "number") {
        this.fail(length);
        return at;
      }
      if (length > 0) {
        this.mode = COMMAND;
        this.finishBody(command, data, at, at + length);
        return at + length;
      }
    }
    return this.collectBody(command, data, at, end);
  }

  private finishBody(command: BodyCommand, buffer: Buffer, from: number, to: number): void {
    this.lastCommandMs = this.broker.nowMs;
    const error = command.body(this, buffer, from, to);
    if (error === undefined) return;
    if (error === WAIT) this.wait(command, buffer, from, to);
    else this.fail(error);
  }

  /** Puts a command off until goOn(). */
  private wait(command: BodyCommand | undefined, buffer: Buffer, from: number, to: number): void {
    this.waiting = { command, bytes: Buffer.from(buffer.subarray(from, to)) };
    this.mode = WAITING;
    // What is on its way already still comes, and is kept.
    this.pauseReading();
  }

  /** What a command waited for is there: it runs again, and then what came behind it. */
  goOn(): void {
    const { waiting } = this;
    if (waiting === undefined || this.dying) return;
    this.waiting = undefined;
    this.mode = COMMAND;
    if (waiting.command === undefined) this.execute(waiting.bytes, 0, waiting.bytes.length);
    else this.finishBody(waiting.command, waiting.bytes, 0, waiting.bytes.length);
    const { postponed } = this;
    this.postponed = [];
    for (const data of postponed) this.take(data);
    if (this.mode === WAITING) return;
    if (this.sendsAll && this.held.length <= PAUSE_HELD) this.resumeReading();
    if (this.postponedEnd) this.inputEnded();
  }

  /** Adds a piece to a body that comes in several. Copying each piece once costs the body's size, not its square. */
  private collectBody(command: BodyCommand, data: Buffer, at: number, end: number): number {
    const wanted = Math.max(this.bodyBytes, command.needed(this, this.bodyBytes));
    const take = Math.min(end - at, wanted - this.bodyFilled);
    const body = this.bodyRoom(this.bodyFilled + take, wanted);
    data.copy(body.buffer, this.bodyFilled, at, at + take);
    this.bodyFilled += take;
    at += take;
    const length = command.measure(this, body.buffer, 0, this.bodyFilled, this.bodyBytes, this.bodyFilled === take);
    if (typeof length !== "number") {
      this.fail(length);
    } else if (length > 0) {
      const filled = this.bodyFilled;
      this.body = undefined;
      this.bodyFilled = 0;
      this.mode = COMMAND;
      this.finishBody(command, body.buffer, 0, length);
      // An MPUB whose messages end before its stated size: nsqd reads on there, and so do we.
      if (length < filled) this.take(Buffer.from(body.buffer.subarray(length, filled)));
      this.broker.chunks.drop(body);
    }
    return at;
  }

  private bodyRoom(bytes: number, wanted: number): Chunk {
    const old = this.body;
    if (old !== undefined && old.buffer.length >= bytes) return old;
    const larger = this.broker.chunks.take(
      Math.max(bytes, Math.min(wanted, old === undefined ? FIRST_BODY_BYTES : 2 * old.buffer.length)),
      0,
    );
    if (old !== undefined) {
      old.buffer.copy(larger.buffer, 0, 0, this.bodyFilled);
      this.broker.chunks.drop(old);
    }
    this.body = larger;
    return larger;
  }

  /** Keeps bytes until there are `wanted` of them. @returns the offset behind what was taken */
  private collect(data: Buffer, at: number, end: number, wanted: number): number {
    const take = Math.min(end - at, wanted - this.partialBytes);
    if (this.partial === undefined || this.partial.length < this.partialBytes + take) {
      const larger = Buffer.allocUnsafeSlow(Math.min(MAX_LINE_BYTES, Math.max(32, 2 * (this.partialBytes + take))));
      this.partial?.copy(larger, 0, 0, this.partialBytes);
      this.partial = larger;
    }
    data.copy(this.partial, this.partialBytes, at, at + take);
    this.partialBytes += take;
    return at + take;
  }

  // ---- what goes out

  /** A whole frame, in its turn behind what waits for a commit. */
  respond(frame: Buffer): void {
    if (this.held.length > 0) {
      this.holdBack(frame);
      return;
    }
    this.outbox.write(frame, 0, frame.length);
    this.markDirty();
  }

  ok(): void {
    this.respond(OK_FRAME);
  }

  /** OK once the commit is through, or the command's error. */
  hold(publish: HeldPublish): void {
    this.holdBack(publish);
  }

  private holdBack(answer: HeldPublish | Buffer): void {
    if (this.held.push(answer)) this.broker.addHolding(this.held);
  }

  /** Answers with an error; after a fatal one the connection ends. */
  fail(error: ProtocolError): void {
    this.broker.log.error(`[${this.remoteAddress}] - ${error.code} ${error.text}`);
    this.respond(encodeFrame(FRAME_TYPE_ERROR, Buffer.from(`${error.code} ${error.text}`, "latin1")));
    if (error.fatal) this.die();
    else this.mode = COMMAND;
  }

  /** A contiguous run of `count` messages, as it lies in the log. */
  sendRun(chunk: Chunk, from: number, to: number, count: number): void {
    this.inFlightCount += count;
    this.messageCount += count;
    this.outbox.writeRun(chunk, from, to);
    this.markDirty();
  }

  /** One message that was delivered before: its frame is copied, and carries how often. */
  sendAgain(buffer: Buffer, from: number, to: number, attempts: number): void {
    this.inFlightCount++;
    this.messageCount++;
    const length = to - from;
    const at = this.outbox.reserve(length);
    if (at >= 0) {
      const stage = this.outbox.stageBuffer;
      buffer.copy(stage, at, from, to);
      stage.writeUInt16BE(attempts, at + ATTEMPTS_OFFSET);
    } else {
      const copy = this.broker.scratch(length);
      buffer.copy(copy, 0, from, to);
      copy.writeUInt16BE(attempts, ATTEMPTS_OFFSET);
      this.outbox.write(copy, 0, length);
    }
    this.markDirty();
  }

  /** Held answers have gone to the outbox. */
  released(): void {
    this.markDirty();
    if (this.sendsAll) this.resumeReading();
  }

  publishFailed({ command }: HeldPublish, error: Error): void {
    this.broker.log.error(`[${this.remoteAddress}] - ${command} failed ${error.message}`);
  }

  /** Tick, at its end: one write for all that was put together. */
  flush(): void {
    this.dirty = false;
    if (this.closed) return;
    this.outbox.flush();
    if (this.packer !== undefined) this.flushPacked(this.packer);
    if (this.sendsAll) this.stuckSinceMs = 0;
    else if (this.stuckSinceMs === 0) this.stuckSinceMs = this.broker.nowMs;
    if (this.dying) {
      if (this.allSent && this.endedMs === 0) {
        this.endedMs = this.broker.nowMs;
        this.transport.end();
      }
      return;
    }
    if (this.upgrades.length > 0) this.upgradeFurther();
    if (this.unpacking && this.reading) this.unpack(this.unpacker as Unpacker);
  }

  /** Sends what was gathered. What was too much for one turn goes on in the next, once others have had theirs. */
  private flushPacked(packer: Packer): void {
    packer.flush();
    if (!packer.spent) return packer.beginTurn();
    if (this.nextTurn !== undefined) return;
    this.nextTurn = setImmediate(() => {
      this.nextTurn = undefined;
      packer.beginTurn();
      this.broker.drained(this);
    });
  }

  /** Nothing waits for the kernel: more may be sent. */
  private get sendsAll(): boolean {
    return this.outbox.clear && (this.packer === undefined || this.packer.clear);
  }

  /** Nothing is left that the client still gets. */
  private get allSent(): boolean {
    return this.held.length === 0 && this.outbox.empty && (this.packer === undefined || this.packer.empty);
  }

  /** The kernel takes bytes again. */
  drained(): void {
    if (this.closed) return;
    this.stuckSinceMs = this.broker.nowMs;
    const { packer } = this;
    // What waits for the next turn gets it from flushPacked().
    if (packer !== undefined && (this.nextTurn !== undefined || !packer.drain())) return;
    const drained = this.outbox.drain();
    if (packer !== undefined) this.flushPacked(packer);
    if (!drained || !this.sendsAll) return;
    this.stuckSinceMs = 0;
    this.resumeReading();
    this.channel?.markDirty();
    if (this.dying) this.markDirty();
    else if (this.upgrades.length > 0) this.upgradeFurther();
  }

  // ---- layers between it and its socket

  /** IDENTIFY agreed on layers: they are put on once its answer is out. */
  upgrade(upgrades: Upgrade[]): void {
    this.upgrades = upgrades;
    this.mode = UPGRADE;
  }

  get upgraded(): boolean {
    return this.tls !== undefined || this.compression !== undefined || this.mode === UPGRADE;
  }

  /** Puts on the next layer if all that goes without it is out. */
  private upgradeFurther(): void {
    if (this.handshake !== undefined || !this.allSent) return;
    const [next] = this.upgrades as [Upgrade];
    const kind = next.layer === "deflate" ? `deflate (level ${next.level})` : next.layer === "tls" ? "TLS" : next.layer;
    this.broker.log.info(`PROTOCOL(V2): [${this.remoteAddress}] upgrading connection to ${kind}`);
    if (next.layer === "tls") {
      this.handshakeDueMs = this.broker.nowMs + HANDSHAKE_TIMEOUT_MS;
      this.handshake = this.broker.startTls(this, this.transport as PlainTransport);
      this.transport = this.handshake.plain;
      this.outbox.redirect(this.transport);
      return;
    }
    const { packer, unpacker } = compress(next, this.transport);
    this.packer = packer;
    this.unpacker = unpacker;
    this.compression = next;
    this.outbox.redirect(packer);
    this.layerDone();
  }

  /** The client hears of a layer by an OK that comes through it. */
  private layerDone(): void {
    this.upgrades.shift();
    if (this.upgrades.length === 0) this.mode = COMMAND;
    this.lastCommandMs = this.broker.nowMs;
    this.ok();
  }

  /** @param problem what is wrong with the client's certificate */
  handshakeDone(secure: Transport, facts: TlsFacts, problem: string | undefined): void {
    if (this.closed) return;
    this.handshake = undefined;
    this.handshakeDueMs = 0;
    this.transport = secure;
    this.outbox.redirect(secure);
    if (this.dying) return this.markDirty();
    if (problem !== undefined) return this.fail(fatal("E_IDENTIFY_FAILED", `IDENTIFY failed ${problem}`));
    this.tls = facts;
    this.tlsDue = false;
    this.layerDone();
  }

  handshakeFailed(reason: string): void {
    if (this.closed || this.dying) return;
    this.fail(fatal("E_IDENTIFY_FAILED", `IDENTIFY failed ${reason}`));
    // Now: Bun closes the socket as soon as it sees what it has got.
    this.flush();
  }

  /**
   * What comes before a layer is put on is not for it. nsqd loses such bytes in its read buffer; here they are never
   * taken for commands either, as who sent them may be somebody else than who proves itself in the handshake.
   */
  private readBeforeUpgrade(data: Buffer, at: number, end: number): number {
    // Of a handshake that is under way these are the bytes on the wire.
    if (this.handshake !== undefined && !this.handshake.begun) {
      this.handshake.begun = true;
      if (isNoHandshake(data, at)) this.handshakeFailed("tls: first record does not look like a TLS handshake");
    }
    return end;
  }

  /** Decompresses what has come, up to a bound for one turn of the event loop; then others have theirs. */
  private unpack(unpacker: Unpacker): void {
    let bytes = 0;
    try {
      while (!this.dying && this.reading && bytes < UNPACKED_PER_TURN_BYTES) {
        const piece = unpacker.next();
        if (piece === undefined) break;
        bytes += piece.length;
        this.take(piece);
      }
    } catch (error) {
      if (!(error instanceof CorruptStream)) throw error;
      this.broker.log.error(`client(${this.remoteAddress}) - failed to read command - ${error.message}`);
      this.unpacking = false;
      return this.inputEnded();
    }
    if (this.dying) return;
    if (unpacker.waiting) {
      this.unpacking = true;
      this.transport.pause();
      if (this.reading) this.markDirty();
      return;
    }
    if (this.unpacking) {
      this.unpacking = false;
      if (this.reading) this.transport.resume();
    }
    if (this.inputEndedLater || unpacker.ended) this.inputEnded();
  }

  // ---- what the commands ask of it

  /** Whether it may publish to the topic that nameTopic() noted. */
  mayPublish(command: string): ProtocolError | undefined {
    return this.auth?.checkPublish(command, this.lastTopicName);
  }

  /** What an auth server is told of it. */
  get facts(): { remoteIp: string; tls: boolean; commonName: string } {
    return { remoteIp: this.remoteIp, tls: this.tls !== undefined, commonName: this.tls?.commonName ?? "" };
  }

  /**
   * Takes note of the topic that a publish's line names. One that exists costs no string; the same as last time no look-up.
   *
   * @returns whether the name is valid
   */
  nameTopic(named: Line): boolean {
    const { buffer } = named;
    const start = named.start(1);
    const end = named.end(1);
    if (this.lastTopic !== undefined && !this.lastTopic.deleted && this.lastTopic.isNamed(buffer, start, end)) return true;
    const topic = this.broker.catalogue.knownTopic(buffer, start, end);
    if (topic === undefined && !isValidName(named.text(1))) return false;
    this.lastTopic = topic;
    this.lastTopicName = topic?.nameBytes ?? Buffer.from(buffer.subarray(start, end));
    this.lastPublished = undefined;
    return true;
  }

  /** The topic that nameTopic() noted; it is made if it does not exist. @returns why it cannot be had */
  namedTopic(): Topic | Error {
    const { refusal } = this.broker;
    if (refusal !== undefined && (this.broker.closing || !this.lastTopicName.toString("latin1").endsWith("#ephemeral"))) return refusal;
    if (this.lastTopic !== undefined && !this.lastTopic.deleted) return this.lastTopic;
    try {
      this.lastTopic = this.broker.topic(this.lastTopicName.toString("latin1"));
    } catch (error) {
      return error as Error;
    }
    return this.lastTopic;
  }

  /** Whether the publish that is under way repeats an earlier one by its key; then it is answered here. */
  isRepeated(topic: Topic, held: HeldPublish): boolean {
    const repeated = this.broker.repeated(topic, this.publishKey, held);
    this.publishKey = "";
    if (repeated === undefined) return false;
    this.hold(repeated);
    return true;
  }

  /** Counts what it published to its named topic. */
  countPublished(topic: Topic, messages: number): void {
    this.lastPublished ??= this.publishedTo(topic);
    this.lastPublished.count += messages;
  }

  private publishedTo({ name }: Topic): { count: number } {
    let published = this.published.get(name);
    if (published === undefined) {
      published = { count: 0 };
      this.published.set(name, published);
    }
    return published;
  }

  /** Where it says it is; without meaning to a broker that does not look. */
  setPlace(region: string, zone: string): void {
    const { topology } = this.broker;
    if (topology === undefined) return;
    this.topologyRegion = region;
    this.topologyZone = zone;
    this.nearness = topology.nearness(region, zone);
  }

  setReady(count: number): void {
    this.readyCount = count;
    this.channel?.markDirty();
  }

  heartbeatChanged(): void {
    this.nextHeartbeatMs = this.broker.nowMs + this.heartbeatIntervalMs;
    this.broker.wakeAt(this.nextHeartbeatMs);
  }

  // ---- life and death

  /** Looks at the clock: sends a heartbeat, or hangs up on a client that is silent, stuck, or does not leave. */
  checkTime(nowMs: number): void {
    if (this.endedMs !== 0 ? nowMs - this.endedMs >= LINGER_MS : this.dyingSinceMs !== 0 && nowMs - this.dyingSinceMs >= LAST_WORDS_MS) {
      this.transport.terminate();
      return;
    }
    if (this.dying) return;
    if (this.handshakeDueMs !== 0) {
      if (nowMs >= this.handshakeDueMs) this.handshakeFailed(`read tcp ${this.remoteAddress}: i/o timeout`);
      return;
    }
    if (this.heartbeatIntervalMs === 0) return;
    if (this.stuckSinceMs !== 0 && nowMs - this.stuckSinceMs >= this.heartbeatIntervalMs) {
      this.broker.log.error(`client(${this.remoteAddress}) - takes no bytes for ${this.heartbeatIntervalMs} ms`);
      this.transport.terminate();
    } else if (this.reading && nowMs - this.lastCommandMs >= 2 * this.heartbeatIntervalMs) {
      this.broker.log.error(`client(${this.remoteAddress}) - failed to read command - i/o timeout`);
      this.transport.terminate();
    } else if (nowMs >= this.nextHeartbeatMs) {
      // From when it was due, so that lateness does not add up.
      this.nextHeartbeatMs = Math.max(this.nextHeartbeatMs + this.heartbeatIntervalMs, nowMs);
      // Before its magic a client speaks no protocol; and one that does not read needs no more to read.
      if (this.mode !== MAGIC && this.mode !== UPGRADE && this.sendsAll) this.respond(HEARTBEAT_FRAME);
    }
  }

  /** Ends the connection from our side, as nsqd does when a channel is deleted. */
  hangUp(): void {
    this.channel = undefined;
    this.die();
  }

  /** The socket is gone. */
  socketClosed(): void {
    if (this.closed) return;
    this.closed = true;
    this.dying = true;
    this.held.clear();
    this.auth?.close();
    this.waiting = undefined;
    this.postponed = [];
    this.outbox.dispose();
    this.packer?.dispose();
    this.unpacker?.dispose();
    if (this.body !== undefined) this.broker.chunks.drop(this.body);
    this.body = undefined;
    this.channel?.removeConsumer(this);
    this.channel = undefined;
  }

  terminate(): void {
    this.transport.terminate();
  }

  /** The broker goes down: what was written still reaches the client. */
  leave(): void {
    this.transport.end();
  }

  /** Nothing more is taken from it; the connection ends when all that it still gets is out. */
  die(): void {
    if (this.dying) return;
    this.dying = true;
    this.dyingSinceMs = this.broker.nowMs;
    // What it had in flight goes to the others now, not when the socket is finally gone.
    this.channel?.removeConsumer(this);
    this.channel = undefined;
    this.markDirty();
  }

  private pauseReading(): void {
    if (!this.reading || this.dying) return;
    this.reading = false;
    this.transport.pause();
  }

  private resumeReading(): void {
    if (this.reading || this.closed || this.mode === WAITING) return;
    this.reading = true;
    this.lastCommandMs = this.broker.nowMs;
    // What waits to be decompressed comes first, at the end of the tick.
    if (this.unpacking) this.markDirty();
    else this.transport.resume();
  }

  private markDirty(): void {
    if (this.dirty) return;
    this.dirty = true;
    this.broker.addDirtyConnection(this);
  }
}

function isFinLine(data: Buffer, at: number): boolean {
  return (
    data[at] === 0x46 && data[at + 1] === 0x49 && data[at + 2] === 0x4e && data[at + 3] === SPACE && data[at + FIN_LINE_BYTES - 1] === LF
  );
}
