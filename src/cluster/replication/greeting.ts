import type { Timer } from "../../base/clock.ts";
import type { CloseReason, Connection, ConnectionEvents } from "../net/network.ts";
import { WireError } from "./fields.ts";
import { FrameSplitter } from "./frame-splitter.ts";
import { checkHello, type Peer, type PeerEvents, type PeerParts } from "./peer.ts";
import { decodeFrame, type Hello } from "./wire.ts";

/** A connection has to say who it is within this time, and with no more bytes than a HELLO has. */
const HELLO_LIMIT_MS = 5_000;
const HELLO_LIMIT_BYTES = 1_024;

/** Takes a connection whose first frame, which comes without its length, is no HELLO, if it is for something else. */
export type TakeConnection = (connection: Connection, first: Buffer) => ConnectionEvents | undefined;

/** What a connection needs of those that were accepted. */
export interface Greeted {
  /** @returns undefined: it is not known that there is such a run of such a broker */
  peerOf(hello: Hello): Peer | undefined;
  /** It belongs to a peer, or is closed. */
  onEnded(greeting: Greeting): void;
}

/**
 * A connection that was accepted. Until its HELLO has come nothing is known of it. Etcd has to have what it says of itself, as far as this
 * broker knows, which may be a moment later; from then on its peer has it.
 */
export class Greeting implements ConnectionEvents {
  private readonly splitter = new FrameSplitter(HELLO_LIMIT_BYTES);
  private readonly limit: Timer;
  private owner: ConnectionEvents | undefined;
  private hello: Hello | undefined;

  constructor(
    private readonly connection: Connection,
    private readonly parts: PeerParts,
    private readonly events: Pick<PeerEvents, "onTrouble">,
    private readonly greeted: Greeted,
    private readonly takeOther: TakeConnection,
  ) {
    this.limit = parts.clock.callAfter(HELLO_LIMIT_MS, () => {
      const { hello } = this;
      if (hello !== undefined) events.onTrouble(connection.remote, new WireError(`etcd does not have this run of the broker ${hello.uid}`));
      this.abort();
    });
  }

  /** It has not said who it is. */
  get isSilent(): boolean {
    return this.hello === undefined;
  }

  abort(): void {
    this.end();
    this.connection.abort();
  }

  private end(): void {
    this.parts.clock.cancel(this.limit);
    this.greeted.onEnded(this);
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
    this.end();
    this.owner?.onClosed(reason, why);
  }

  private read(frame: Buffer): void {
    const isFirst = this.owner === undefined && this.hello === undefined;
    const other = isFirst ? this.takeOther(this.connection, frame) : undefined;
    if (other !== undefined) {
      this.end();
      this.owner = other;
      return;
    }
    const first = decodeFrame(frame);
    // The other end waits for our HELLO before it sends more.
    if (first.kind !== "hello" || !isFirst) throw new WireError(`${first.kind} in place of HELLO`);
    checkHello(first, this.parts.hello);
    this.hello = first;
    this.admit();
  }

  /** To be called when more brokers are known. */
  admit(): void {
    const peer = this.hello === undefined || this.owner !== undefined ? undefined : this.greeted.peerOf(this.hello);
    if (peer === undefined) return;
    this.end();
    this.owner = peer.accept(this.connection);
  }
}
