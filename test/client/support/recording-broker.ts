import { BODY_OFFSET, encodeFrame, FRAME_TYPE_ERROR, FRAME_TYPE_MESSAGE, FRAME_TYPE_RESPONSE } from "../../../src/frame/frame.ts";

const LINE_FEED = 0x0a;

/** What a recorded connection is like. */
interface Peer {
  rest: Buffer;
  ready: number;
  inFlight: number;
}

export interface RecordingOptions {
  /** Fields of the answer to IDENTIFY. */
  features?: Record<string, unknown>;
  /** How long a message takes after a RDY that asks for it, ms. */
  readyDelayMs?: number;
  /** The error with which SUB is refused. */
  refusal?: string;
  /** Answers a publish: by default OK at once. @param reply sends a response frame */
  onPublish?: (line: string, body: Buffer, reply: (text: string) => void, socket: Bun.Socket<Peer>) => void;
}

/** Plays a broker with a script of messages, obeys RDY, and records the commands that it gets. */
export class RecordingBroker implements Disposable {
  /** Commands in their order: `RDY 5`, `FIN`, `REQ`, `NOP` … without ids. */
  readonly commands: string[] = [];
  /** The bodies of publishes, one character per byte. */
  readonly bodies: string[] = [];
  private readonly script: string[];
  private delivered = 0;
  private readonly server: Bun.TCPSocketListener<Peer>;
  private readonly peers = new Set<Bun.Socket<Peer>>();

  /** @param script bodies of the messages, in the order of their delivery */
  constructor(
    script: readonly string[] = [],
    private readonly options: RecordingOptions = {},
  ) {
    this.script = [...script];
    this.server = Bun.listen<Peer>({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        open: (socket) => {
          socket.data = { rest: Buffer.alloc(0), ready: 0, inFlight: 0 };
          this.peers.add(socket);
        },
        data: (socket, bytes) => this.read(socket, bytes),
        close: (socket) => void this.peers.delete(socket),
        error: () => {},
      },
    });
  }

  get address(): string {
    return `127.0.0.1:${this.server.port}`;
  }

  get connections(): number {
    return this.peers.size;
  }

  /** Whether all messages of the script were delivered and answered. */
  get isDone(): boolean {
    return this.delivered === this.script.length && [...this.peers].every(({ data }) => data.inFlight === 0);
  }

  /** Sends bytes to every connection. */
  send(type: number, text: string): void {
    for (const socket of this.peers) socket.write(encodeFrame(type, text));
  }

  /** Cuts all connections. */
  cut(): void {
    for (const socket of this.peers) socket.terminate();
  }

  [Symbol.dispose](): void {
    this.server.stop(true);
  }

  private read(socket: Bun.Socket<Peer>, bytes: Buffer): void {
    const { data } = socket;
    data.rest = Buffer.concat([data.rest, bytes]);
    for (let used = this.command(socket, data.rest); used > 0; used = this.command(socket, data.rest)) data.rest = data.rest.subarray(used);
  }

  /** @returns how many bytes of the input the command had; 0 if it is not whole */
  private command(socket: Bun.Socket<Peer>, input: Buffer): number {
    if (input.length >= 4 && input.toString("latin1", 0, 4) === "  V2") return 4;
    const end = input.indexOf(LINE_FEED);
    if (end < 0) return 0;
    const line = input.toString("latin1", 0, end);
    const [name = "", argument = ""] = line.split(" ");
    const hasBody = ["IDENTIFY", "AUTH", "PUB", "MPUB", "DPUB", "PUB_EXT", "MPUB_EXT", "DPUB_EXT"].includes(name);
    if (!hasBody) {
      this.commands.push(name === "RDY" ? line : name);
      this.act(socket, name, argument);
      return end + 1;
    }
    if (input.length < end + 5) return 0;
    const size = input.readUInt32BE(end + 1);
    if (input.length < end + 5 + size) return 0;
    const body = input.subarray(end + 5, end + 5 + size);
    const reply = (text: string) => void socket.write(encodeFrame(FRAME_TYPE_RESPONSE, text));
    if (name === "IDENTIFY") reply(JSON.stringify({ max_rdy_count: 2500, msg_timeout: 60_000, ...this.options.features }));
    else if (name === "AUTH") reply("{}");
    else {
      this.commands.push(line);
      this.bodies.push(body.toString("latin1"));
      if (this.options.onPublish === undefined) reply("OK");
      else this.options.onPublish(line, Buffer.from(body), reply, socket);
    }
    return end + 5 + size;
  }

  private act(socket: Bun.Socket<Peer>, name: string, argument: string): void {
    const { data } = socket;
    const { refusal } = this.options;
    if (name === "SUB" && refusal !== undefined) {
      socket.write(encodeFrame(FRAME_TYPE_ERROR, refusal));
      socket.end();
    } else if (name === "SUB") {
      socket.write(encodeFrame(FRAME_TYPE_RESPONSE, "OK"));
    }
    if (name === "CLS") socket.write(encodeFrame(FRAME_TYPE_RESPONSE, "CLOSE_WAIT"));
    if (name === "RDY") {
      data.ready = Number(argument);
      const { readyDelayMs } = this.options;
      if (readyDelayMs !== undefined) return void setTimeout(() => this.deliver(socket), readyDelayMs);
    }
    if (name === "FIN" || name === "REQ") data.inFlight--;
    this.deliver(socket);
  }

  private deliver(socket: Bun.Socket<Peer>): void {
    const { data } = socket;
    while (data.inFlight < data.ready && this.delivered < this.script.length) {
      const body = this.script[this.delivered++] as string;
      data.inFlight++;
      const frame = Buffer.alloc(BODY_OFFSET + body.length);
      frame.writeUInt32BE(frame.length - 4, 0);
      frame.writeUInt32BE(FRAME_TYPE_MESSAGE, 4);
      frame.writeUInt16BE(1, 16);
      frame.write(this.delivered.toString(16).padStart(16, "0"), 18, "latin1");
      frame.write(body, BODY_OFFSET, "latin1");
      socket.write(frame);
    }
  }
}
