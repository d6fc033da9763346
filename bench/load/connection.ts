import { freeBuffer } from "../../src/base/free-buffer.ts";
import type { Compressor } from "../../src/net/compression/compressor.ts";
import type { Decompressor } from "../../src/net/compression/decompressor.ts";
import type { Layers } from "./job.ts";
import { makeCompressor, makeDecompressor } from "./layers.ts";
import { OkFrameCounter } from "./replies.ts";
import type { ByteSink } from "./ring-writer.ts";
import { HANDSHAKE, layersHandshake, SUBSCRIBE } from "./wire.ts";

/** What a load does with its connection. */
export interface Load {
  /** The bytes are gone when this returns. */
  receive(data: Buffer): void;
  /** The socket takes bytes again. */
  drain(): void;
}

/** One connection of the generator. Its load is set once the greetings are over; until then it only counts OKs. */
export class LoadConnection implements ByteSink {
  load: Load | undefined;
  private socket!: Bun.Socket<LoadConnection>;
  private compressor: Compressor | undefined;
  private decompressor: Decompressor | undefined;
  private readonly greetings = new OkFrameCounter();
  private greeted = () => {};
  /** Ended from our side: that it closes is no failure. */
  ended = false;

  /** A connection that has said nothing: for HTTP. */
  static async connect(port: number): Promise<LoadConnection> {
    const connection = new LoadConnection();
    connection.socket = await Bun.connect<LoadConnection>({ hostname: "127.0.0.1", port, data: connection, socket: HANDLERS });
    return connection;
  }

  /** A connection that has identified itself to a broker. */
  static async identify(port: number, greeting = HANDSHAKE): Promise<LoadConnection> {
    const connection = await LoadConnection.connect(port);
    await connection.greet(greeting);
    return connection;
  }

  /** The same with layers put on as IDENTIFY agrees. */
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
      // The layer's OK may have come in one go with what was before it.
      connection.receive(frames.takeRest());
      await frames.next();
    }
    connection.load = undefined;
    return connection;
  }

  /** A connection that is subscribed and has not said RDY yet. */
  static async subscribe(port: number, subscribe = SUBSCRIBE, greeting = HANDSHAKE): Promise<LoadConnection> {
    const connection = await LoadConnection.identify(port, greeting);
    await connection.greet(subscribe);
    return connection;
  }

  write(bytes: Buffer, offset: number, length: number): number {
    const { compressor } = this;
    if (compressor === undefined) return this.socket.write(bytes, offset, length);
    // What it bounds for a broker with many clients, one load need not.
    compressor.beginTurn();
    const taken = compressor.write(bytes, offset, length);
    compressor.flush();
    return taken;
  }

  /** Takes bytes that are compressed already. */
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
      this.take(data);
      freeBuffer(data);
      return;
    }
    decompressor.feed(data);
    for (let piece = decompressor.next(); piece !== undefined; piece = decompressor.next()) this.take(piece);
  }

  private take(data: Buffer): void {
    if (this.load !== undefined) return this.load.receive(data);
    if (this.greetings.count(data) > 0) this.greeted();
  }

  /** Sends a command that the server answers by OK, and waits for that. */
  greet(command: Buffer): Promise<void> {
    return new Promise((resolve) => {
      this.greeted = resolve;
      this.write(command, 0, command.length);
    });
  }
}

/** Takes the answers of a greeting one by one: what is behind one may be for the next layer. */
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

  takeRest(): Buffer {
    const { rest } = this;
    this.rest = Buffer.alloc(0);
    return rest;
  }
}

/** A lost connection or a wrong reply makes the whole measurement worthless: say it and end. */
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
