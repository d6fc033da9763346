/** Bytes that the system has not taken yet, in their order. */
export class Unsent {
  bytes = 0;
  private readonly pieces: Uint8Array[] = [];

  get isEmpty(): boolean {
    return this.pieces.length === 0;
  }

  push(piece: Uint8Array): void {
    this.pieces.push(piece);
    this.bytes += piece.length;
  }

  /** Offers the pieces to the system until it takes one only in part. @returns whether nothing is left */
  drainTo(write: (piece: Uint8Array) => number): boolean {
    let sent = 0;
    let isBlocked = false;
    while (!isBlocked && sent < this.pieces.length) {
      const piece = this.pieces[sent] as Uint8Array;
      const taken = Math.max(0, write(piece));
      this.bytes -= taken;
      if (taken < piece.length) {
        this.pieces[sent] = piece.subarray(taken);
        isBlocked = true;
      } else {
        sent++;
      }
    }
    this.pieces.splice(0, sent);
    return this.pieces.length === 0;
  }

  clear(): void {
    this.pieces.length = 0;
    this.bytes = 0;
  }
}
