import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { CloseReason, Connection, ConnectionEvents, Network, NetworkListener } from "../../../src/cluster/net/network.ts";

/** A network that the suite is played on. */
export interface NetworkUnderTest extends AsyncDisposable {
  /** As the process sees it that listens, and as the one that connects. */
  readonly far: Network;
  readonly near: Network;
  /** An address to listen on. */
  readonly address: string;
  readonly deadAddress: string;
  /** More bytes than can be under way. */
  readonly manyBytes: number;
  until(what: string, condition: () => boolean): Promise<void>;
  /** Lets happen what can happen at once. */
  idle(): Promise<void>;
}

/** One end of a connection, and what it was told. */
class End implements ConnectionEvents {
  connection: Connection | undefined;
  readonly pieces: Buffer[] = [];
  bytes = 0;
  opened = 0;
  drained = 0;
  readonly closed: CloseReason[] = [];
  onDrained: () => void = () => {};

  onOpen(): void {
    this.opened++;
  }
  onData(bytes: Buffer): void {
    this.pieces.push(Buffer.from(bytes));
    this.bytes += bytes.length;
  }
  onDrain(): void {
    this.drained++;
    this.onDrained();
  }
  onClosed(reason: CloseReason): void {
    this.closed.push(reason);
  }
  get received(): Buffer {
    return Buffer.concat(this.pieces);
  }
  /** Writes it all, as the connection accepts it. */
  send(bytes: Buffer): void {
    let at = 0;
    const more = () => {
      while (at < bytes.length) {
        const accepted = this.connection?.write(bytes, at, bytes.length - at) ?? 0;
        if (accepted <= 0) return;
        at += accepted;
      }
    };
    this.onDrained = more;
    more();
  }
}

/** What the end that accepts says first. */
const GREETING = Buffer.from("hello");

function pattern(length: number, seed: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  for (let i = 0; i < length; i++) bytes[i] = (Math.imul(i, 2654435761) >>> 13) + seed;
  return bytes;
}

/** What any Network does, whether it is real or made up. */
export function playNetworkSuite(name: string, start: () => Promise<NetworkUnderTest>): void {
  describe(name, () => {
    let on: NetworkUnderTest;
    let listener: NetworkListener;
    let accepted: End[] = [];

    beforeAll(async () => {
      on = await start();
      listener = on.far.listen(on.address, (connection) => {
        const end = new End();
        end.connection = connection;
        accepted.push(end);
        // It is open from its beginning.
        connection.write(GREETING, 0, GREETING.length);
        return end;
      });
    });
    afterAll(async () => {
      listener?.close();
      await on?.[Symbol.asyncDispose]();
    });

    const connecting = (address: string): End => {
      const end = new End();
      end.connection = on.near.connect(address, end);
      return end;
    };

    /** Both ends of a new connection. */
    const pair = async (): Promise<{ near: End; far: End }> => {
      accepted = [];
      const near = connecting(listener.address);
      await on.until("it is open at both ends", () => near.bytes === GREETING.length && accepted.length === 1);
      expect([near.opened, near.received.toString()]).toEqual([1, "hello"]);
      near.pieces.length = 0;
      near.bytes = 0;
      return { near, far: accepted[0] as End };
    };

    const close = async (...ends: End[]) => {
      for (const end of ends) end.connection?.abort();
      await on.until("all ends are closed", () => ends.every((end) => end.closed.length === 1));
    };

    test("what is written comes whole and in order, both ways at once", async () => {
      const { near, far } = await pair();
      const [there, back] = [pattern(3_000_000, 1), pattern(2_000_000, 2)];
      near.send(there);
      far.send(back);
      await on.until("all has come", () => far.bytes === there.length && near.bytes === back.length);
      expect(far.received.equals(there)).toBe(true);
      expect(near.received.equals(back)).toBe(true);
      await close(near, far);
    });

    test("an end that pauses holds the other one up, and loses nothing", async () => {
      const { near, far } = await pair();
      far.connection?.pause();
      const bytes = pattern(on.manyBytes, 3);
      near.send(bytes);
      await on.idle();
      expect(far.bytes).toBeLessThan(1_000_000);
      const before = near.drained;
      far.connection?.resume();
      await on.until("all has come", () => far.bytes === bytes.length);
      expect(far.received.equals(bytes)).toBe(true);
      expect(near.drained).toBeGreaterThan(before);
      await close(near, far);
    });

    test("what was accepted comes before the connection is closed", async () => {
      const { near, far } = await pair();
      near.connection?.write(Buffer.from("the last words"), 4, 10);
      near.connection?.close();
      expect(near.connection?.write(Buffer.from("more"), 0, 4)).toBeLessThanOrEqual(0);
      await on.until("both ends are closed", () => near.closed.length === 1 && far.closed.length === 1);
      expect([far.received.toString(), far.closed, near.closed]).toEqual(["last words", ["closed"], ["closed"]]);
      await on.idle();
      expect([near.closed.length, far.closed.length]).toEqual([1, 1]);
    });

    test("an end that aborts is told so later, and the other end that it was cut", async () => {
      const { near, far } = await pair();
      far.connection?.abort();
      expect(far.closed).toEqual([]);
      await on.until("both ends are closed", () => near.closed.length === 1 && far.closed.length === 1);
      expect(far.closed).toEqual(["aborted"]);
      expect(["reset", "closed"]).toContain(near.closed[0] as string);
      expect(near.connection?.write(Buffer.from("x"), 0, 1)).toBeLessThanOrEqual(0);
    });

    test("where nobody listens a connection is refused", async () => {
      const end = connecting(on.deadAddress);
      await on.until("it is closed", () => end.closed.length === 1);
      expect([end.closed, end.opened]).toEqual([["refused"], 0]);
    });

    test("one that is aborted while it opens never opens", async () => {
      accepted = [];
      const end = connecting(listener.address);
      end.connection?.abort();
      await on.until("it is closed", () => end.closed.length === 1);
      expect([end.closed, end.opened]).toEqual([["aborted"], 0]);
      await on.idle();
      await on.until("the other end knows", () => accepted.every((far) => far.closed.length === 1));
      expect(end.opened).toBe(0);
    });

    test("a listener that is closed refuses, and its connections stay", async () => {
      const { near, far } = await pair();
      const { address } = listener;
      listener.close();
      const late = connecting(address);
      await on.until("it is refused", () => late.closed.length === 1);
      expect(late.closed).toEqual(["refused"]);
      near.send(Buffer.from("still there"));
      await on.until("it comes", () => far.received.toString() === "still there");
      await close(near, far);
      accepted = [];
      listener = on.far.listen(on.address, () => new End());
    });
  });
}
