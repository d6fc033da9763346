/** Accepts as many of the bytes [offset, offset + length) as it can, and returns how many; below 0 if it is closed. */
export interface ByteSink {
  write(bytes: Buffer, offset: number, length: number): number;
}

/**
 * Sends repeating bytes: commands, replies or messages in one ready-made ring. Bytes that the socket does not accept stay owed
 * until the next flush, so a partial write only costs another call.
 */
export class RingWriter {
  /** Bytes to send that the socket has not accepted. */
  owedBytes = 0;
  private at = 0;

  constructor(readonly ring: Buffer) {}

  /** Sends as many owed bytes as the socket accepts. To be called again when it drains. */
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
