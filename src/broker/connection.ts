import { giveBack } from "../base/give-back.ts";
import { fatal, type ProtocolError } from "../frame/error.ts";
import { ATTEMPTS_OFFSET, encodeFrame, FRAME_TYPE_ERROR, FRAME_TYPE_RESPONSE } from "../frame/frame.ts";
import type { Line } from "../frame/line.ts";
import { MpubCheck } from "../frame/mpub.ts";
import { isValidName } from "../frame/names.ts";
import { ClientAuth } from "./auth/client-auth.ts";
import type { Broker } from "./broker.ts";
import type { Channel } from "./channel.ts";
import { Decoder } from "./decoder.ts";
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
  private readonly decoder: Decoder;
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
  tlsDue: boolean;
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
    this.decoder = new Decoder(this);
    this.nextHeartbeatMs = this.decoder.lastCommandMs + this.heartbeatIntervalMs;
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
      this.checkHandshake(data);
      this.decode(data);
      giveBack(data);
      return;
    }
    this.unpacker.feed(data);
    if (!this.unpacking) this.unpack(this.unpacker);
  }

  /** The same without compression. The buffer is the caller's until this returns. */
  private decode(data: Buffer): void {
    if (this.dying) return;
    this.decoder.take(data);
    if (this.outbox.pendingBytes > PAUSE_PENDING_BYTES || this.held.length > PAUSE_HELD) this.pauseReading();
  }

  /** The client has ended its side: what it sent is answered, then the connection ends. */
  inputEnded(): void {
    if (this.dying) return;
    if (this.unpacking) {
      this.inputEndedLater = true;
      return;
    }
    if (this.decoder.end()) this.die();
  }

  /** What a command waited for is there. */
  goOn(): void {
    if (this.dying || !this.decoder.goOn()) return;
    if (this.sendsAll && this.held.length <= PAUSE_HELD) this.resumeReading();
    if (this.decoder.ended) this.inputEnded();
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

  /**
   * IDENTIFY agreed on layers: they are put on once its answer is out. What comes before one is put on is not for it. nsqd
   * loses such bytes in its read buffer; here they are never taken for commands either, as who sent them may be somebody
   * else than who proves itself in the handshake.
   */
  upgrade(upgrades: Upgrade[]): void {
    this.upgrades = upgrades;
    this.decoder.ignore();
  }

  get upgraded(): boolean {
    return this.tls !== undefined || this.compression !== undefined || this.upgrades.length > 0;
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
    if (this.upgrades.length === 0) this.decoder.listen();
    this.decoder.heardNow();
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

  /** The first bytes that come after TLS was agreed on: of a handshake that is under way these are what is on the wire. */
  private checkHandshake(data: Buffer): void {
    if (this.dying || this.handshake === undefined || this.handshake.begun) return;
    this.handshake.begun = true;
    if (isNoHandshake(data, 0)) this.handshakeFailed("tls: first record does not look like a TLS handshake");
  }

  /** Decompresses what has come, up to a bound for one turn of the event loop; then others have theirs. */
  private unpack(unpacker: Unpacker): void {
    let bytes = 0;
    try {
      while (!this.dying && this.reading && bytes < UNPACKED_PER_TURN_BYTES) {
        const piece = unpacker.next();
        if (piece === undefined) break;
        bytes += piece.length;
        this.decode(piece);
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
    } else if (this.reading && nowMs - this.decoder.lastCommandMs >= 2 * this.heartbeatIntervalMs) {
      this.broker.log.error(`client(${this.remoteAddress}) - failed to read command - i/o timeout`);
      this.transport.terminate();
    } else if (nowMs >= this.nextHeartbeatMs) {
      // From when it was due, so that lateness does not add up.
      this.nextHeartbeatMs = Math.max(this.nextHeartbeatMs + this.heartbeatIntervalMs, nowMs);
      // Before its magic a client speaks no protocol; and one that does not read needs no more to read.
      if (this.decoder.speaking && this.sendsAll) this.respond(HEARTBEAT_FRAME);
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
    this.decoder.dispose();
    this.outbox.dispose();
    this.packer?.dispose();
    this.unpacker?.dispose();
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

  pauseReading(): void {
    if (!this.reading || this.dying) return;
    this.reading = false;
    this.transport.pause();
  }

  private resumeReading(): void {
    if (this.reading || this.closed || this.decoder.waits) return;
    this.reading = true;
    this.decoder.heardNow();
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
