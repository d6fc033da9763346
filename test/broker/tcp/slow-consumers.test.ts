import { expect, test } from "bun:test";
import { Outbox } from "../../../src/broker/tcp/transport/outbox.ts";
import type { Writer } from "../../../src/net/writer.ts";
import { LogFixture } from "../../support/log-fixture.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";

const MIB = 1024 * 1024;
const BUDGET_BYTES = 4 * MIB;

/** A socket whose client reads when the test says so. */
class SlowSocket implements Writer {
  acceptsBytes = 0;
  readonly received: Buffer[] = [];

  write(bytes: Buffer, from: number, length: number): number {
    const accepted = Math.min(this.acceptsBytes, length);
    this.received.push(Buffer.from(bytes.subarray(from, from + accepted)));
    this.acceptsBytes -= accepted;
    return accepted;
  }
}

/** A log with 400 kilobytes in each of its commits. */
class Runs implements Disposable {
  readonly fixture = new LogFixture({ budgetBytes: BUDGET_BYTES, maxBytesPerFile: 8 * MIB });

  constructor(count: number) {
    for (let i = 0; i < count; i++) this.fixture.commit(...Array.from({ length: 40 }, (_, k) => Buffer.alloc(10_000, `${i} ${k} `)));
    this.fixture.log.shrink();
  }

  /** Sends one run, a commit in whole or in part, as the dispatcher does. @returns its bytes */
  send(outbox: Outbox, commit: number): Buffer {
    const { log } = this.fixture;
    const chunk = log.chunkAt(log.locate(commit * 40), true);
    if (chunk.isGap) throw new Error("gap");
    const from = chunk.offsetOf(log.locate(commit * 40));
    const to = Math.min(chunk.end - chunk.start, from + 40 * 10_034);
    outbox.writeRun(chunk, from, to);
    return Buffer.from(chunk.buffer.subarray(from, to));
  }

  [Symbol.dispose](): void {
    this.fixture[Symbol.dispose]();
  }
}

test("consumers that do not read keep bounded memory together, and get every byte when they read again", () => {
  const seed = seedFromEnvironment();
  console.log(`slow consumers: BUNSQ_SEED=${seed}`);
  const random = new Random(seed);
  const count = 150;
  using runs = new Runs(count);
  const { pool } = runs.fixture;
  const consumers = Array.from({ length: count }, (_, i) => {
    const socket = new SlowSocket();
    // The kernel may take a part, and end in the middle of a message.
    socket.acceptsBytes = random.int(0, 15_000);
    const outbox = new Outbox(socket, pool);
    return { socket, outbox, sent: runs.send(outbox, i) };
  });
  expect(consumers.every(({ outbox }) => !outbox.writable)).toBeTrue();
  expect(pool.pinnedBytes).toBeLessThanOrEqual(BUDGET_BYTES / 2);
  expect(pool.usedBytes).toBeLessThanOrEqual(BUDGET_BYTES);

  // A consumer that reads is served meanwhile.
  const reading = new SlowSocket();
  reading.acceptsBytes = Number.POSITIVE_INFINITY;
  const fast = new Outbox(reading, pool);
  for (let i = 0; i < count; i++) {
    const sent = runs.send(fast, i);
    expect(fast.writable).toBeTrue();
    expect(Buffer.concat(reading.received.splice(0)).equals(sent)).toBeTrue();
  }

  const left = [...consumers];
  while (left.length > 0) {
    const index = random.int(0, left.length - 1);
    const { socket, outbox, sent } = left[index];
    socket.acceptsBytes = random.int(1, 200_000);
    if (!outbox.drain()) continue;
    expect(Buffer.concat(socket.received).equals(sent)).toBeTrue();
    expect(outbox.pendingBytes).toBe(0);
    left.splice(index, 1);
  }
  expect(pool.pinnedBytes).toBe(0);
});

test("what is left of a message that is not in the log any more cannot be sent", () => {
  using runs = new Runs(60);
  const { log, pool } = runs.fixture;
  const consumers = Array.from({ length: 60 }, (_, i) => {
    const socket = new SlowSocket();
    const outbox = new Outbox(socket, pool);
    runs.send(outbox, i);
    return { socket, outbox };
  });
  log.dispose();
  log.files?.remove(() => {});
  for (const { socket, outbox } of consumers) {
    socket.acceptsBytes = Number.POSITIVE_INFINITY;
    // Chunks that are pinned outlive the log.
    expect(outbox.drain()).toBe(outbox.failure === undefined);
    outbox.dispose();
  }
  expect(consumers.filter(({ outbox }) => outbox.failure !== undefined).length).toBeGreaterThan(20);
  expect(pool.usedBytes).toBe(0);
});
