import { constants, deflateRawSync } from "node:zlib";
import { FRAME_TYPE_ERROR, FRAME_TYPE_MESSAGE, FRAME_TYPE_RESPONSE, MAGIC_V2 } from "../../src/frame/frame.ts";
import type { Decompressor } from "../../src/net/compression/decompressor.ts";
import { DeflateDecompressor } from "../../src/net/compression/deflate.ts";
import { SnappyCompressor, SnappyDecompressor } from "../../src/net/compression/snappy.ts";
import { Unsent } from "./unsent.ts";

/** What has not come by then will not come: shorter than a test may take, and longer than a machine stalls. */
const PATIENCE_MS = 20_000;

/** A frame as it came, with a message's parts taken apart. */
export interface Frame {
  type: "response" | "error" | "message";
  /** Payload as text (for a message: its body). */
  text: string;
  /** Payload as bytes (for a message: its body). */
  data: Buffer;
  /** All bytes but the size word. */
  bytes: Buffer;
  id: string;
  attempts: number;
  timestampNs: bigint;
}

/**
 * A socket that speaks V2 byte by byte and hides nothing: what the tests of a protocol need.
 * It answers heartbeats only when told to; it parses frames and keeps them in order.
 */
export class RawClient {
  /** Frames that arrived and no `next…()` has taken yet. Heartbeats are counted, not kept. */
  readonly frames: Frame[] = [];
  heartbeats = 0;
  closed = false;
  answerHeartbeats = true;
  /** Called for each frame instead of keeping it, when set (high-volume tests). */
  onFrame: ((frame: Frame) => void) | undefined;
  private buffered: Buffer = Buffer.alloc(0);
  private readonly unsent = new Unsent();
  private wakeups: (() => void)[] = [];
  private socket!: Bun.Socket<undefined>;
  private encode: ((bytes: Buffer) => Buffer) | undefined;
  private decompressor: Decompressor | undefined;
  /** Frames that may still be taken as they come; what is behind them is for the layer that is put on then. */
  private framesOfLayer = Number.POSITIVE_INFINITY;

  /** @param port or the path of a unix socket */
  static async connect(port: number | string, options: { magic?: string; hostname?: string } = {}): Promise<RawClient> {
    const client = new RawClient();
    client.socket = await Bun.connect({
      ...((typeof port === "string" ? { unix: port } : { hostname: options.hostname ?? "127.0.0.1", port }) as {
        hostname: string;
        port: number;
      }),
      socket: {
        data: (_socket, data) => client.receive(data),
        drain: () => client.pump(),
        close: () => client.end(),
        error: () => client.end(),
        end: () => client.end(),
      },
    });
    const magic = options.magic ?? MAGIC_V2;
    if (magic !== "") client.write(magic);
    return client;
  }

  write(bytes: string | Uint8Array): void {
    const plain = typeof bytes === "string" ? Buffer.from(bytes, "latin1") : Buffer.from(bytes);
    this.writeRaw(this.encode?.(plain) ?? plain);
  }

  /** Writes bytes past the compression. */
  writeRaw(bytes: Uint8Array): void {
    this.unsent.push(Buffer.from(bytes));
    this.pump();
  }

  /** Asks for layers with IDENTIFY and puts them on as the broker does; returns its answer. */
  async negotiate(identity: Record<string, unknown>, tls: Bun.TLSOptions = {}): Promise<Record<string, unknown>> {
    this.framesOfLayer = 1;
    const answer = JSON.parse(await this.call("IDENTIFY", JSON.stringify({ feature_negotiation: true, ...identity })));
    if (answer.tls_v1) {
      this.framesOfLayer = 1;
      await this.startTls(tls);
      this.expectOk(await this.response());
    }
    if (answer.snappy || answer.deflate) {
      if (answer.snappy) this.compress(compressSnappy(), new SnappyDecompressor());
      else this.compress(compressDeflate, new DeflateDecompressor());
      this.expectOk(await this.response());
    }
    this.framesOfLayer = Number.POSITIVE_INFINITY;
    this.take(Buffer.alloc(0));
    return answer;
  }

  /** The client's side of a TLS handshake. */
  startTls(tls: Bun.TLSOptions = {}): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const [plain, secure] = this.socket.upgradeTLS<undefined>({
      tls: { rejectUnauthorized: false, ...tls },
      socket: {
        handshake: (_socket, success, error) => (success ? resolve() : reject(error ?? new Error("no handshake"))),
        data: (_socket, data) => this.receive(data),
        drain: () => this.pump(),
        close: () => {
          reject(new Error("closed in the handshake"));
          this.end();
        },
        error: () => this.end(),
        end: () => this.end(),
      },
    });
    plain.reload({ socket: { data: () => {} } });
    this.socket = secure;
    return promise;
  }

  /** From here on all goes through a compression. */
  compress(encode: (bytes: Buffer) => Buffer, decompressor: Decompressor): void {
    this.encode = encode;
    this.decompressor = decompressor;
    this.framesOfLayer = Number.POSITIVE_INFINITY;
    const early = this.buffered;
    this.buffered = Buffer.alloc(0);
    this.receive(early);
  }

  private expectOk(text: string): void {
    if (text !== "OK") throw new Error(`a layer was answered with ${text}`);
  }

  /** A command line, with an optional sized body behind it. */
  command(line: string, body?: string | Uint8Array): void {
    if (body === undefined) return this.write(`${line}\n`);
    this.write(Buffer.concat([Buffer.from(`${line}\n`, "latin1"), sized(body)]));
  }

  /** The body of an MPUB: how many, then each sized. */
  mpub(topic: string, bodies: (string | Uint8Array)[]): void {
    const count = Buffer.alloc(4);
    count.writeUInt32BE(bodies.length);
    this.command(`MPUB ${topic}`, Buffer.concat([count, ...bodies.map(sized)]));
  }

  /** The next frame; rejects after `timeoutMs` or when the connection ends first. */
  async next(timeoutMs = PATIENCE_MS): Promise<Frame> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const frame = this.frames.shift();
      if (frame) return frame;
      if (this.closed) throw new Error("connection closed");
      const left = deadline - Date.now();
      if (left <= 0) throw new Error(`no frame within ${timeoutMs} ms`);
      await this.activity(left);
    }
  }

  /** The next frame's text, which must be a response. */
  async response(timeoutMs?: number): Promise<string> {
    const frame = await this.next(timeoutMs);
    if (frame.type !== "response") throw new Error(`expected a response, got ${frame.type} ${frame.text}`);
    return frame.text;
  }

  /** Sends a command and returns the response's text; throws on an error frame. */
  async call(line: string, body?: string | Uint8Array): Promise<string> {
    this.command(line, body);
    return this.response();
  }

  async message(timeoutMs?: number): Promise<Frame> {
    const frame = await this.next(timeoutMs);
    if (frame.type !== "message") throw new Error(`expected a message, got ${frame.type} ${frame.text}`);
    return frame;
  }

  async untilClosed(timeoutMs = PATIENCE_MS): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    while (!this.closed) {
      const left = deadline - Date.now();
      if (left <= 0) throw new Error(`still open after ${timeoutMs} ms`);
      await this.activity(left);
    }
  }

  /** Reads nothing until resume(). */
  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  /** Ends its side, and goes on reading. */
  halfClose(): void {
    this.socket.shutdown();
  }

  close(): void {
    this.socket.end();
    this.end();
  }

  /** Ends the connection at once, without a FIN handshake of its pending bytes. */
  terminate(): void {
    this.socket.terminate();
    this.end();
  }

  private end(): void {
    this.closed = true;
    this.wake();
  }

  private pump(): void {
    if (!this.closed) this.unsent.pump(this.socket);
  }

  private receive(data: Buffer): void {
    if (this.decompressor === undefined) return this.take(data);
    this.decompressor.feed(data);
    for (let piece = this.decompressor.next(); piece !== undefined; piece = this.decompressor.next()) this.take(Buffer.from(piece));
  }

  private take(data: Buffer): void {
    let buffer = this.buffered.length === 0 ? data : Buffer.concat([this.buffered, data]);
    while (buffer.length >= 4 && this.framesOfLayer > 0) {
      const size = buffer.readUInt32BE(0);
      if (buffer.length < 4 + size) break;
      this.framesOfLayer--;
      this.accept(parseFrame(buffer.subarray(4, 4 + size)));
      buffer = buffer.subarray(4 + size);
    }
    this.buffered = buffer;
    this.wake();
  }

  private accept(frame: Frame): void {
    if (frame.type === "response" && frame.text === "_heartbeat_") {
      this.heartbeats++;
      if (this.answerHeartbeats) this.write("NOP\n");
    } else if (this.onFrame) {
      this.onFrame(frame);
    } else {
      this.frames.push(frame);
    }
  }

  private activity(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      this.wakeups.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  private wake(): void {
    const waiting = this.wakeups;
    this.wakeups = [];
    for (const resolve of waiting) resolve();
  }
}

/** Each call compresses by itself, and ends so that all of it can be read. */
export function compressDeflate(bytes: Buffer): Buffer {
  return deflateRawSync(bytes, { finishFlush: constants.Z_SYNC_FLUSH });
}

/** Snappy's framing format, by the compressor of the broker (test/net/compression checks that one against others). */
export function compressSnappy(): (bytes: Buffer) => Buffer {
  const compressed: Buffer[] = [];
  const compressor = new SnappyCompressor({
    write: (bytes, offset, length) => {
      compressed.push(Buffer.from(bytes.subarray(offset, offset + length)));
      return length;
    },
  });
  return (bytes) => {
    for (let at = 0; at < bytes.length; compressor.beginTurn()) at += compressor.write(bytes, at, bytes.length - at);
    compressor.flush();
    return Buffer.concat(compressed.splice(0));
  };
}

/** A body with its four-byte size in front. */
export function sized(body: string | Uint8Array): Buffer {
  const bytes = typeof body === "string" ? Buffer.from(body) : body;
  const size = Buffer.alloc(4);
  size.writeUInt32BE(bytes.length);
  return Buffer.concat([size, bytes]);
}

/** @param payload a frame without its size word */
function parseFrame(payload: Buffer): Frame {
  const type = payload.readUInt32BE(0);
  if (type === FRAME_TYPE_MESSAGE) {
    const data = payload.subarray(30);
    return {
      type: "message",
      data,
      bytes: payload,
      get text() {
        return data.toString();
      },
      timestampNs: payload.readBigUInt64BE(4),
      attempts: payload.readUInt16BE(12),
      id: payload.toString("latin1", 14, 30),
    };
  }
  const data = payload.subarray(4);
  const known = type === FRAME_TYPE_RESPONSE ? "response" : type === FRAME_TYPE_ERROR ? "error" : undefined;
  if (known === undefined) throw new Error(`unknown frame type ${type}`);
  return { type: known, data, bytes: payload, text: data.toString(), timestampNs: 0n, attempts: 0, id: "" };
}
