import { expect, test } from "bun:test";
import type { CloseReason, Connection } from "../../../src/cluster/net/network.ts";
import { Incoming } from "../../../src/cluster/replication/incoming.ts";

const MEGABYTE = 1024 * 1024;

/** Frames of which each takes some time to handle. */
class Fixture {
  nowMs = 0;
  readonly handled: number[] = [];
  readonly calls: string[] = [];
  private readonly turns: (() => void)[] = [];
  onFrame = (frame: Buffer): void => {
    this.nowMs += 2;
    this.handled.push(frame[0] as number);
  };
  readonly incoming: Incoming;

  constructor() {
    const connection: Connection = {
      remote: "",
      write: () => 0,
      pause: () => this.calls.push("pause"),
      resume: () => this.calls.push("resume"),
      close: () => {},
      abort: () => {},
    };
    const clock = { steadyMs: () => this.nowMs, callAfterTurn: (callback: () => void) => this.turns.push(callback) };
    this.incoming = new Incoming(clock, () => connection, {
      onFrame: (frame) => this.onFrame(frame),
      onFailed: (error, isLate) => this.calls.push(`${error.message}${isLate ? " later" : ""}`),
      onEnd: (reason: CloseReason) => this.calls.push(reason),
    });
  }

  come(...numbers: number[]): void {
    for (const number of numbers) this.incoming.push(Buffer.from([number]));
    this.incoming.work();
  }

  turn(): void {
    for (const callback of this.turns.splice(0)) callback();
  }

  get waits(): boolean {
    return this.turns.length > 0;
  }
}

test("frames are handled at once and in order, and what takes too long in the next turns", () => {
  const fixture = new Fixture();
  fixture.come(1, 2);
  expect(fixture.handled).toEqual([1, 2]);
  expect(fixture.waits).toBe(false);
  fixture.come(3, 4, 5, 6, 7);
  expect(fixture.handled).toEqual([1, 2, 3, 4, 5]);
  fixture.come(8);
  expect(fixture.handled).toEqual([1, 2, 3, 4, 5]);
  fixture.turn();
  expect(fixture.handled).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  expect(fixture.waits).toBe(false);
});

test("the end of a connection comes after its frames, and that of one that was aborted at once", () => {
  const fixture = new Fixture();
  fixture.come(1, 2, 3, 4);
  fixture.incoming.end("reset");
  expect(fixture.calls).toEqual([]);
  fixture.turn();
  expect(fixture.handled).toEqual([1, 2, 3, 4]);
  expect(fixture.calls).toEqual(["reset"]);

  const aborted = new Fixture();
  aborted.come(1, 2, 3, 4);
  aborted.incoming.end("aborted");
  aborted.turn();
  expect(aborted.handled).toEqual([1, 2, 3]);
  expect(aborted.calls).toEqual(["aborted"]);
});

test("what is behind a frame that fails is not handled", () => {
  const fixture = new Fixture();
  const { onFrame } = fixture;
  fixture.onFrame = (frame) => {
    if (frame[0] === 5) throw new Error("five");
    onFrame(frame);
  };
  fixture.come(1, 2, 3, 4, 5, 6);
  fixture.turn();
  fixture.turn();
  expect(fixture.handled).toEqual([1, 2, 3, 4]);
  expect(fixture.calls).toEqual(["five later"]);
  expect(fixture.waits).toBe(false);
  fixture.come(5);
  expect(fixture.calls).toEqual(["five later", "five"]);
});

test("nothing is read while many bytes wait", () => {
  const fixture = new Fixture();
  for (let i = 0; i < 12; i++) fixture.incoming.push(Buffer.alloc(MEGABYTE, i));
  fixture.incoming.work();
  expect(fixture.calls).toEqual(["pause"]);
  for (let i = 0; i < 2; i++) fixture.turn();
  expect(fixture.calls).toEqual(["pause"]);
  while (fixture.waits) fixture.turn();
  expect(fixture.calls).toEqual(["pause", "resume"]);
  expect(fixture.handled).toEqual(Array.from({ length: 12 }, (_, i) => i));
});
