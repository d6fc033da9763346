import type { CloseReason, Connection, ConnectionEvents, Network, NetworkListener } from "../../../src/cluster/net/network.ts";
import type { Random } from "../../support/random.ts";
import type { SimNode } from "./sim-node.ts";
import type { SimTime } from "./sim-time.ts";

/** What may go wrong on the way, beside cuts. */
export interface NetworkFaults {
  /** How long bytes are under way, at most, ms. */
  delayMs: number;
  /** The probability that a piece is `slowMs` later, and what comes behind it on its connection. */
  slow: number;
  slowMs: number;
  /** The probability that a piece breaks its connection. */
  reset: number;
  /** How many bytes may be under way in one direction. */
  windowBytes: number;
}

export const NO_NETWORK_FAULTS: NetworkFaults = { delayMs: 1, slow: 0, slowMs: 0, reset: 0, windowBytes: 256 << 10 };

/**
 * The network between all nodes. Connections are independent of each other, so what is sent on two of them may come in any order; on one
 * it comes in order or not at all.
 *
 * A cut holds back what goes one way, as TCP would send it again and again: it comes when the cut is healed. Whether a node is reached
 * goes by its name, so a process that is started again on the same machine has the same cuts.
 */
export class SimNetwork {
  faults: NetworkFaults = NO_NETWORK_FAULTS;
  private readonly cuts = new Set<string>();
  private readonly listeners = new Map<string, { node: SimNode; accept: (connection: Connection) => ConnectionEvents }>();
  private readonly ends = new Set<SimEnd>();
  /** What waits for a cut to be healed. */
  private held: { from: string; to: string; deliver: () => void }[] = [];
  /** Machines without power: nothing there refuses a connection. */
  private readonly dark = new Set<string>();

  constructor(
    readonly time: SimTime,
    readonly random: Random,
  ) {}

  /** The network as one process sees it. It listens and is connected to by the name of its node. */
  of(node: SimNode): Network {
    return {
      listen: (address, onConnection) => this.listen(node, address, onConnection),
      connect: (address, events) => this.connect(node, address, events),
    };
  }

  /** Nothing gets from one node to another. The other direction works. */
  cut(from: string, to: string): void {
    this.cuts.add(`${from}>${to}`);
  }

  heal(from: string, to: string): void {
    this.cuts.delete(`${from}>${to}`);
    this.releaseHeld();
  }

  healAll(): void {
    this.cuts.clear();
    this.releaseHeld();
  }

  /**
   * The process is gone, and its kernel says so to all whom it was connected with.
   *
   * @param isDark the machine is gone with it, and nobody is told
   */
  end(node: SimNode, isDark = false): void {
    node.end();
    if (isDark) this.dark.add(node.name);
    for (const [address, { node: listening }] of this.listeners) if (listening === node) this.listeners.delete(address);
    for (const end of [...this.ends]) if (end.node === node) end.processEnded(isDark);
  }

  /** The machine has power again: it resets connections that it knows nothing of. */
  lightUp(name: string): void {
    this.dark.delete(name);
    this.releaseHeld();
  }

  /** Sends something from one machine to another: it comes after `delayMs`, or later if the way is cut then. */
  send(from: string, to: string, delayMs: number, deliver: () => void): void {
    this.time.after(delayMs, () => {
      if (this.cuts.has(`${from}>${to}`) || this.dark.has(to)) this.held.push({ from, to, deliver });
      else deliver();
    });
  }

  delay(): number {
    const { random, faults } = this;
    return random.next() * faults.delayMs + (random.chance(faults.slow) ? random.next() * faults.slowMs : 0);
  }

  opened(end: SimEnd): void {
    this.ends.add(end);
  }

  closed(end: SimEnd): void {
    this.ends.delete(end);
  }

  private listen(node: SimNode, address: string, accept: (connection: Connection) => ConnectionEvents): NetworkListener {
    if (this.listeners.has(address)) throw new Error(`cannot listen on ${address}: another process does`);
    const listener = { node, accept };
    this.listeners.set(address, listener);
    return {
      address,
      close: () => {
        if (this.listeners.get(address) === listener) this.listeners.delete(address);
      },
    };
  }

  /** The address of a node is its name, with anything behind a colon. */
  private connect(node: SimNode, address: string, events: ConnectionEvents): Connection {
    const machine = address.split(":")[0] as string;
    const near = new SimEnd(this, node, address, events, machine);
    this.opened(near);
    this.send(node.name, machine, this.delay(), () => {
      const listener = this.listeners.get(address);
      const answer = (deliver: () => void) => this.send(machine, node.name, this.delay(), () => node.run(deliver));
      if (listener === undefined || !listener.node.isAlive) return answer(() => near.fail("refused", "connection refused"));
      // The kernel accepts it, also for a process that stands still.
      const far = new SimEnd(this, listener.node, node.name, undefined, node.name);
      near.join(far);
      this.opened(far);
      listener.node.run(() => far.accepted(listener.accept));
      answer(() => near.established());
    });
    return near;
  }

  private releaseHeld(): void {
    const { held } = this;
    this.held = [];
    for (const { from, to, deliver } of held) this.send(from, to, this.delay(), deliver);
  }
}

/** What comes instead of bytes when the other end is closed. */
interface Ending {
  readonly reason: CloseReason;
  readonly why: string;
}

const CLOSED: Ending = { reason: "closed", why: "closed" };

/** One end of a connection. */
class SimEnd implements Connection {
  private other: SimEnd | undefined;
  private isOpen = false;
  /** Its owner knows that it was opened: nothing is told before. */
  private wasOpened = false;
  private isClosed = false;
  private isPaused = false;
  private wantsDrain = false;
  /** Bytes that were accepted here and not taken by the other end's owner. */
  private underWay = 0;
  /** When the piece before comes at the earliest. */
  private lastMs = 0;
  /** What came, in order, and was not told: it is paused, or not accepted yet. */
  private readonly inbox: (Buffer | Ending)[] = [];
  private isTelling = false;

  constructor(
    private readonly network: SimNetwork,
    readonly node: SimNode,
    readonly remote: string,
    private events: ConnectionEvents | undefined,
    private readonly machine: string,
  ) {}

  write(bytes: Uint8Array, offset: number, length: number): number {
    if (!this.isOpen || this.isClosed) return 0;
    const { faults, random } = this.network;
    const accepted = Math.min(length, Math.max(0, faults.windowBytes - this.underWay));
    if (accepted < length) this.wantsDrain = true;
    const copy = Buffer.from(bytes.subarray(offset, offset + accepted));
    // What is written at once may come in two pieces.
    const middle = accepted > 1 && random.chance(0.2) ? random.int(1, accepted - 1) : accepted;
    for (const piece of [copy.subarray(0, middle), copy.subarray(middle)]) if (piece.length > 0) this.sendPiece(Buffer.from(piece));
    if (accepted > 0 && random.chance(faults.reset)) this.breakUp();
    return accepted;
  }

  pause(): void {
    this.isPaused = true;
  }

  resume(): void {
    this.isPaused = false;
    this.wakeInbox();
  }

  close(): void {
    if (this.isClosed) return;
    if (!this.isOpen) return this.abort();
    this.isOpen = false;
    this.inOrder((other) => other.arrive(CLOSED));
    this.network.time.after(0, () => this.node.run(() => this.fail("closed", "closed")));
  }

  abort(): void {
    if (this.isClosed) return;
    this.tellReset();
    this.isClosed = true;
    this.isOpen = false;
    this.network.time.after(0, () => this.node.run(() => this.ended("aborted", "aborted")));
  }

  // ---- what the network does with it

  join(other: SimEnd): void {
    this.other = other;
    other.other = this;
  }

  accepted(accept: (connection: Connection) => ConnectionEvents): void {
    if (this.isClosed) return;
    this.isOpen = true;
    this.wasOpened = true;
    this.events = accept(this);
    this.wakeInbox();
  }

  established(): void {
    // It was given up meanwhile, which the other end is to know.
    if (this.isClosed) return this.tellReset();
    this.isOpen = true;
    this.wasOpened = true;
    this.events?.onOpen();
    this.wakeInbox();
  }

  processEnded(isDark: boolean): void {
    if (!isDark && !this.isClosed) {
      // The kernel still sends what it has, unless there is something that the process had not read.
      if (this.network.random.chance(0.5)) this.inOrder((other) => other.arrive(CLOSED));
      else this.tellReset();
    }
    this.isClosed = true;
    this.network.closed(this);
  }

  fail(reason: CloseReason, why: string): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.isOpen = false;
    this.ended(reason, why);
  }

  private ended(reason: CloseReason, why: string): void {
    this.network.closed(this);
    this.events?.onClosed(reason, why);
  }

  /** A router forgot it, or the like: both ends hear of it, if they can be reached. */
  private breakUp(): void {
    this.tellReset();
    this.network.time.after(this.network.delay(), () => this.node.run(() => this.fail("reset", "connection reset")));
  }

  private tellReset(): void {
    const { other, network } = this;
    // A reset overtakes what is under way: data may be lost. Of an end that is not there yet nobody knows.
    if (other !== undefined) network.send(this.node.name, this.machine, network.delay(), () => other.reset());
  }

  private reset(): void {
    this.node.run(() => this.fail("reset", "connection reset"));
  }

  private sendPiece(piece: Buffer): void {
    this.underWay += piece.length;
    this.inOrder((other) => other.arrive(piece));
  }

  /** What is sent on one connection comes in order, however long each piece takes. */
  private readonly pipe: ((other: SimEnd) => void)[] = [];

  private inOrder(deliver: (other: SimEnd) => void): void {
    const { network, other } = this;
    if (other === undefined) return;
    const { nowMs } = network.time;
    this.lastMs = Math.max(this.lastMs, nowMs + network.delay());
    this.pipe.push(deliver);
    network.send(this.node.name, this.machine, this.lastMs - nowMs, () => this.pipe.shift()?.(other));
  }

  private arrive(piece: Buffer | Ending): void {
    if (this.isClosed) {
      // Its kernel knows no such connection. What closes it needs no answer.
      if (!("reason" in piece)) this.tellReset();
      return;
    }
    this.inbox.push(piece);
    this.wakeInbox();
  }

  private wakeInbox(): void {
    if (this.isTelling || this.inbox.length === 0) return;
    this.isTelling = true;
    this.network.time.after(0, () =>
      this.node.run(() => {
        this.isTelling = false;
        this.tell();
      }),
    );
  }

  private tell(): void {
    if (this.isClosed || this.isPaused || !this.wasOpened) return;
    const piece = this.inbox.shift();
    if (piece === undefined) return;
    if ("reason" in piece) return this.fail(piece.reason, piece.why);
    const { length } = piece;
    this.network.send(this.node.name, this.machine, this.network.delay(), () => this.other?.taken(length));
    this.events?.onData(piece);
    this.wakeInbox();
  }

  /** The other end has taken bytes: there is room for more. */
  private taken(bytes: number): void {
    this.underWay -= bytes;
    // As kernels do: not for each byte.
    if (!this.wantsDrain || this.isClosed || this.underWay > this.network.faults.windowBytes / 2) return;
    this.wantsDrain = false;
    this.node.run(() => {
      if (this.isOpen) this.events?.onDrain();
    });
  }
}
