import { freeBuffer } from "../../src/base/free-buffer.ts";
import type { Compressor } from "../../src/net/compression/compressor.ts";
import type { Decompressor } from "../../src/net/compression/decompressor.ts";
import type { Layers } from "./job.ts";
import { makeCompressor, makeDecompressor } from "./layers.ts";
import { OkFrameCounter } from "./replies.ts";
import type { ByteSink } from "./ring-writer.ts";
import { HANDSHAKE, layersHandshake, SUBSCRIBE } from "./wire.ts";

/** The callbacks of a load on its connection. */
export interface Load {
  /** The bytes must not be used after this returns. */
  receive(data: Buffer): void;
  /** The socket accepts bytes again. */
  drain(): void;
}

/** A connection of the generator. Its load is set after the greetings; until then it only counts OKs. */
export class LoadConnection implements ByteSink {
  load: Load | undefined;
  private socket!: Bun.Socket<LoadConnection>;
  private compressor: Compressor | undefined;
  private decompressor: Decompressor | undefined;
  private readonly greetings = new OkFrameCounter();
  private greeted = () => {};
  /** Whether the generator has ended it, so that its close is no failure. */
  ended = false;

  /** Makes a connection without a greeting, for HTTP. */
  static async connect(port: number): Promise<LoadConnection> {
    const connection = new LoadConnection();
    connection.socket = await Bun.connect<LoadConnection>({ hostname: "127.0.0.1", port, data: connection, socket: HANDLERS });
    return connection;
  }

  /** Makes a connection that has identified itself to a broker. */
  static async identify(port: number, greeting = HANDSHAKE): Promise<LoadConnection> {
    const connection = await LoadConnection.connect(port);
    await connection.greet(greeting);
    return connection;
  }

  /** Makes a connection that has identified itself, with the layers that IDENTIFY agreed on. */
  static async identifyOver(port: number, layers: Layers | undefined): Promise<LoadConnection> {
    if (layers === undefined) return LoadConnection.identify(port);
    const connection = await LoadConnection.connect(port);
    const frames = new FrameReader();
    connection.load = frames;
    const greeting = layersHandshake(layers);
    connection.write(greeting, 0, greeting.length);
    await frames.next();
    if (layers.tls) {
      connection.startTls();
      await frames.next();
    }
    if (layers.compression !== undefined) {
      connection.compressor = makeCompressor(layers.compression, connection.socketSink);
      connection.decompressor = makeDecompressor(layers.compression);
      // The OK of this layer may have come together with the answer before it.
      connection.receive(frames.removeRest());
      await frames.next();
    }
    connection.load = undefined;
    return connection;
  }

  /** Makes a connection that is subscribed and has not sent RDY. */
  static async subscribe(port: number, subscribe = SUBSCRIBE, greeting = HANDSHAKE): Promise<LoadConnection> {
    const connection = await LoadConnection.identify(port, greeting);
    await connection.greet(subscribe);
    return connection;
  }

  write(bytes: Buffer, offset: number, length: number): number {
    const { compressor } = this;
    if (compressor === undefined) return this.socket.write(bytes, offset, length);
    // The limit per turn is for a broker with many clients. A load does not need it.
    compressor.beginTurn();
    const taken = compressor.write(bytes, offset, length);
    compressor.flush();
    return taken;
  }

  /** Accepts bytes that are compressed already. */
  readonly socketSink: ByteSink = {
    write: (bytes, offset, length) => this.socket.write(bytes, offset, length),
  };

  drain(): void {
    if (this.compressor !== undefined && !this.compressor.drain()) return;
    this.compressor?.flush();
    this.load?.drain();
  }

  private startTls(): void {
    const [plain, secure] = this.socket.upgradeTLS<LoadConnection>({ data: this, tls: { rejectUnauthorized: false }, socket: HANDLERS });
    plain.reload({ socket: { data: () => {} } });
    this.socket = secure;
  }

  end(): void {
    this.ended = true;
    this.socket.end();
  }

  receive(data: Buffer): void {
    const { decompressor } = this;
    if (decompressor === undefined) {
      this.handle(data);
      freeBuffer(data);
      return;
    }
    decompressor.feed(data);
    for (let piece = decompressor.next(); piece !== undefined; piece = decompressor.next()) this.handle(piece);
  }

  private handle(data: Buffer): void {
    if (this.load !== undefined) return this.load.receive(data);
    if (this.greetings.count(data) > 0) this.greeted();
  }

  /** Sends a command and waits for its OK. */
  greet(command: Buffer): Promise<void> {
    return new Promise((resolve) => {
      this.greeted = resolve;
      this.write(command, 0, command.length);
    });
  }
}

/** Reads the answers to a greeting one by one, because the bytes behind one may be for the next layer. */
class FrameReader implements Load {
  private rest: Buffer = Buffer.alloc(0);
  private wake = () => {};

  receive(data: Buffer): void {
    this.rest = Buffer.concat([this.rest, data]);
    this.wake();
  }

  drain(): void {}

  async next(): Promise<void> {
    while (this.rest.length < 4 || this.rest.length < 4 + this.rest.readUInt32BE(0)) {
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
    this.rest = this.rest.subarray(4 + this.rest.readUInt32BE(0));
  }

  removeRest(): Buffer {
    const { rest } = this;
    this.rest = Buffer.alloc(0);
    return rest;
  }
}

/** Prints an error and exits. A lost connection or a wrong reply makes the whole measurement worthless. */
export function fail(error: unknown): never {
  console.error(`load generator: ${error instanceof Error ? error.message : String(error)}`);
  process.exit(1);
}

const HANDLERS: Bun.SocketHandler<LoadConnection> = {
  data: (socket, data) => socket.data.receive(data),
  drain: (socket) => socket.data.drain(),
  error: (_socket, error) => fail(error),
  close: (socket) => {
    if (!socket.data.ended) fail("the server closed a connection");
  },
};
