import { freeBuffer } from "../../../base/free-buffer.ts";
import type { Logger, LogSubject } from "../../../base/logger.ts";
import { fatal, type ProtocolError } from "../../../frame/error.ts";
import type { Compressor } from "../../../net/compression/compressor.ts";
import { CorruptStream, type Decompressor } from "../../../net/compression/decompressor.ts";
import { DeflateCompressor, DeflateDecompressor } from "../../../net/compression/deflate.ts";
import { SnappyCompressor, SnappyDecompressor } from "../../../net/compression/snappy.ts";
import type { Writer } from "../../../net/writer.ts";
import type { Outbox } from "./outbox.ts";
import { type Handshake, type HandshakeListener, isHandshake, type TlsFacts, type Transport } from "./tls.ts";

/** How long a client has for its side of a TLS handshake, as in nsqd. */
const HANDSHAKE_TIMEOUT_MS = 5000;
/** A few bytes may decompress to many. More than this waits for the next turn of the event loop. */
const DECOMPRESSED_PER_TURN_BYTES = 1024 * 1024;

export type Compression = { layer: "snappy" } | { layer: "deflate"; level: number };
/** A layer that IDENTIFY agreed on. */
export type Upgrade = { layer: "tls" } | Compression;

/** The connection whose bytes go through the layers. */
export interface LayeredConnection extends LogSubject {
  readonly remoteAddress: string;
  /** The uppermost socket. TLS puts another one in its place. */
  transport: Transport;
  /** The client's bytes are wanted. */
  readonly isReading: boolean;
  /** All commands but IDENTIFY are refused until the client speaks TLS. */
  isTlsRequired: boolean;
  readonly closing: boolean;
  readonly closed: boolean;
  /** Whether everything that the client is to get is sent. */
  readonly allSent: boolean;
  readonly decoder: { ignoreInput(): void; acceptCommands(): void; restartSilence(): void };
  /** Starts TLS on the connection's socket. */
  startTls(listener: HandshakeListener): Handshake;
  /** Executes the commands in the client's bytes. */
  decode(data: Buffer): void;
  onInputEnd(): void;
  respondOk(): void;
  /** Its deadlines have changed. */
  planCheck(): void;
  fail(error: ProtocolError): void;
  flush(): void;
  /** The connection has something to do at the end of the tick. */
  markDirty(): void;
  /** Calls onDrain() as if the socket had. */
  drainNow(): void;
}

/** What layers need of the broker. */
export interface LayerServices {
  readonly turn: { readonly nowMs: number };
  readonly logger: Logger;
}

/**
 * What is between a client's connection and its socket, if IDENTIFY agreed on anything: TLS, and above it a compression. A
 * connection without them has no Layers. The client's bytes come up to the connection's decode(); its outbox writes to the
 * uppermost layer.
 *
 * The layers are put on one after the other, each once everything before it is sent, and each is followed by an OK that
 * goes through it.
 */
export class Layers implements HandshakeListener {
  /** What the TLS handshake agreed on; undefined without TLS. */
  tls: TlsFacts | undefined;
  compression: Compression | undefined;
  /** Compressed bytes wait for their turn, and the socket is paused until then. */
  isDecompressing = false;

  private handshake: Handshake | undefined;
  handshakeDueMs = 0;
  private compressor: Compressor | undefined;
  private decompressor: Decompressor | undefined;
  /** The client has ended its side, and bytes that it sent before wait. */
  private isEndPending = false;
  /** Set while bytes that are to be compressed wait for the next turn of the event loop. */
  private nextTurn: NodeJS.Immediate | undefined;

  /**
   * Bytes that come before a layer is there are dropped. nsqd loses them in its read buffer; here they are no commands either,
   * because they may be from somebody else than the client that proves itself in the handshake.
   *
   * @param upgrades what IDENTIFY agreed on, in the order of the layers
   */
  constructor(
    private readonly connection: LayeredConnection,
    private readonly outbox: Outbox,
    private readonly services: LayerServices,
    private readonly upgrades: Upgrade[],
  ) {
    connection.decoder.ignoreInput();
  }

  // ---- input

  /** Bytes from the socket. The buffer is this object's. */
  receive(data: Buffer): void {
    const { decompressor } = this;
    if (decompressor !== undefined) {
      decompressor.feed(data);
      if (!this.isDecompressing) this.decompress(decompressor);
      return;
    }
    if (this.handshake !== undefined) this.checkHandshake(data, this.handshake);
    this.connection.decode(data);
    freeBuffer(data);
  }

  /** The client has ended its side. @returns false: bytes that it sent before wait here, and the connection is told later */
  onInputEnd(): boolean {
    this.isEndPending = this.isDecompressing;
    return !this.isDecompressing;
  }

  /** Decompresses what has come, up to a limit per turn of the event loop, so that other clients are served, too. */
  private decompress(decompressor: Decompressor): void {
    const { connection } = this;
    let bytes = 0;
    try {
      while (!connection.closing && connection.isReading && bytes < DECOMPRESSED_PER_TURN_BYTES) {
        const piece = decompressor.next();
        if (piece === undefined) break;
        bytes += piece.length;
        connection.decode(piece);
      }
    } catch (error) {
      if (!(error instanceof CorruptStream)) throw error;
      this.services.logger.error(`client(${connection.remoteAddress}) - failed to read command - ${error.message}`, connection);
      this.isDecompressing = false;
      return connection.onInputEnd();
    }
    if (connection.closing) return;
    if (decompressor.waiting) {
      this.isDecompressing = true;
      connection.transport.pause();
      if (connection.isReading) connection.markDirty();
      return;
    }
    if (this.isDecompressing) {
      this.isDecompressing = false;
      if (connection.isReading) connection.transport.resume();
    }
    if (this.isEndPending || decompressor.ended) connection.onInputEnd();
  }

  // ---- output

  /** Whether nothing waits for the kernel or for the next turn, so that more may be sent. */
  get writable(): boolean {
    return this.compressor === undefined || this.compressor.writable;
  }

  /** Whether nothing is left to send. */
  get empty(): boolean {
    return this.compressor === undefined || this.compressor.empty;
  }

  /** Sends what the outbox wrote in this turn. */
  flush(): void {
    if (this.compressor !== undefined) this.flushCompressed(this.compressor);
  }

  /** The socket accepts bytes again. @returns whether nothing waits for it any more */
  drain(): boolean {
    const { compressor, outbox } = this;
    if (compressor === undefined) return outbox.drain();
    // Bytes that wait for the next turn are sent by flushCompressed() then.
    if (this.nextTurn !== undefined || !compressor.drain()) return false;
    const isDrained = outbox.drain();
    this.flushCompressed(compressor);
    return isDrained && outbox.writable && compressor.writable;
  }

  /** Sends what was gathered. What is too much for one turn goes on in the next, after other clients were served. */
  private flushCompressed(compressor: Compressor): void {
    compressor.flush();
    if (!compressor.turnUsedUp) return compressor.beginTurn();
    if (this.nextTurn !== undefined) return;
    this.nextTurn = setImmediate(() => {
      this.nextTurn = undefined;
      compressor.beginTurn();
      this.connection.drainNow();
    });
  }

  // ---- upgrades

  /** Whether layers are still to be put on. */
  get isUpgrading(): boolean {
    return this.upgrades.length > 0;
  }

  /** Tick, at its end: goes on with what waited, the next layer or bytes to be decompressed. */
  resume(): void {
    if (this.isUpgrading) this.startUpgrade();
    if (this.isDecompressing && this.connection.isReading) this.decompress(this.decompressor as Decompressor);
  }

  /** Puts the next layer on, if everything that goes without it is sent. */
  private startUpgrade(): void {
    const { connection, outbox, services } = this;
    if (this.handshake !== undefined || !connection.allSent) return;
    const [next] = this.upgrades as [Upgrade];
    const kind = next.layer === "deflate" ? `deflate (level ${next.level})` : next.layer === "tls" ? "TLS" : next.layer;
    services.logger.info(`PROTOCOL(V2): [${connection.remoteAddress}] upgrading connection to ${kind}`, connection);
    if (next.layer === "tls") {
      this.handshakeDueMs = services.turn.nowMs + HANDSHAKE_TIMEOUT_MS;
      connection.planCheck();
      this.handshake = connection.startTls(this);
      this.setTransport(this.handshake.plain);
      return;
    }
    this.compressor = newCompressor(next, connection.transport);
    this.decompressor = next.layer === "snappy" ? new SnappyDecompressor() : new DeflateDecompressor();
    this.compression = next;
    outbox.redirect(this.compressor);
    this.finishUpgrade();
  }

  /** A layer is there. The client is told by an OK that goes through it. */
  private finishUpgrade(): void {
    const { decoder } = this.connection;
    this.upgrades.shift();
    if (this.upgrades.length === 0) decoder.acceptCommands();
    decoder.restartSilence();
    this.connection.planCheck();
    this.connection.respondOk();
  }

  private setTransport(transport: Transport): void {
    this.connection.transport = transport;
    this.outbox.redirect(transport);
  }

  onHandshakeDone(secure: Transport, facts: TlsFacts, problem: Error | undefined): void {
    const { connection } = this;
    if (connection.closed) return;
    this.handshake = undefined;
    this.handshakeDueMs = 0;
    this.setTransport(secure);
    if (connection.closing) return connection.markDirty();
    if (problem !== undefined) return connection.fail(fatal("E_IDENTIFY_FAILED", `IDENTIFY failed ${problem.message}`));
    this.tls = facts;
    connection.isTlsRequired = false;
    this.finishUpgrade();
  }

  onHandshakeFailed(error: Error): void {
    const { connection } = this;
    if (connection.closed || connection.closing) return;
    connection.fail(fatal("E_IDENTIFY_FAILED", `IDENTIFY failed ${error.message}`));
    // Now, because Bun closes the socket as soon as it has seen the bad bytes.
    connection.flush();
  }

  /** Ends a handshake that takes too long. */
  onHandshakeLate(): void {
    this.onHandshakeFailed(new Error(`read tcp ${this.connection.remoteAddress}: i/o timeout`));
  }

  /** The bytes that come during a handshake are encrypted. */
  private checkHandshake(data: Buffer, handshake: Handshake): void {
    if (this.connection.closing || handshake.begun) return;
    handshake.begun = true;
    if (!isHandshake(data)) this.onHandshakeFailed(new Error("tls: first record does not look like a TLS handshake"));
  }

  /** The connection is closed: frees the memory. */
  dispose(): void {
    this.compressor?.dispose();
    this.decompressor?.dispose();
  }
}

/** @param below where the compressed bytes go */
function newCompressor(compression: Compression, below: Writer): Compressor {
  return compression.layer === "snappy" ? new SnappyCompressor(below) : new DeflateCompressor(below, compression.level);
}
