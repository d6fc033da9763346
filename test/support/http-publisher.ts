/**
 * One kept-alive HTTP connection, one request at a time. A request is sent exactly once: fetch() may send one
 * again when a kept connection breaks, and the ledger could not tell that from a broker's mistake.
 */
export class HttpConnection {
  closed = false;
  private received = "";
  private waiting: { resolve: (status: number) => void; reject: (error: Error) => void } | undefined;
  private unsent: Buffer = Buffer.alloc(0);
  private socket!: Bun.Socket<undefined>;

  static async connect(port: number): Promise<HttpConnection> {
    const connection = new HttpConnection();
    connection.socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        data: (_socket, data) => connection.receive(data),
        drain: () => connection.pump(),
        close: () => connection.ended(),
        error: () => connection.ended(),
      },
    });
    return connection;
  }

  /** @returns the status. Rejects when the connection ends without an answer: the request may have been served or not. */
  post(path: string, body: string): Promise<number> {
    if (this.closed) return Promise.reject(new Error("connection closed"));
    if (this.waiting) throw new Error("one request at a time");
    const answer = new Promise<number>((resolve, reject) => {
      this.waiting = { resolve, reject };
    });
    this.unsent = Buffer.from(`POST ${path} HTTP/1.1\r\nHost: broker\r\nContent-Length: ${body.length}\r\n\r\n${body}`, "latin1");
    this.pump();
    return answer;
  }

  close(): void {
    this.socket.end();
    this.ended();
  }

  private pump(): void {
    const taken = this.unsent.length === 0 ? 0 : Math.max(0, this.socket.write(this.unsent));
    this.unsent = this.unsent.subarray(taken);
  }

  private receive(data: Buffer): void {
    this.received += data.toString("latin1");
    const headEnd = this.received.indexOf("\r\n\r\n");
    if (headEnd < 0) return;
    const head = this.received.slice(0, headEnd);
    const status = /^HTTP\/1\.1 (\d{3}) /.exec(head)?.[1];
    const length = /^content-length: *(\d+)\s*$/im.exec(head)?.[1];
    if (status === undefined || length === undefined) {
      this.waiting?.reject(new Error(`an answer without status or length: ${head}`));
      this.close();
      return;
    }
    const end = headEnd + 4 + Number(length);
    if (this.received.length < end) return;
    this.received = this.received.slice(end);
    const waiting = this.waiting;
    this.waiting = undefined;
    waiting?.resolve(Number(status));
  }

  private ended(): void {
    this.closed = true;
    this.waiting?.reject(new Error("connection closed"));
    this.waiting = undefined;
  }
}
