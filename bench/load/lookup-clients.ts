/** Clients that send /lookup requests over persistent connections. */

const HEAD_END = Buffer.from("\r\n\r\n");
const LAST_CHUNK = Buffer.from("0\r\n\r\n");

/** A connection with one request at a time. It parses an answer only as far as needed to find its end. */
export class LookupClient {
  private socket!: Bun.Socket<undefined>;
  /** The received head of the current answer, and the missing bytes of its body (-1 if it comes in chunks). */
  private head: Buffer | undefined;
  private missing = 0;
  private tail: Buffer = Buffer.alloc(0);
  private answered: (error?: Error) => void = () => {};

  static async connect(port: number): Promise<LookupClient> {
    const client = new LookupClient();
    client.socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        data: (_socket, data) => client.receive(data),
        close: () => client.answered(new Error("the connection was closed")),
      },
    });
    return client;
  }

  /** Sends a request. Resolves when the complete answer has arrived; rejects if its status is not 200. */
  ask(request: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      this.answered = (error) => (error === undefined ? resolve() : reject(error));
      this.head = Buffer.alloc(0);
      this.socket.write(request);
    });
  }

  close(): void {
    this.answered = () => {};
    this.socket.end();
  }

  private receive(data: Buffer): void {
    let body = data;
    if (this.head !== undefined) {
      const head: Buffer = this.head.length === 0 ? data : Buffer.concat([this.head, data]);
      const end = head.indexOf(HEAD_END);
      if (end < 0) {
        this.head = head;
        return;
      }
      const text = head.toString("latin1", 0, end);
      if (!text.startsWith("HTTP/1.1 200 ")) return this.answered(new Error(text.slice(0, 100)));
      const length = /^content-length: (\d+)$/im.exec(text)?.[1];
      this.head = undefined;
      this.missing = length === undefined ? -1 : Number(length);
      this.tail = Buffer.alloc(0);
      body = head.subarray(end + HEAD_END.length);
    }
    if (this.missing >= 0) {
      this.missing -= body.length;
      if (this.missing === 0) this.answered();
      return;
    }
    // JSON does not end like the last chunk, so the end of a packet shows whether it is the last.
    this.tail =
      body.length >= LAST_CHUNK.length ? body.subarray(-LAST_CHUNK.length) : Buffer.concat([this.tail, body]).subarray(-LAST_CHUNK.length);
    if (this.tail.equals(LAST_CHUNK)) this.answered();
  }
}

export function lookupRequest(topic: string): Buffer {
  return Buffer.from(`GET /lookup?topic=${topic} HTTP/1.1\r\nHost: lookup\r\nAccept: application/vnd.nsq; version=1.0\r\n\r\n`);
}
