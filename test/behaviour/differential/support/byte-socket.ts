import { connect, type Socket } from "node:net";

/**
 * A TCP connection that shows bytes and nothing else: it can close one direction only, send one byte per
 * packet, and keeps everything that came. What RawClient's frames hide is tested through this.
 */
export class ByteSocket {
  private chunks: Buffer[] = [];
  private wakeups: (() => void)[] = [];
  /** The server has closed its direction, or the connection is gone. */
  ended = false;
  /** The connection broke with an error (a reset) instead of an orderly end. */
  broken = false;

  private constructor(private readonly socket: Socket) {
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => {
      this.chunks.push(chunk);
      this.wake();
    });
    socket.on("end", () => this.finish());
    socket.on("close", () => this.finish());
    socket.on("error", () => {
      this.broken = true;
      this.finish();
    });
  }

  static connect(port: number): Promise<ByteSocket> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host: "127.0.0.1", port, allowHalfOpen: true });
      socket.once("error", reject);
      socket.once("connect", () => {
        socket.off("error", reject);
        resolve(new ByteSocket(socket));
      });
    });
  }

  /** Our end of the connection, as the server sees it: `ip:port`. */
  get localAddress(): string {
    return `${this.socket.localAddress}:${this.socket.localPort}`;
  }

  write(bytes: string | Uint8Array): void {
    if (!this.broken && !this.socket.destroyed) this.socket.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
  }

  /** Sends `bytes` in packets of `packetBytes`, each handed to the kernel before the next is written. */
  async writeInPackets(bytes: string | Uint8Array, packetBytes: number): Promise<void> {
    const all = typeof bytes === "string" ? Buffer.from(bytes, "latin1") : Buffer.from(bytes);
    for (let at = 0; at < all.length && !this.broken; at += packetBytes) {
      await new Promise<void>((resolve) => this.socket.write(all.subarray(at, at + packetBytes), () => resolve()));
    }
  }

  /** Closes our direction; the server may go on answering. */
  halfClose(): void {
    this.socket.end();
  }

  destroy(): void {
    this.socket.destroy();
    this.finish();
  }

  received(): Buffer {
    const all = Buffer.concat(this.chunks);
    this.chunks = all.length === 0 ? [] : [all];
    return all;
  }

  /** Waits until `enough` is true of the bytes so far, the end, or `timeoutMs`; returns the bytes. */
  async until(enough: (bytes: Buffer) => boolean, timeoutMs = 20_000): Promise<Buffer> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const bytes = this.received();
      const leftMs = deadline - Date.now();
      if (this.ended || leftMs <= 0 || enough(bytes)) return bytes;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.wakeups.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  /** Everything the server sends until it closes. */
  untilEnd(timeoutMs = 20_000): Promise<Buffer> {
    return this.until(() => false, timeoutMs);
  }

  private finish(): void {
    this.ended = true;
    this.wake();
  }

  private wake(): void {
    const waiting = this.wakeups;
    this.wakeups = [];
    for (const resolve of waiting) resolve();
  }
}
