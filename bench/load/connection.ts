import type { Packer } from "../../src/broker/transport/packer.ts";
import type { Unpacker } from "../../src/broker/transport/unpacker.ts";
import type { Layers } from "./job.ts";
import { makePacker, makeUnpacker } from "./layers.ts";
import { OkFrameCounter } from "./replies.ts";
import type { ByteSink } from "./ring-writer.ts";
import { HANDSHAKE, layersHandshake, SUBSCRIBE } from "./wire.ts";

/** What a load does with its connection. */
export interface Load {
  receive(data: Buffer): void;
  /** The socket takes bytes again. */
  drain(): void;
}

/** One connection of the generator. Its load is set once the greetings are over; until then it only counts OKs. */
export class LoadConnection implements ByteSink {
  load: Load | undefined;
  private socket!: Bun.Socket<LoadConnection>;
  private packer: Packer | undefined;
  private unpacker: Unpacker | undefined;
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
    const answered = connection.nextData();
    const greeting = layersHandshake(layers);
    connection.write(greeting, 0, greeting.length);
    const answer = await answered;
    if (layers.tls) await connection.startTls();
    if (layers.compression !== undefined) {
      connection.packer = makePacker(layers.compression, connection.socketSink);
      connection.unpacker = makeUnpacker(layers.compression);
      // The layer's OK may have come in one go with the answer.
      const early = answer.subarray(4 + answer.readUInt32BE(0));
      if (early.length > 0) connection.receive(early);
      else await connection.nextOk();
    }
    return connection;
  }

  /** A connection that is subscribed and has not said RDY yet. */
  static async subscribe(port: number, subscribe = SUBSCRIBE, greeting = HANDSHAKE): Promise<LoadConnection> {
    const connection = await LoadConnection.identify(port, greeting);
    await connection.greet(subscribe);
    return connection;
  }

  write(bytes: Buffer, offset: number, length: number): number {
    const { packer } = this;
    if (packer === undefined) return this.socket.write(bytes, offset, length);
    const taken = packer.write(bytes, offset, length);
    packer.flush();
    return taken;
  }

  /** Takes bytes that are compressed already. */
  readonly socketSink: ByteSink = {
    write: (bytes, offset, length) => this.socket.write(bytes, offset, length),
  };

  drain(): void {
    if (this.packer !== undefined && !this.packer.drain()) return;
    this.packer?.flush();
    this.load?.drain();
  }

  private async startTls(): Promise<void> {
    const ok = this.nextOk();
    const [plain, secure] = this.socket.upgradeTLS<LoadConnection>({ data: this, tls: { rejectUnauthorized: false }, socket: HANDLERS });
    plain.reload({ socket: { data: () => {} } });
    this.socket = secure;
    await ok;
  }

  private nextOk(): Promise<void> {
    return new Promise((resolve) => {
      this.greeted = resolve;
    });
  }

  private nextData(): Promise<Buffer> {
    return new Promise((resolve) => {
      this.load = {
        receive: (data) => {
          this.load = undefined;
          resolve(data);
        },
        drain: () => {},
      };
    });
  }

  end(): void {
    this.ended = true;
    this.socket.end();
  }

  receive(data: Buffer): void {
    const { unpacker } = this;
    if (unpacker === undefined) return this.take(data);
    unpacker.feed(data);
    for (let piece = unpacker.next(); piece !== undefined; piece = unpacker.next()) this.take(piece);
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
