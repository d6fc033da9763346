import { OkFrameCounter } from "./replies.ts";
import type { ByteSink } from "./ring-writer.ts";
import { HANDSHAKE, SUBSCRIBE } from "./wire.ts";

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

  /** A connection that is subscribed and has not said RDY yet. */
  static async subscribe(port: number, subscribe = SUBSCRIBE, greeting = HANDSHAKE): Promise<LoadConnection> {
    const connection = await LoadConnection.identify(port, greeting);
    await connection.greet(subscribe);
    return connection;
  }

  write(bytes: Buffer, offset: number, length: number): number {
    return this.socket.write(bytes, offset, length);
  }

  end(): void {
    this.ended = true;
    this.socket.end();
  }

  receive(data: Buffer): void {
    if (this.load !== undefined) return this.load.receive(data);
    if (this.greetings.count(data) > 0) this.greeted();
  }

  /** Sends a command that the server answers by OK, and waits for that. */
  private greet(command: Buffer): Promise<void> {
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
  drain: (socket) => socket.data.load?.drain(),
  error: (_socket, error) => fail(error),
  close: (socket) => {
    if (!socket.data.ended) fail("the server closed a connection");
  },
};
