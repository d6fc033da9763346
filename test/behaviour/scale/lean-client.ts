import {
  ATTEMPTS_OFFSET,
  BODY_OFFSET,
  FRAME_HEADER_BYTES,
  FRAME_TYPE_ERROR,
  FRAME_TYPE_MESSAGE,
  FRAME_TYPE_RESPONSE,
  ID_OFFSET,
  MAGIC_V2,
  MESSAGE_ID_BYTES,
} from "../../../src/frame/frame.ts";
import { Unsent } from "../../support/unsent.ts";

const FIN = Buffer.from("FIN ");
const FIN_BYTES = FIN.length + MESSAGE_ID_BYTES + 1;
const LINE_FEED = 10;

/** What a LeanClient's owner is told. Offsets are into `buffer`, valid only during the call. */
export interface LeanEvents {
  /** A message; return true to finish it. */
  message(buffer: Buffer, bodyStart: number, bodyEnd: number, attempts: number): boolean;
  /** A response frame that is no heartbeat. */
  response(text: string): void;
}

/**
 * A connection for millions of messages: frames are walked where they arrived, FINs of one chunk leave in one
 * write, and no object is made per message, so that the test measures the broker and not itself.
 */
export class LeanClient {
  /** The first thing that went wrong: an error frame, or a connection that ended unasked. */
  failure: Error | undefined;
  private partial: Buffer | undefined;
  private readonly unsent = new Unsent();
  private finishing = Buffer.allocUnsafe(1 << 16);
  private finishingBytes = 0;
  private closing = false;
  private socket!: Bun.Socket<undefined>;

  private constructor(private readonly events: LeanEvents) {}

  static async connect(port: number, events: LeanEvents): Promise<LeanClient> {
    const client = new LeanClient(events);
    client.socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        data: (_socket, data) => client.receive(data),
        drain: () => client.unsent.pump(client.socket),
        close: () => client.ended(),
        error: (_socket, error) => client.fail(error),
      },
    });
    client.write(Buffer.from(MAGIC_V2));
    return client;
  }

  /**
   * Sends `bytes`, or keeps a reference to what the socket did not take.
   *
   * @returns true once everything given so far is with the kernel: only then may the caller change `bytes`
   */
  write(bytes: Buffer): boolean {
    this.unsent.push(bytes);
    this.unsent.pump(this.socket);
    return this.unsent.empty;
  }

  get idle(): boolean {
    return this.unsent.empty;
  }

  close(): void {
    this.closing = true;
    this.socket.end();
  }

  private receive(data: Buffer): void {
    const buffer = this.partial === undefined ? data : Buffer.concat([this.partial, data]);
    this.partial = undefined;
    let at = 0;
    while (buffer.length - at >= FRAME_HEADER_BYTES) {
      const end = at + 4 + buffer.readUInt32BE(at);
      if (end > buffer.length) break;
      this.frame(buffer, at, end);
      at = end;
    }
    if (at < buffer.length) this.partial = buffer.subarray(at);
    if (this.finishingBytes > 0) {
      this.write(Buffer.from(this.finishing.subarray(0, this.finishingBytes)));
      this.finishingBytes = 0;
    }
  }

  private frame(buffer: Buffer, start: number, end: number): void {
    const type = buffer.readUInt32BE(start + 4);
    if (type === FRAME_TYPE_MESSAGE) {
      const attempts = buffer.readUInt16BE(start + ATTEMPTS_OFFSET);
      if (this.events.message(buffer, start + BODY_OFFSET, end, attempts)) this.finish(buffer, start + ID_OFFSET);
      return;
    }
    const text = buffer.toString("latin1", start + FRAME_HEADER_BYTES, end);
    if (type === FRAME_TYPE_ERROR) this.fail(new Error(`the broker said ${text}`));
    else if (type !== FRAME_TYPE_RESPONSE) this.fail(new Error(`unknown frame type ${type}`));
    else if (text === "_heartbeat_") this.write(Buffer.from("NOP\n"));
    else this.events.response(text);
  }

  private finish(buffer: Buffer, idStart: number): void {
    if (this.finishingBytes + FIN_BYTES > this.finishing.length) {
      const larger = Buffer.allocUnsafe(this.finishing.length * 2);
      this.finishing.copy(larger, 0, 0, this.finishingBytes);
      this.finishing = larger;
    }
    const out = this.finishing;
    const at = this.finishingBytes;
    FIN.copy(out, at);
    buffer.copy(out, at + FIN.length, idStart, idStart + MESSAGE_ID_BYTES);
    out[at + FIN_BYTES - 1] = LINE_FEED;
    this.finishingBytes = at + FIN_BYTES;
  }

  private ended(): void {
    if (!this.closing) this.fail(new Error("the broker closed the connection"));
  }

  private fail(error: Error): void {
    this.failure ??= error;
  }
}
