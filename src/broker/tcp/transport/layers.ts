import { freeBuffer } from "../../../base/free-buffer.ts";
import { fatal } from "../../../frame/error.ts";
import type { Compressor } from "../../../net/compression/compressor.ts";
import { CorruptStream, type Decompressor } from "../../../net/compression/decompressor.ts";
import { tlsRequirement } from "../../tls-options.ts";
import type { Connection } from "../connection.ts";
import type { Outbox } from "./outbox.ts";
import { type Handshake, isNoHandshake, type TlsFacts } from "./tls.ts";
import type { PlainTransport, Transport } from "./transport.ts";
import { type Compression, compress, type Upgrade } from "./upgrade.ts";

/** How long a client has for its side of a TLS handshake, as in nsqd. */
const HANDSHAKE_TIMEOUT_MS = 5000;
/** A few bytes can become many: more than this waits for the next turn of the event loop. */
const UNPACKED_PER_TURN_BYTES = 1024 * 1024;

/**
 * What stands between a client's connection and its socket: nothing at first, then what IDENTIFY agreed on, TLS and below
 * the connection a compression. Bytes that come are handed to the connection as the client meant them; what goes out
 * leaves its outbox for the uppermost layer.
 */
export class Layers {
  /** What the TLS handshake agreed on; undefined without TLS. */
  tls: TlsFacts | undefined;
  compression: Compression | undefined;
  /** The client's commands are refused until it speaks TLS. */
  tlsDue: boolean;
  /** More is wanted from the socket. */
  reading = true;

  /** Those that are still to be put on, in their order. */
  private upgrades: Upgrade[] = [];
  private handshake: Handshake | undefined;
  private handshakeDueMs = 0;
  private compressor: Compressor | undefined;
  private decompressor: Decompressor | undefined;
  /** Compressed bytes wait for their turn, and the socket with them. */
  private unpacking = false;
  /** The client has ended its side; what it sent before waits. */
  private endWaits = false;
  /** Set while what is to be compressed waits for the next turn of the event loop. */
  private nextTurn: NodeJS.Immediate | undefined;

  constructor(
    private readonly client: Connection,
    private transport: Transport,
    private readonly outbox: Outbox,
  ) {
    this.tlsDue = tlsRequirement(client.broker.options) !== "false";
  }

  // ---- what comes in

  /** Bytes from the socket. The buffer is theirs. */
  receive(data: Buffer): void {
    if (this.decompressor === undefined) {
      if (this.handshake !== undefined) this.checkHandshake(data, this.handshake);
      this.client.decode(data);
      freeBuffer(data);
      return;
    }
    this.decompressor.feed(data);
    if (!this.unpacking) this.unpack(this.decompressor);
  }

  /** The client has ended its side. @returns false: what it sent before still waits here, and the connection hears of the end again */
  end(): boolean {
    this.endWaits = this.unpacking;
    return !this.unpacking;
  }

  pauseReading(): void {
    if (!this.reading) return;
    this.reading = false;
    this.transport.pause();
  }

  resumeReading(): void {
    this.reading = true;
    // What waits to be decompressed comes first, at the end of the tick.
    if (this.unpacking) this.client.markDirty();
    else this.transport.resume();
  }

  /** Decompresses what has come, up to a bound for one turn of the event loop; then others have theirs. */
  private unpack(decompressor: Decompressor): void {
    const { client } = this;
    let bytes = 0;
    try {
      while (!client.dying && this.reading && bytes < UNPACKED_PER_TURN_BYTES) {
        const piece = decompressor.next();
        if (piece === undefined) break;
        bytes += piece.length;
        client.decode(piece);
      }
    } catch (error) {
      if (!(error instanceof CorruptStream)) throw error;
      client.broker.log.error(`client(${client.remoteAddress}) - failed to read command - ${error.message}`);
      this.unpacking = false;
      return client.onInputEnd();
    }
    if (client.dying) return;
    if (decompressor.waiting) {
      this.unpacking = true;
      this.transport.pause();
      if (this.reading) client.markDirty();
      return;
    }
    if (this.unpacking) {
      this.unpacking = false;
      if (this.reading) this.transport.resume();
    }
    if (this.endWaits || decompressor.ended) client.onInputEnd();
  }

  // ---- what goes out

  /** Nothing waits for the kernel: more may be sent. */
  get clear(): boolean {
    return this.outbox.clear && (this.compressor === undefined || this.compressor.writable);
  }

  /** All that was sent is out. */
  get empty(): boolean {
    return this.outbox.empty && (this.compressor === undefined || this.compressor.empty);
  }

  /** Sends what was put together in this turn. */
  flush(): void {
    this.outbox.flush();
    if (this.compressor !== undefined) this.flushCompressed(this.compressor);
  }

  /** The socket takes bytes again. @returns whether nothing waits for it any more */
  drain(): boolean {
    const { compressor } = this;
    // What waits for the next turn gets it from flushCompressed().
    if (compressor !== undefined && (this.nextTurn !== undefined || !compressor.drain())) return false;
    const drained = this.outbox.drain();
    if (compressor !== undefined) this.flushCompressed(compressor);
    return drained && this.clear;
  }

  /** Sends what was gathered. What was too much for one turn goes on in the next, once others have had theirs. */
  private flushCompressed(compressor: Compressor): void {
    compressor.flush();
    if (!compressor.turnUsedUp) return compressor.beginTurn();
    if (this.nextTurn !== undefined) return;
    this.nextTurn = setImmediate(() => {
      this.nextTurn = undefined;
      compressor.beginTurn();
      this.client.broker.listener.guard(this.client, (client) => client.onDrain());
    });
  }

  // ---- putting layers on

  /**
   * IDENTIFY agreed on layers: they are put on once its answer is out. What comes before one is put on is not for it. nsqd
   * loses such bytes in its read buffer; here they are never taken for commands either, as who sent them may be somebody
   * else than who proves itself in the handshake.
   */
  agree(upgrades: Upgrade[]): void {
    this.upgrades = upgrades;
    this.client.decoder.ignore();
  }

  /** There are layers, or are going to be. */
  get agreed(): boolean {
    return this.tls !== undefined || this.compression !== undefined || this.upgrading;
  }

  /** Not all of them are put on. */
  get upgrading(): boolean {
    return this.upgrades.length > 0;
  }

  /** Goes on with what waited until nothing else was in the way: the next layer, or what there is to decompress. */
  goOn(): void {
    if (this.upgrading) this.putOnNext();
    if (this.unpacking && this.reading) this.unpack(this.decompressor as Decompressor);
  }

  /** Puts on the next layer if all that goes without it is out. */
  private putOnNext(): void {
    const { client } = this;
    if (this.handshake !== undefined || !client.allSent) return;
    const [next] = this.upgrades as [Upgrade];
    const kind = next.layer === "deflate" ? `deflate (level ${next.level})` : next.layer === "tls" ? "TLS" : next.layer;
    client.broker.log.info(`PROTOCOL(V2): [${client.remoteAddress}] upgrading connection to ${kind}`);
    if (next.layer === "tls") {
      this.handshakeDueMs = client.broker.nowMs + HANDSHAKE_TIMEOUT_MS;
      this.handshake = client.broker.listener.startTls(client, this.transport as PlainTransport);
      this.transport = this.handshake.plain;
      this.outbox.redirect(this.transport);
      return;
    }
    const { compressor, decompressor } = compress(next, this.transport);
    this.compressor = compressor;
    this.decompressor = decompressor;
    this.compression = next;
    this.outbox.redirect(compressor);
    this.layerDone();
  }

  /** The client hears of a layer by an OK that comes through it. */
  private layerDone(): void {
    const { decoder } = this.client;
    this.upgrades.shift();
    if (this.upgrades.length === 0) decoder.listen();
    decoder.heardNow();
    this.client.ok();
  }

  /** @param problem what is wrong with the client's certificate */
  handshakeDone(secure: Transport, facts: TlsFacts, problem: Error | undefined): void {
    const { client } = this;
    if (client.closed) return;
    this.handshake = undefined;
    this.handshakeDueMs = 0;
    this.transport = secure;
    this.outbox.redirect(secure);
    if (client.dying) return client.markDirty();
    if (problem !== undefined) return client.fail(fatal("E_IDENTIFY_FAILED", `IDENTIFY failed ${problem.message}`));
    this.tls = facts;
    this.tlsDue = false;
    this.layerDone();
  }

  handshakeFailed(reason: string): void {
    const { client } = this;
    if (client.closed || client.dying) return;
    client.fail(fatal("E_IDENTIFY_FAILED", `IDENTIFY failed ${reason}`));
    // Now: Bun closes the socket as soon as it sees what it has got.
    client.flush();
  }

  /** Looks at the clock. @returns whether a handshake is under way */
  checkTime(nowMs: number): boolean {
    if (this.handshakeDueMs === 0) return false;
    if (nowMs >= this.handshakeDueMs) this.handshakeFailed(`read tcp ${this.client.remoteAddress}: i/o timeout`);
    return true;
  }

  /** Bytes that come during a handshake are what is on the wire. */
  private checkHandshake(data: Buffer, handshake: Handshake): void {
    if (this.client.dying || handshake.begun) return;
    handshake.begun = true;
    if (isNoHandshake(data, 0)) this.handshakeFailed("tls: first record does not look like a TLS handshake");
  }

  // ---- the end

  /** Ends our side of the connection. What was written still reaches the client. */
  endOutput(): void {
    this.transport.end();
  }

  /** Cuts the connection now. */
  terminate(): void {
    this.transport.terminate();
  }

  /** The socket is gone. */
  dispose(): void {
    this.compressor?.dispose();
    this.decompressor?.dispose();
  }
}
