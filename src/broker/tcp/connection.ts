import type { ProtocolError } from "../../frame/error.ts";
import { ATTEMPTS_OFFSET, encodeFrame, FRAME_TYPE_ERROR, FRAME_TYPE_RESPONSE } from "../../frame/frame.ts";
import type { ClientConnection } from "../../net/client-listener.ts";
import type { HeldPublish } from "../acks/pending-publish.ts";
import type { Broker } from "../broker.ts";
import type { Chunk } from "../storage/log/chunk.ts";
import type { Channel } from "../topics/channel/channel.ts";
import type { Consumer } from "../topics/channel/consumer.ts";
import { IN_ZONE } from "../topics/locality.ts";
import { ClientAuth } from "./client-auth.ts";
import { STATE_INIT } from "./client-state.ts";
import { Decoder } from "./decoder.ts";
import { type AnsweredClient, HeldAnswers, OK_FRAME } from "./pending-acks.ts";
import { Publisher } from "./publisher.ts";
import { Layers } from "./transport/layers.ts";
import { Outbox } from "./transport/outbox.ts";
import type { TlsFacts } from "./transport/tls.ts";
import type { Transport } from "./transport/transport.ts";
import type { Compression } from "./transport/upgrade.ts";

/** With this much unread by the client, its commands wait too. */
const PAUSE_PENDING_BYTES = 1024 * 1024;
const PAUSE_HELD = 16 * 1024;
/** How long a client that is hung up on may take to read what it still gets. */
const LAST_WORDS_MS = 30_000;
/** How long a client may take to hang up after we have ended our side. */
const LINGER_MS = 2000;

const HEARTBEAT_FRAME = encodeFrame(FRAME_TYPE_RESPONSE, "_heartbeat_");

/**
 * One client's connection: what the protocol knows of a client, and its life from the first byte to the last. Bytes come from
 * its socket through its layers to its decoder, which has commands executed; answers and messages leave by its outbox and
 * the layers.
 *
 * Nothing is done inside the socket's callback beyond decoding, changing state in memory and appending to logs;
 * what must be written or sent waits for the tick (broker.ts).
 */
export class Connection implements AnsweredClient, ClientConnection, Consumer {
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

  /** What it may do; undefined where everybody may do everything. */
  readonly auth: ClientAuth | undefined;

  /** In the broker's list of connections to be flushed. */
  dirty = false;
  /** Nothing more is read; the connection ends when what it still gets is out. */
  dying = false;
  closed = false;

  readonly layers: Layers;
  readonly decoder: Decoder;
  readonly publisher = new Publisher(this);
  private readonly outbox: Outbox;
  private readonly held: HeldAnswers;
  private readonly remoteIp: string;

  private nextHeartbeatMs: number;
  private stuckSinceMs = 0;
  private endedMs = 0;
  private dyingSinceMs = 0;

  constructor(
    readonly broker: Broker,
    readonly id: number,
    transport: Transport,
    /** `ip:port`, as nsqd shows it. */
    readonly remoteAddress: string,
  ) {
    const { options } = broker;
    this.nearness = broker.topology?.nearness("", "") ?? IN_ZONE;
    this.auth = broker.authority === undefined ? undefined : new ClientAuth(broker.authority, this);
    this.outbox = new Outbox(transport, broker.stages, broker.chunks);
    this.layers = new Layers(this, transport, this.outbox);
    this.held = new HeldAnswers(this, this.outbox);
    this.remoteIp = remoteAddress.slice(0, Math.max(0, remoteAddress.lastIndexOf(":"))).replace(/^\[|\]$/g, "");
    this.clientId = this.hostname = this.remoteIp;
    this.heartbeatIntervalMs = broker.clientTimeoutMs / 2;
    this.msgTimeoutMs = options.msgTimeoutMs;
    this.outputBufferTimeoutMs = options.outputBufferTimeoutMs;
    this.decoder = new Decoder(this);
    this.nextHeartbeatMs = this.decoder.lastCommandMs + this.heartbeatIntervalMs;
  }

  get tls(): TlsFacts | undefined {
    return this.layers.tls;
  }

  get compression(): Compression | undefined {
    return this.layers.compression;
  }

  /** How many messages it can be given now. */
  get capacity(): number {
    if (this.dying || !this.layers.clear) return 0;
    return Math.max(0, this.readyCount - this.inFlightCount);
  }

  // ---- what comes in

  /** Bytes from the client's socket. The buffer is the connection's. */
  receive(data: Buffer): void {
    this.broker.readClock();
    this.layers.receive(data);
  }

  /** The same without the layers. The buffer is the caller's until this returns. */
  decode(data: Buffer): void {
    if (this.dying) return;
    this.decoder.take(data);
    if (this.outbox.pendingBytes > PAUSE_PENDING_BYTES || this.held.length > PAUSE_HELD) this.pauseReading();
  }

  /** The client has ended its side: what it sent is answered, then the connection ends. */
  onInputEnd(): void {
    this.broker.readClock();
    if (!this.dying && this.layers.end() && this.decoder.end()) this.die();
  }

  /** What a command waited for is there. */
  goOn(): void {
    this.broker.readClock();
    if (this.dying || !this.decoder.goOn()) return;
    if (this.layers.clear && this.held.length <= PAUSE_HELD) this.resumeReading();
    if (this.decoder.ended) this.onInputEnd();
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
      const copy = this.broker.scratch.reserve(length);
      buffer.copy(copy, 0, from, to);
      copy.writeUInt16BE(attempts, ATTEMPTS_OFFSET);
      this.outbox.write(copy, 0, length);
    }
    this.markDirty();
  }

  /** Held answers have gone to the outbox. */
  released(): void {
    this.markDirty();
    if (this.layers.clear) this.resumeReading();
  }

  publishFailed({ command }: HeldPublish, error: Error): void {
    this.broker.log.error(`[${this.remoteAddress}] - ${command} failed ${error.message}`);
  }

  /** Tick, at its end: one write for all that was put together. */
  flush(): void {
    this.dirty = false;
    if (this.closed) return;
    this.layers.flush();
    if (this.layers.clear) this.stuckSinceMs = 0;
    else if (this.stuckSinceMs === 0) this.stuckSinceMs = this.broker.nowMs;
    if (!this.dying) return this.layers.goOn();
    if (this.allSent && this.endedMs === 0) {
      this.endedMs = this.broker.nowMs;
      this.layers.endOutput();
    }
  }

  /** Nothing is left that the client still gets. */
  get allSent(): boolean {
    return this.held.length === 0 && this.layers.empty;
  }

  /** The kernel takes bytes again. */
  onDrain(): void {
    if (this.closed) return;
    this.broker.readClock();
    this.stuckSinceMs = this.broker.nowMs;
    if (!this.layers.drain()) return;
    this.stuckSinceMs = 0;
    this.resumeReading();
    this.channel?.markDirty();
    if (this.dying || this.layers.upgrading) this.markDirty();
  }

  // ---- what the commands ask of it

  /** What an auth server is told of it. */
  get facts(): { remoteIp: string; tls: boolean; commonName: string } {
    const { tls } = this.layers;
    return { remoteIp: this.remoteIp, tls: tls !== undefined, commonName: tls?.commonName ?? "" };
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
      this.layers.terminate();
      return;
    }
    if (this.dying || this.layers.checkTime(nowMs) || this.heartbeatIntervalMs === 0) return;
    if (this.stuckSinceMs !== 0 && nowMs - this.stuckSinceMs >= this.heartbeatIntervalMs) {
      this.broker.log.error(`client(${this.remoteAddress}) - takes no bytes for ${this.heartbeatIntervalMs} ms`);
      this.layers.terminate();
    } else if (this.layers.reading && nowMs - this.decoder.lastCommandMs >= 2 * this.heartbeatIntervalMs) {
      this.broker.log.error(`client(${this.remoteAddress}) - failed to read command - i/o timeout`);
      this.layers.terminate();
    } else if (nowMs >= this.nextHeartbeatMs) {
      // From when it was due, so that lateness does not add up.
      this.nextHeartbeatMs = Math.max(this.nextHeartbeatMs + this.heartbeatIntervalMs, nowMs);
      // Before its magic a client speaks no protocol; and one that does not read needs no more to read.
      if (this.decoder.speaking && this.layers.clear) this.respond(HEARTBEAT_FRAME);
    }
  }

  /** Ends the connection from our side, as nsqd does when a channel is deleted. */
  closeGracefully(): void {
    this.channel = undefined;
    this.die();
  }

  /** The socket is gone. */
  onSocketClosed(): void {
    if (this.closed) return;
    this.broker.log.info(`PROTOCOL(V2): [${this.remoteAddress}] exiting ioloop`);
    this.closed = true;
    this.dying = true;
    this.held.clear();
    this.auth?.close();
    this.decoder.dispose();
    this.outbox.dispose();
    this.layers.dispose();
    this.channel?.removeConsumer(this);
    this.channel = undefined;
  }

  abort(): void {
    this.layers.terminate();
  }

  /** The broker goes down: what was written still reaches the client. */
  leave(): void {
    this.layers.endOutput();
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

  /** Nothing more is read until what was read is dealt with. */
  pauseReading(): void {
    if (!this.dying) this.layers.pauseReading();
  }

  private resumeReading(): void {
    if (this.layers.reading || this.closed || this.decoder.waits) return;
    this.decoder.heardNow();
    this.layers.resumeReading();
  }

  /** It has something to do at the end of the tick. */
  markDirty(): void {
    if (this.dirty) return;
    this.dirty = true;
    this.broker.addDirtyConnection(this);
  }
}
