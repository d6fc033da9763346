import { until } from "../../../support/server.ts";

/** Its answer to IDENTIFY, unless the test sets another. */
export const INTRODUCTION = JSON.stringify({ tcp_port: 4160, http_port: 4161, version: "1.3.0", broadcast_address: "lookup.example" });

/** A connection of a broker, with everything that came on it. */
export class FakeConnection {
  magic = "";
  /** IDENTIFY's body. */
  identity: unknown;
  /** Command lines, in order, without IDENTIFY. */
  readonly commands: string[] = [];
  /** Commands that are not answered yet, with IDENTIFY. */
  pending: string[] = [];
  /** The largest number of commands that were sent before their answers. */
  mostPending = 0;
  closed = false;
  private received: Buffer = Buffer.alloc(0);

  constructor(
    private readonly lookup: FakeLookup,
    private readonly socket: Bun.Socket<FakeConnection>,
  ) {}

  receive(data: Buffer): void {
    this.received = Buffer.concat([this.received, data]);
    while (this.step());
    this.mostPending = Math.max(this.mostPending, this.pending.length);
    if (this.lookup.answering) this.answerAll();
  }

  /** Answers the pending commands by the lookup's `answer`. */
  answerAll(): void {
    for (const command of this.pending.splice(0)) this.say(this.lookup.answer(command));
  }

  say(text: string): void {
    this.write(Buffer.concat([sizeWord(Buffer.byteLength(text)), Buffer.from(text)]));
  }

  write(bytes: Uint8Array): void {
    this.socket.write(bytes);
    this.socket.flush();
  }

  hangUp(): void {
    this.socket.end();
  }

  private step(): boolean {
    if (this.magic === "") {
      if (this.received.length < 4) return false;
      this.magic = this.take(4).toString();
      return true;
    }
    const end = this.received.indexOf("\n");
    if (end < 0) return false;
    const line = this.received.toString("latin1", 0, end);
    if (line === "IDENTIFY") {
      if (this.received.length < end + 5) return false;
      const size = this.received.readInt32BE(end + 1);
      if (this.received.length < end + 5 + size) return false;
      this.take(end + 5);
      this.identity = JSON.parse(this.take(size).toString());
    } else {
      this.take(end + 1);
      this.commands.push(line);
    }
    this.pending.push(line);
    return true;
  }

  private take(bytes: number): Buffer {
    const taken = this.received.subarray(0, bytes);
    this.received = this.received.subarray(bytes);
    return taken;
  }
}

/** A lookup server that answers what a test wants, when the test wants it. */
export class FakeLookup implements Disposable {
  readonly connections: FakeConnection[] = [];
  /** If false, commands stay in `pending` until answerAll(). */
  answering = true;
  answer = (command: string): string => (command === "IDENTIFY" ? INTRODUCTION : "OK");
  private readonly listener = Bun.listen<FakeConnection>({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open: (socket) => {
        socket.data = new FakeConnection(this, socket);
        this.connections.push(socket.data);
      },
      data: (socket, data) => socket.data.receive(data),
      close: (socket) => {
        socket.data.closed = true;
      },
    },
  });

  get port(): number {
    return this.listener.port;
  }

  /** The connection of this number, once it is made. */
  async connection(number: number): Promise<FakeConnection> {
    await until(`connection ${number}`, () => this.connections.length > number);
    return this.connections[number];
  }

  [Symbol.dispose](): void {
    this.listener.stop(true);
  }
}

export function sizeWord(size: number): Buffer {
  const word = Buffer.alloc(4);
  word.writeInt32BE(size);
  return word;
}
