import type { Timer } from "../../base/clock.ts";
import type { CloseReason, Connection, ConnectionEvents } from "../net/network.ts";
import { WireError } from "./fields.ts";
import { FrameSplitter } from "./frame-splitter.ts";
import { checkHello, type Peer, type PeerEvents, type PeerParts } from "./peer.ts";
import { decodeFrame } from "./wire.ts";

/** A connection has to say who it is within this time, and with no more bytes than a HELLO has. */
const HELLO_LIMIT_MS = 5_000;
const HELLO_LIMIT_BYTES = 1_024;

/** Takes a connection whose first frame, which comes without its length, is no HELLO, if it is for something else. */
export type TakeConnection = (connection: Connection, first: Buffer) => ConnectionEvents | undefined;

/** A connection that was accepted. Until its HELLO has come nothing is known of it; from then on its peer has it. */
export class Greeting implements ConnectionEvents {
  private readonly splitter = new FrameSplitter(HELLO_LIMIT_BYTES);
  private readonly limit: Timer;
  private owner: ConnectionEvents | undefined;

  constructor(
    private readonly connection: Connection,
    private readonly parts: PeerParts,
    private readonly events: Pick<PeerEvents, "onTrouble">,
    private readonly peerOf: (uid: string) => Peer,
    private readonly takeOther: TakeConnection,
  ) {
    this.limit = parts.clock.callAfter(HELLO_LIMIT_MS, () => connection.abort());
  }

  onOpen(): void {}

  onDrain(): void {
    this.owner?.onDrain();
  }

  onData(bytes: Buffer): void {
    if (this.owner !== undefined) return this.owner.onData(bytes);
    try {
      this.splitter.push(bytes, (frame) => this.read(frame));
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.events.onTrouble(this.connection.remote, error);
      this.connection.abort();
      this.onClosed("failed", error.message);
    }
  }

  onClosed(reason: CloseReason, why: string): void {
    this.parts.clock.cancel(this.limit);
    this.owner?.onClosed(reason, why);
  }

  private read(frame: Buffer): void {
    const other = this.owner === undefined ? this.takeOther(this.connection, frame) : undefined;
    if (other !== undefined) {
      this.parts.clock.cancel(this.limit);
      this.owner = other;
      return;
    }
    const first = decodeFrame(frame);
    // The other end waits for our HELLO before it sends more.
    if (first.kind !== "hello" || this.owner !== undefined) throw new WireError(`${first.kind} in place of HELLO`);
    checkHello(first, this.parts.hello);
    this.parts.clock.cancel(this.limit);
    this.owner = this.peerOf(first.uid).accept(this.connection);
  }
}
