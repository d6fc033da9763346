import type { ExpressLane } from "./fast-path.ts";

/** How long a client may take to read what is left for it when the server has ended the connection. */
const LAST_WORDS_MS = 30_000;

/** What a hand-over needs of the client's socket. */
type ClientSocket = Pick<Bun.Socket<unknown>, "write" | "end" | "terminate" | "pause" | "resume" | "remoteAddress" | "remotePort">;

const ALL_OUT = 0;
const STUCK = 1;
/** The other side is gone. Where it is not read nothing else tells of that. */
const BROKEN = 2;

/** Bytes that one side has sent and the other has not taken. */
class Backlog {
  private readonly pieces: Buffer[] = [];

  get empty(): boolean {
    return this.pieces.length === 0;
  }

  add(data: Buffer): void {
    this.pieces.push(data);
  }

  writeTo(socket: Pick<Bun.Socket<unknown>, "write">): typeof ALL_OUT | typeof STUCK | typeof BROKEN {
    while (this.pieces.length > 0) {
      const [piece] = this.pieces;
      const sent = socket.write(piece);
      if (sent < 0) {
        this.pieces.length = 0;
        return BROKEN;
      }
      if (sent < piece.length) {
        this.pieces[0] = piece.subarray(sent);
        return STUCK;
      }
      this.pieces.shift();
    }
    return ALL_OUT;
  }
}

/**
 * A client's connection that left the express lane: its bytes go to Bun.serve() and back as they are. Neither side is
 * read while the other does not take what came.
 */
export class HandOver {
  private server: Bun.Socket<HandOver> | undefined;
  private readonly toServer = new Backlog();
  private readonly toClient = new Backlog();
  private inputEnded: boolean;
  private closed = false;
  private localPort = 0;
  private endedMs = 0;

  /** @param first what came of the request that is handed over, and behind it; the client is paused */
  constructor(
    private readonly lane: ExpressLane,
    private readonly client: ClientSocket,
    first: Buffer[],
    inputEnded: boolean,
  ) {
    for (const piece of first) this.toServer.add(piece);
    this.inputEnded = inputEnded;
    lane.connect(this);
  }

  // ---- the client's side

  fromClient(data: Buffer): void {
    this.toServer.add(data);
    this.serverDrained();
    if (!this.toServer.empty) this.client.pause();
  }

  clientDrained(): void {
    if (!this.writeToClient()) return;
    if (this.endedMs !== 0) this.client.end();
    else this.server?.resume();
  }

  /** The client has ended its side: Bun.serve() hears of it, and does what it always does then. */
  clientEnded(): void {
    this.inputEnded = true;
    this.serverDrained();
  }

  clientClosed(): void {
    this.closed = true;
    this.server?.end();
  }

  /** Looks at the clock: when the client may stay silent is for Bun.serve() to say, but it may be gone itself. */
  checkTime(nowMs: number): void {
    if (this.endedMs !== 0 && nowMs - this.endedMs >= LAST_WORDS_MS) this.client.terminate();
  }

  // ---- the server's side

  connected(server: Bun.Socket<HandOver>): void {
    if (this.closed) {
      server.end();
      return;
    }
    this.server = server;
    // What came in pieces must not wait for each other's acknowledgement.
    server.setNoDelay(true);
    this.localPort = server.localPort;
    this.lane.clients.set(this.localPort, this.client);
    this.serverDrained();
  }

  serverDrained(): void {
    const { server } = this;
    // A server that hung up takes nothing more; but it may have said why, so what it sent is read to its end.
    if (server === undefined || this.toServer.writeTo(server) === STUCK) return;
    if (this.inputEnded) server.shutdown();
    else this.client.resume();
  }

  fromServer(data: Buffer): void {
    this.toClient.add(data);
    if (!this.writeToClient()) this.server?.pause();
  }

  /** @returns whether all is out */
  private writeToClient(): boolean {
    const outcome = this.toClient.writeTo(this.client);
    if (outcome === BROKEN) this.client.terminate();
    return outcome === ALL_OUT;
  }

  /** The server has ended the connection, or was never reached. */
  serverClosed(): void {
    if (this.server !== undefined) this.lane.clients.delete(this.localPort);
    this.server = undefined;
    if (this.closed || this.endedMs !== 0) return;
    this.endedMs = this.lane.services.turn.steadyMs;
    if (this.toClient.empty) this.client.end();
  }
}
