/** How long a client that is turned away may take to read why, and how many such clients there may be at a time. */
const FAREWELL_MS = 1000;
const MAX_FAREWELLS = 256;
/** When descriptors are short, fewer clients are given that time. */
const MAX_SCARCE_FAREWELLS = 16;

/** Tells clients why they are turned away, and closes their sockets. */
export class Farewells {
  private underWay = 0;

  /** @param isScarce there is hardly a descriptor left for the client's socket */
  say(socket: Pick<Bun.Socket<unknown>, "write" | "end" | "terminate">, reason: Uint8Array, isScarce: boolean): void {
    socket.write(reason);
    socket.end();
    if (this.underWay >= (isScarce ? MAX_SCARCE_FAREWELLS : MAX_FAREWELLS)) {
      socket.terminate();
      return;
    }
    this.underWay++;
    setTimeout(() => {
      this.underWay--;
      socket.terminate();
    }, FAREWELL_MS);
  }
}
