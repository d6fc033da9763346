import { FRAME_TYPE_MESSAGE, ID_OFFSET, MESSAGE_ID_BYTES, MESSAGE_OVERHEAD_BYTES } from "../../../src/frame/frame.ts";
import type { FuzzStream } from "../../support/mutation.ts";
import type { Random } from "../../support/random.ts";
import type { Program, Server } from "../../support/server.ts";
import { Unsent } from "../../support/unsent.ts";

export type Kind = "tcp" | "http";

/** A broker that has not closed its side this long after the client closed its own, hangs or leaks. */
const CLOSE_WITHIN_MS = 10_000;
const LINGER_MS = 15;
/** No answer to a fuzz stream is longer: statistics of a few hundred topics, or a burst of messages. */
const MAX_FRAME_BYTES = 6_000_000;

/**
 * One connection that plays one stream and judges what comes back: frames must be frames and HTTP must be HTTP
 * whatever was sent, no answer may be an internal error, and the broker must close what the client has closed.
 */
export class Exchange {
  /** What was wrong with the broker's side. */
  violation: string | undefined;
  private partial: Buffer = Buffer.alloc(0);
  private firstHttpBytes = "";
  private readonly unsent = new Unsent();
  private isClosed = false;
  private wake = () => {};
  private socket!: Bun.Socket<Exchange>;

  private constructor(
    private readonly kind: Kind,
    private readonly stream: FuzzStream,
    private readonly random: Random,
    private readonly program: Program,
  ) {}

  /**
   * Plays the stream to its end.
   *
   * @param random decides how messages are answered
   * @returns what the broker did wrong. Rejects when no connection can be made.
   */
  static async play(kind: Kind, server: Server, stream: FuzzStream, random: Random): Promise<string | undefined> {
    const exchange = new Exchange(kind, stream, random, server.program);
    const port = kind === "tcp" ? server.tcpPort : server.httpPort;
    exchange.socket = await Bun.connect({ hostname: "127.0.0.1", port, data: exchange, socket: HANDLERS });
    await exchange.send();
    await exchange.leave();
    return exchange.violation;
  }

  received(data: Buffer): void {
    if (!this.stream.isReadable || this.violation !== undefined) return;
    if (this.kind === "http") this.readHttp(data);
    else this.readFrames(data);
  }

  drained(): void {
    if (!this.isClosed) this.unsent.pump(this.socket);
    this.wake();
  }

  closed(): void {
    this.isClosed = true;
    this.wake();
  }

  private async send(): Promise<void> {
    for (const chunk of this.stream.chunks) {
      if (this.isClosed) return;
      this.write(chunk);
      // A turn of the event loop apart, chunks usually reach the broker one by one.
      await (this.unsent.empty ? nextTurn() : this.until(() => this.unsent.empty, CLOSE_WITHIN_MS));
    }
  }

  private async leave(): Promise<void> {
    if (this.isClosed) return;
    if (this.stream.ending === "half-close") {
      this.socket.shutdown();
      if (!(await this.until(() => false, CLOSE_WITHIN_MS))) {
        this.violation ??= `the connection is still open ${CLOSE_WITHIN_MS} ms after the client closed its side`;
      }
    } else if (this.stream.ending === "linger") {
      await this.until(() => false, LINGER_MS);
    }
    if (!this.isClosed) this.socket.terminate();
  }

  private write(bytes: Buffer): void {
    if (bytes.length === 0) return;
    const wasEmpty = this.unsent.empty;
    this.unsent.push(bytes);
    if (wasEmpty) this.drained();
  }

  /** @returns whether the condition came to hold, or the connection closed, in time */
  private async until(condition: () => boolean, timeoutMs: number): Promise<boolean> {
    if (this.isClosed || condition()) return true;
    let isLate = false;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => {
        isLate = true;
        resolve();
      }, timeoutMs);
      this.wake = () => {
        if (!this.isClosed && !condition()) return;
        clearTimeout(timer);
        resolve();
      };
    });
    this.wake = () => {};
    return !isLate;
  }

  private readFrames(data: Buffer): void {
    const buffer = this.partial.length === 0 ? data : Buffer.concat([this.partial, data]);
    let at = 0;
    while (buffer.length - at >= 8) {
      const size = buffer.readUInt32BE(at);
      const type = buffer.readUInt32BE(at + 4);
      if (size < 4 || size > MAX_FRAME_BYTES || type > FRAME_TYPE_MESSAGE) {
        this.violation = `a broken frame: size ${size}, type ${type}`;
        return;
      }
      if (at + 4 + size > buffer.length) break;
      if (type === FRAME_TYPE_MESSAGE) this.message(buffer.subarray(at, at + 4 + size));
      at += 4 + size;
    }
    this.partial = buffer.subarray(at);
  }

  private message(frame: Buffer): void {
    const id = frame.toString("latin1", ID_OFFSET, ID_OFFSET + MESSAGE_ID_BYTES);
    // Youzan's ids are numbers above 0.
    const isRaw = this.stream.hasRawIds && frame.readBigInt64BE(ID_OFFSET) > 0n;
    if (frame.length < MESSAGE_OVERHEAD_BYTES || !(isRaw || /^[0-9a-f]{16}$/.test(id))) {
      this.violation = `a broken message frame of ${frame.length} bytes with id ${JSON.stringify(id)}`;
      return;
    }
    if (!this.stream.answersMessages || this.isClosed) return;
    this.write(Buffer.from(this.random.pick(ANSWERS).split("ID").join(id), "latin1"));
  }

  private readHttp(data: Buffer): void {
    if (this.firstHttpBytes.length >= 13) return;
    this.firstHttpBytes += data.toString("latin1", 0, 13);
    if (this.firstHttpBytes.length < 12) return;
    const status = /^HTTP\/1\.[01] ([1-5]\d\d)/.exec(this.firstHttpBytes)?.[1];
    if (status === undefined) this.violation = `not an HTTP answer: ${JSON.stringify(this.firstHttpBytes)}`;
    // nsqd answers so to a body that ends early.
    else if (status === "500" && this.program === "bunsq") this.violation = "an internal error (status 500)";
  }
}

const ANSWERS = [
  "FIN ID\n", "FIN ID\nFIN ID\n", "REQ ID 0\n", "REQ ID 100\n", "REQ ID 3600000\n", "REQ ID -1\n", "TOUCH ID\n",
  "TOUCH ID\nREQ ID 0\nFIN ID\n", "FIN ID", "FIN ID extra\n", "RDY 0\nFIN ID\n", "CLS\nFIN ID\n", "",
]; // biome-ignore format: a list

const HANDLERS: Bun.SocketHandler<Exchange> = {
  data: (socket, data) => socket.data.received(data),
  drain: (socket) => socket.data.drained(),
  close: (socket) => socket.data.closed(),
  // A reset tells as much as a close: the broker let go.
  error: (socket) => socket.data.closed(),
};

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
