/** A socket as this needs it: takes what it can of bytes [offset, offset + length) and says how many; below 0: closed. */
export interface ByteSink {
  write(bytes: Buffer, offset: number, length: number): number;
}

/**
 * Sends bytes that repeat: commands, replies or messages laid out end to end in one ready-made ring.
 * What the socket does not take stays owed until the next flush, so a partial write costs nothing but a later call.
 */
export class RingWriter {
  /** Bytes to send that the socket has not taken. */
  owedBytes = 0;
  private at = 0;

  constructor(readonly ring: Buffer) {}

  /** Sends what is owed, as much as the socket takes. Call again when it drains. */
  flush(socket: ByteSink): void {
    while (this.owedBytes > 0) {
      const offered = Math.min(this.owedBytes, this.ring.length - this.at);
      const taken = Math.max(0, socket.write(this.ring, this.at, offered));
      this.owedBytes -= taken;
      this.at = (this.at + taken) % this.ring.length;
      if (taken < offered) return;
    }
  }
}
