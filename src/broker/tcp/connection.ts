import type { Deadlined } from "../../base/deadline-heap.ts";
import { freeBuffer } from "../../base/free-buffer.ts";
import type { LogFields, Logger, LogSubject } from "../../base/logger.ts";
import { isAboutPublish, type ProtocolError } from "../../frame/error.ts";
import { encodeFrame, FRAME_TYPE_ERROR, FRAME_TYPE_RESPONSE } from "../../frame/frame.ts";
import type { ClientConnection } from "../../net/client-listener.ts";
import type { PendingPublish } from "../acks/pending-publish.ts";
import type { BrokerOptions } from "../options.ts";
import type { Chunk } from "../storage/log/chunk.ts";
import type { TopicLog } from "../storage/log/topic-log.ts";
import { tlsRequirement } from "../tls-options.ts";
import type { Channel } from "../topics/channel/channel.ts";
import type { ConsumerWishes } from "../topics/channel/consumer.ts";
import type { ReadyLimits } from "../topics/channel/ready-limits.ts";
import type { TraceName } from "../trace/trace-name.ts";
import { type AuthenticatedClient, ClientAuth } from "./client-auth.ts";
import { ClientDeadlines, type TimedClient } from "./client-deadlines.ts";
import type { ClientServices } from "./client-services.ts";
import { ClientTopics } from "./client-topics.ts";
import { STATE_INIT } from "./commands/client.ts";
import type { ConnectionHost } from "./connection-host.ts";
import { type DecodedClient, Decoder } from "./decoder.ts";
import { Identity } from "./identity.ts";
import type { MessageEncoder } from "./message-encoder.ts";
import { MessageFraming } from "./message-framing.ts";
import { type AcknowledgedClient, OK_FRAME, PendingAcks } from "./pending-acks.ts";
import { Publisher } from "./publisher.ts";
import { type Compression, type LayeredConnection, Layers, type Upgrade } from "./transport/layers.ts";
import { Outbox } from "./transport/outbox.ts";
import type { Handshake, HandshakeListener, PlainTransport, TlsFacts, Transport } from "./transport/tls.ts";

/** A client that does not identify itself gets a heartbeat each half of this, as in nsqd. */
const CLIENT_TIMEOUT_MS = 60_000;
/** A client that leaves this much unread, or this many acknowledgements pending, is not read either. */
const PAUSE_PENDING_BYTES = 1024 * 1024;
const PAUSE_PENDING_ACKS = 16 * 1024;

const HEARTBEAT_FRAME = encodeFrame(FRAME_TYPE_RESPONSE, "_heartbeat_");

/**
 * One client's connection: what the protocol knows of the client, and its life from the first byte to the last. The client's
 * bytes go to the decoder, which has commands executed; responses and messages leave by the outbox. Only what IDENTIFY agrees
 * on, TLS and compression, comes between these two and the socket.
 * A callback of the socket decodes, changes state in memory and appends to logs. What must be written or sent waits for the tick.
 */
export class Connection
  implements ClientConnection, DecodedClient, LayeredConnection, AuthenticatedClient, AcknowledgedClient, TimedClient, Deadlined, LogSubject
{
  state = STATE_INIT;
  channel: Channel | undefined;
  onlyLog: TopicLog | undefined;
  wishes: ConsumerWishes = {};
  readonly identity: Identity;
  sampleRate = 0;
  heartbeatIntervalMs = CLIENT_TIMEOUT_MS / 2;
  msgTimeoutMs: number;
  readonly connectTimeMs = Date.now();

  readyCount = 0;
  /** What it asked for by RDY, and the most that its channel lets it have of that. */
  private askedReady = 0;
  readyLimit = Number.POSITIVE_INFINITY;
  inFlightCount = 0;
  messageCount = 0;
  finishCount = 0;
  requeueCount = 0;
  /** Publishes of this client that were refused or failed. */
  publishErrors = 0;

  /** Undefined: every client may do everything. */
  readonly auth: ClientAuth | undefined;

  /** The connection is in the tick's list. */
  dirty = false;
  /** Nothing more is read; the connection ends when everything that the client is to get is sent. */
  closing = false;
  closed = false;
  /** The client's bytes are wanted. */
  isReading = true;
  isTlsRequired: boolean;

  readonly options: BrokerOptions;
  readonly logger: Logger;
  readonly decoder: Decoder;
  readonly publisher: Publisher;
  readonly topics: ClientTopics;
  /** Undefined unless IDENTIFY agreed on any. */
  private layers: Layers | undefined;
  private readonly outbox: Outbox;
  private readonly framing: MessageFraming;
  private readonly acks: PendingAcks;
  readonly remoteIp: string;

  deadlineMs = 0;
  deadlineIndex = -1;
  private readonly deadlines: ClientDeadlines;

  constructor(
    private readonly services: ClientServices,
    private readonly host: ConnectionHost,
    readonly id: number,
    public transport: Transport,
    /** `ip:port`, as nsqd shows it. */
    readonly remoteAddress: string,
  ) {
    const { options, authority, locality, turn, logger } = services;
    this.options = options;
    this.logger = logger;
    this.auth = authority === undefined ? undefined : new ClientAuth(this, { authority, turn, logger });
    this.outbox = new Outbox(transport, services.chunks);
    this.framing = new MessageFraming(this.outbox, services.scratch);
    this.acks = new PendingAcks(this, this.outbox, services);
    this.publisher = new Publisher(services, this.auth, this.acks, this);
    this.remoteIp = remoteAddress.slice(0, Math.max(0, remoteAddress.lastIndexOf(":"))).replace(/^\[|\]$/g, "");
    this.topics = new ClientTopics(services, () => this.resumeCommand());
    this.identity = new Identity(this.remoteIp, options.outputBufferTimeoutMs, locality);
    this.msgTimeoutMs = options.msgTimeoutMs;
    this.isTlsRequired = tlsRequirement(options) !== "false";
    this.decoder = new Decoder(this, services);
    this.deadlines = new ClientDeadlines(this);
    this.planCheck();
  }

  get traceName(): TraceName {
    return this.identity.traceName(this.remoteAddress);
  }

  get logFields(): LogFields {
    return { part: "tcp", client: this.remoteAddress, topic: this.channel?.topic.name, channel: this.channel?.name };
  }

  /** The client has said which protocol it speaks. */
  get hasSpoken(): boolean {
    return this.decoder.hasMagic;
  }

  get nearness(): number {
    return this.identity.nearness;
  }

  /** How many messages the client can be given now. */
  get capacity(): number {
    if (this.closing || !this.isWritable) return 0;
    return Math.max(0, this.readyCount - this.inFlightCount);
  }

  /** Whether nothing waits for the client to read, so that more may be sent. */
  private get isWritable(): boolean {
    return this.outbox.writable && (this.layers === undefined || this.layers.writable);
  }

  // ---- input

  /** Bytes from the client's socket. The buffer is the connection's. */
  receive(data: Buffer): void {
    this.services.turn.readClock();
    if (this.layers !== undefined) return this.layers.receive(data);
    this.decode(data);
    freeBuffer(data);
  }

  /** The client's bytes, as they are above all layers. The buffer is the caller's again when this returns. */
  decode(data: Buffer): void {
    if (this.closing) return;
    this.decoder.decode(data);
    if (this.outbox.pendingBytes > PAUSE_PENDING_BYTES || this.acks.length > PAUSE_PENDING_ACKS) this.pauseReading();
  }

  /** The client has ended its side. What it sent is answered, then the connection ends. */
  onInputEnd(): void {
    this.services.turn.readClock();
    if (this.closing || this.layers?.onInputEnd() === false) return;
    if (this.decoder.onInputEnd()) this.closeGracefully();
  }

  resumeCommand(): void {
    this.host.guard(this, (connection) => connection.resume());
  }

  /** The answer for which a command waits is there. */
  private resume(): void {
    this.services.turn.readClock();
    if (this.closing || !this.decoder.resume()) return;
    if (this.isWritable && this.acks.length <= PAUSE_PENDING_ACKS) this.resumeReading();
    if (this.decoder.inputEnded) this.onInputEnd();
  }

  /** Nothing more is read until resumeReading(). */
  pauseReading(): void {
    if (this.closing || !this.isReading) return;
    this.isReading = false;
    this.transport.pause();
  }

  private resumeReading(): void {
    if (this.isReading || this.closed || this.decoder.isWaiting) return;
    this.decoder.restartSilence();
    this.isReading = true;
    // Bytes that wait to be decompressed come first, at the end of the tick.
    if (this.layers?.isDecompressing === true) this.markDirty();
    else this.transport.resume();
  }

  // ---- output

  respond(frame: Buffer): void {
    if (this.acks.length > 0) return this.acks.add(frame);
    this.outbox.write(frame, 0, frame.length);
    this.markDirty();
  }

  respondOk(): void {
    this.respond(OK_FRAME);
  }

  fail(error: ProtocolError): void {
    this.logger.error(`[${this.remoteAddress}] - ${error.code} ${error.text}`, this);
    if (isAboutPublish(error)) this.countPublishError();
    this.respond(encodeFrame(FRAME_TYPE_ERROR, Buffer.from(`${error.code} ${error.text}`, "latin1")));
    if (error.fatal) this.closeGracefully();
  }

  onAcksSent(): void {
    this.markDirty();
    if (this.isWritable) this.resumeReading();
  }

  onPublishFailed({ command }: PendingPublish, error: Error): void {
    this.logger.error(`[${this.remoteAddress}] - ${command} failed ${error.message}`, this);
    this.countPublishError();
  }

  private countPublishError(): void {
    this.publishErrors++;
    this.services.publishing.errorCount++;
  }

  sendRun(log: TopicLog, chunk: Chunk, from: number, to: number, count: number): void {
    this.inFlightCount += count;
    this.messageCount += count;
    this.framing.sendRun(log, chunk, from, to);
    this.markDirty();
  }

  sendAgain(log: TopicLog, record: Buffer, from: number, to: number, attempts: number, position: number): void {
    this.inFlightCount++;
    this.messageCount++;
    this.framing.sendAgain(log, record, from, to, attempts, position);
    this.markDirty();
  }

  /** The connection has something to do at the end of the tick. */
  markDirty(): void {
    if (this.dirty) return;
    this.dirty = true;
    this.services.turn.queueFlush(this);
  }

  /** Tick, at its end: sends by one write what the turn has brought. */
  flush(): void {
    this.dirty = false;
    if (this.closed) return;
    this.outbox.flush();
    this.layers?.flush();
    const { deadlines } = this;
    if (this.isWritable) deadlines.stalledSinceMs = 0;
    else if (deadlines.stalledSinceMs === 0) {
      deadlines.stalledSinceMs = this.services.turn.nowMs;
      this.planCheck();
    }
    if (!this.closing) this.layers?.resume();
    else if (this.allSent && deadlines.endedMs === 0) {
      deadlines.endedMs = this.services.turn.nowMs;
      this.planCheck();
      this.transport.end();
    }
  }

  get allSent(): boolean {
    return this.acks.length === 0 && this.outbox.empty && (this.layers === undefined || this.layers.empty);
  }

  /** The socket accepts bytes again. */
  onDrain(): void {
    if (this.closed) return;
    this.services.turn.readClock();
    this.deadlines.stalledSinceMs = this.services.turn.nowMs;
    const isDrained = (this.layers ?? this.outbox).drain();
    if (this.outbox.failure !== undefined) return this.onMessageLost(this.outbox.failure);
    if (!isDrained) return;
    this.deadlines.stalledSinceMs = 0;
    this.resumeReading();
    this.channel?.markDirty();
    if (this.closing || this.layers?.isUpgrading === true) this.markDirty();
  }

  /** A part of a message was sent, and the rest cannot be. The client's messages go to other consumers. */
  private onMessageLost(error: Error): void {
    this.logger.error(`client(${this.remoteAddress}) - cannot send the rest of a message: ${error.message}`, this);
    this.abort();
  }

  drainNow(): void {
    this.host.guard(this, (connection) => connection.onDrain());
  }

  // ---- what commands ask for

  speakYouzan(): void {
    this.decoder.speaksYouzan = this.acks.isYouzan = true;
  }

  get hasRawIds(): boolean {
    return this.decoder.hasRawIds;
  }

  get lacksHeaders(): boolean {
    return this.hasRawIds && !this.identity.extendSupport && !this.publisher.makesTopics;
  }

  useYouzanFrames(encoderFor: (log: TopicLog) => MessageEncoder): void {
    this.framing.encoderFor = encoderFor;
    this.decoder.hasRawIds = true;
  }

  setReady(count: number): void {
    this.askedReady = count;
    this.readyCount = this.services.publishing.isDraining ? 0 : Math.min(count, this.readyLimit);
    this.channel?.markDirty();
  }

  limitReady(limits: ReadyLimits): void {
    this.readyLimit = limits.of(this.remoteAddress, this.identity.clientId);
    this.setReady(this.askedReady);
  }

  restartHeartbeat(): void {
    this.deadlines.restartHeartbeat(this.services.turn.nowMs);
    this.planCheck();
  }

  offers(layer: Upgrade["layer"]): boolean {
    if (layer === "tls") return this.services.tls !== undefined;
    return layer === "deflate" ? this.options.deflate : this.options.snappy && this.host.hasSnappy;
  }

  get isUpgraded(): boolean {
    return this.layers !== undefined;
  }

  upgrade(upgrades: Upgrade[]): void {
    this.layers = new Layers(this, this.outbox, this.services, upgrades);
  }

  startTls(listener: HandshakeListener): Handshake {
    return this.host.startTls(this.transport as PlainTransport, this, listener);
  }

  get tls(): TlsFacts | undefined {
    return this.layers?.tls;
  }

  get compression(): Compression | undefined {
    return this.layers?.compression;
  }

  // ---- time

  get handshakeDueMs(): number {
    return this.layers?.handshakeDueMs ?? 0;
  }

  set handshakeDueMs(dueMs: number) {
    if (this.layers !== undefined) this.layers.handshakeDueMs = dueMs;
  }

  /** To be called when a deadline may be earlier than the one that was planned for. */
  planCheck(): void {
    if (!this.closed) this.host.checkAt(this, this.deadlines.nextMs);
  }

  /** Called when a deadline may have come: sends a heartbeat, or cuts a client that is silent, does not read, or does not leave. */
  checkTime(nowMs: number): void {
    switch (this.deadlines.check(nowMs)) {
      case "cut":
        return this.abort();
      case "handshake":
        this.layers?.onHandshakeLate();
        break;
      case "stalled":
        this.logger.error(`client(${this.remoteAddress}) - write stalled for ${this.heartbeatIntervalMs} ms`, this);
        return this.abort();
      case "silent":
        this.logger.error(`client(${this.remoteAddress}) - failed to read command - i/o timeout`, this);
        return this.abort();
      case "heartbeat":
        // Before its magic a client speaks no protocol, and a client that does not read needs no more to read.
        if (this.decoder.acceptsFrames && this.isWritable) this.respond(HEARTBEAT_FRAME);
    }
    this.planCheck();
  }

  /** For `byMs` the broker did nothing: that counts for no client. */
  excuse(byMs: number, nowMs: number): void {
    this.deadlines.excuse(byMs, nowMs);
    this.planCheck();
  }

  // ---- the end

  /** Reads nothing more, and ends the connection when everything that the client is to get is sent. */
  closeGracefully(): void {
    if (this.closing) return;
    this.closing = true;
    this.deadlines.closingSinceMs = this.services.turn.nowMs;
    this.planCheck();
    // The messages that it has in flight go to other consumers now, not when the socket is closed.
    this.unsubscribe();
    this.markDirty();
  }

  /** The broker shuts down: the client still gets what is ready for it, then the connection ends. */
  shutDown(): void {
    this.flush();
    this.transport.end();
  }

  abort(): void {
    this.transport.terminate();
  }

  onSocketClosed(): void {
    if (this.closed) return;
    this.logger.info(`PROTOCOL(V2): [${this.remoteAddress}] exiting ioloop`, this);
    this.closed = true;
    this.closing = true;
    this.host.checkAt(this, Number.POSITIVE_INFINITY);
    this.acks.clear();
    this.auth?.dispose();
    this.decoder.dispose();
    this.outbox.dispose();
    this.layers?.dispose();
    this.unsubscribe();
  }

  private unsubscribe(): void {
    this.channel?.removeConsumer(this);
    this.channel = undefined;
  }
}
