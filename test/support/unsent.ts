/** Bytes on their way to a Bun socket, which takes what it can and keeps nothing of the rest. */
export class Unsent {
  private readonly pieces: Buffer[] = [];

  get empty(): boolean {
    return this.pieces.length === 0;
  }

  push(bytes: Buffer): void {
    this.pieces.push(bytes);
  }

  /** Sends as much as the socket takes; what is left goes when it has drained. */
  pump(socket: Pick<Bun.Socket<unknown>, "write">): void {
    for (let head = this.pieces[0]; head !== undefined; head = this.pieces[0]) {
      const taken = Math.max(0, socket.write(head));
      if (taken < head.length) {
        this.pieces[0] = head.subarray(taken);
        return;
      }
      this.pieces.shift();
    }
  }
}
