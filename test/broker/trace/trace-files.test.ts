import { afterEach, beforeEach, expect, test } from "bun:test";
import { readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../../src/base/clock.ts";
import { systemDisk } from "../../../src/broker/storage/disk/disk.ts";
import { lifeOf } from "../../../src/broker/trace/life.ts";
import { ChannelTrace, TopicTrace } from "../../../src/broker/trace/topic-trace.ts";
import { batchAt, sealBatch, visitNames } from "../../../src/broker/trace/trace-batch.ts";
import { checkTraces } from "../../../src/broker/trace/trace-check.ts";
import { eventAt } from "../../../src/broker/trace/trace-event.ts";
import { TraceFiles } from "../../../src/broker/trace/trace-files.ts";
import { type Origin, TraceName } from "../../../src/broker/trace/trace-name.ts";
import { TraceSearch } from "../../../src/broker/trace/trace-search.ts";
import { Tracer } from "../../../src/broker/trace/tracer.ts";
import { FlakyDisk } from "../../support/flaky-disk.ts";
import { MemoryLogger, removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { mutated } from "../../support/mutation.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";

const MIB = 1024 * 1024;
const TOPIC = 7;
const RECORD_BYTES = 64;
const SEED = seedFromEnvironment();

let directory: string;

beforeEach(() => {
  directory = temporaryFolder();
});

afterEach(() => removeFolder(directory));

/** The traces of one run of a broker, without a broker. */
class Traces {
  readonly log = new MemoryLogger();
  readonly disk: FlakyDisk;
  readonly files: TraceFiles;
  readonly tracer: Tracer;
  readonly search: TraceSearch;
  readonly topic: TopicTrace;
  readonly channel: ChannelTrace;
  readonly errors: string[] = [];
  refusal: Error | undefined;
  wallMs = 1_800_000_000_000;
  turns = 0;

  constructor(limitBytes = 8 * MIB) {
    this.disk = new FlakyDisk(systemDisk, systemClock, new Random(1));
    this.files = new TraceFiles({ disk: this.disk, directory, limitBytes, logger: this.log });
    this.files.recover();
    const turn = {
      nowMs: 0,
      get wallMs() {
        return self.wallMs;
      },
      wakeAt: () => {},
    };
    const freeSpace = {
      get refusal() {
        return self.refusal;
      },
    };
    const self = this;
    this.tracer = new Tracer({ files: this.files, turn, freeSpace, rateLimitedLog: { error: (line) => this.errors.push(line) } });
    const clock = {
      callAfterTurn: (callback: () => void) => {
        this.turns++;
        setImmediate(callback);
      },
    };
    this.search = new TraceSearch({ disk: this.disk, files: this.files, tracer: this.tracer, clock });
    this.topic = new TopicTrace(this.tracer, TOPIC);
    this.channel = new ChannelTrace(this.tracer, TOPIC, "c");
  }

  /** A publish, a delivery and a FIN of `count` messages. */
  pass(first: number, count: number, by = new TraceName("client")): void {
    this.topic.published({ traceName: by }, first, count);
    this.channel.delivered(by, first, count, 1);
    this.channel.finished(by, first, count, 1);
  }

  async kinds(sequence: number): Promise<string[]> {
    const found = await this.search.find(TOPIC, sequence);
    return found === "busy" ? ["busy"] : lifeOf(found.events, sequence).map(({ kind, by }) => `${kind} ${by}`);
  }
}

const WHOLE = ["published client", "delivered client", "finished client"];

test("runs of messages are found by each of their sequences, over files, restarts and names", async () => {
  const first = new Traces();
  first.pass(0, 100);
  expect(await first.kinds(99)).toEqual(WHOLE);
  expect(await first.kinds(100)).toEqual([]);
  first.tracer.close();
  const second = new Traces();
  second.pass(100, 1, new TraceName("another".repeat(100)));
  expect(await second.kinds(50)).toEqual(WHOLE);
  expect((await second.kinds(100))[0]).toBe(`published ${"another".repeat(100).slice(0, 255)}`);
  second.tracer.close();
  expect(readdirSync(directory)).toEqual(["1.trace"]);
});

test("a train of publishes is one record, unless something else is in between", async () => {
  const traces = new Traces();
  const [one, other] = ["one", "other"].map((text) => ({ traceName: new TraceName(text) })) as [Origin, Origin];
  const context = { ...one, traceContext: new Uint8Array(25).fill(1), traceState: `a=${"x".repeat(100)}` };
  const another = new TopicTrace(traces.tracer, TOPIC + 1);
  for (let sequence = 0; sequence < 10; sequence++) traces.topic.published(one, sequence, 1);
  traces.topic.published(other, 10, 1);
  traces.topic.published(one, 11, 3);
  traces.topic.published(one, 14, 1);
  traces.topic.published(context, 15, 1);
  traces.topic.published(one, 16, 1);
  another.published(one, 17, 1);
  traces.topic.published(one, 17, 1);
  traces.wallMs++;
  traces.topic.published(one, 18, 1);
  traces.channel.delivered(one.traceName, 18, 1, 1);
  traces.topic.published(one, 19, 1);
  // Not the next one: the sequence before was refused.
  traces.topic.published(one, 21, 1);
  const lives = new Map<number, string[]>();
  for (let sequence = 0; sequence <= 21; sequence++) {
    const found = await traces.search.find(TOPIC, sequence);
    const events = found === "busy" ? [] : lifeOf(found.events, sequence).filter(({ kind }) => kind === "published");
    lives.set(
      sequence,
      events.map(({ by, detail }) => `${by} ${detail}`),
    );
  }
  for (const sequence of [0, 1, 9, 14, 16, 17, 18, 19, 21]) expect([sequence, lives.get(sequence)]).toEqual([sequence, ["one null"]]);
  for (const sequence of [11, 12, 13]) expect(lives.get(sequence)).toEqual(["one one of 3 in a batch"]);
  expect(lives.get(10)).toEqual(["other null"]);
  expect(lives.get(15)).toEqual([`one traceparent 00-${"01".repeat(16)}-${"01".repeat(8)}-01; tracestate ${context.traceState}`]);
  expect(lives.get(20)).toEqual([]);
  // The train, ten of the others, a delivery, a context and three pieces of its tracestate.
  expect(traces.tracer.written).toBe(16);
});

test("all files together stay within their limit, and the oldest go first", async () => {
  const limit = 4 * MIB;
  const traces = new Traces(limit);
  let most = 0;
  for (let sequence = 0; sequence < 60_000; sequence++) {
    traces.pass(sequence, 1);
    if (sequence % 500 === 0) most = Math.max(most, traces.files.bytes);
  }
  traces.tracer.close();
  expect(most).toBeLessThanOrEqual(limit);
  expect(most).toBeGreaterThan(limit * 0.7);
  const onDisk = readdirSync(directory).filter((name) => name.endsWith(".trace"));
  expect(onDisk.reduce((sum, name) => sum + statSync(join(directory, name)).size, 0)).toBeLessThanOrEqual(limit);
  expect(await traces.kinds(0)).toEqual([]);
  expect(await traces.kinds(59_999)).toEqual(WHOLE);
  expect(await traces.kinds(50_000)).toEqual(WHOLE);
  expect(traces.tracer.dropped).toBe(0);
  const smaller = new Traces(2 * MIB);
  expect(smaller.files.bytes).toBeLessThanOrEqual(2 * MIB);
  expect(await smaller.kinds(59_999)).toEqual(WHOLE);
  smaller.tracer.close();
  expect(new Traces(0).files.bytes).toBe(0);
});

test("all topics share the limit, and the oldest records go first, whichever topic they are of", async () => {
  const limit = 2 * MIB;
  const traces = new Traces(limit);
  const topics = 50;
  const by = { traceName: new TraceName("client") };
  const traced = Array.from({ length: topics }, (_, n) => new TopicTrace(traces.tracer, n));
  const channels = Array.from({ length: topics }, (_, n) => new ChannelTrace(traces.tracer, n, `channel-${n % 7}`));
  const total = 30_000;
  for (let n = 0; n < total; n++) {
    const topic = n % topics;
    const sequence = Math.floor(n / topics);
    traced[topic]?.published(by, sequence, 1);
    channels[topic]?.delivered(by.traceName, sequence, 1, 1);
    channels[topic]?.finished(by.traceName, sequence, 1, 1);
    if (n % 500 === 0) expect(traces.files.bytes).toBeLessThanOrEqual(limit);
  }
  const events = async (n: number) => {
    const found = await traces.search.find(n % topics, Math.floor(n / topics));
    return found === "busy" ? Number.NaN : found.events.length;
  };
  // Where the records begin, all that is older is gone, and all that is newer is there.
  let gone = 0;
  let whole = total - 1;
  while (whole - gone > 2) {
    const middle = Math.floor((gone + whole) / 2);
    if ((await events(middle)) === 0) gone = middle;
    else whole = middle;
  }
  expect(gone).toBeGreaterThan(0);
  for (let n = gone; n >= 0; n -= 997) expect([n, await events(n)]).toEqual([n, 0]);
  for (let n = whole + 1; n < total; n += 997) expect([n, await events(n)]).toEqual([n, 3]);
  expect(traces.files.bytes).toBeGreaterThan(limit * 0.6);
  expect(traces.tracer.dropped).toBe(0);
});

test("while the disk is full, records are dropped and counted, the limit holds, and what was recorded before and after is found", async () => {
  const limit = 2 * MIB;
  const traces = new Traces(limit);
  const other = new TopicTrace(traces.tracer, TOPIC + 1);
  const [before, without, after] = [15_000, 9000, 3000];
  const record = (from: number, count: number) => {
    for (let sequence = from; sequence < from + count; sequence++) {
      traces.pass(sequence, 1);
      other.published({ traceName: new TraceName("other") }, sequence, 2);
      if (sequence % 100 === 0) traces.tracer.flush();
      expect(traces.files.bytes).toBeLessThanOrEqual(limit);
    }
    traces.tracer.flush();
  };
  record(0, before);
  expect(traces.tracer.dropped).toBe(0);
  expect(await traces.kinds(0)).toEqual([]);
  const files = traces.files.list.length;
  traces.disk.script.push({ path: /\.trace$/, calls: ["create", "write"], code: "ENOSPC", times: Number.POSITIVE_INFINITY });
  record(before, without);
  expect(traces.tracer.dropped).toBe(4 * without);
  // It took no more files away than one batch needs.
  expect(traces.files.list.length).toBeGreaterThanOrEqual(files - 1);
  traces.disk.script.length = 0;
  record(before + without, after);
  expect(traces.tracer.written).toBe(4 * (before + after));
  for (const sequence of [before - 1, before + without, before + without + after - 1]) expect(await traces.kinds(sequence)).toEqual(WHOLE);
  for (const sequence of [before, before + without - 1]) expect(await traces.kinds(sequence)).toEqual([]);
  traces.tracer.close();
  // A new start finds the same.
  const next = new Traces(limit);
  expect(await next.kinds(before - 1)).toEqual(WHOLE);
  expect(await next.kinds(before + without)).toEqual(WHOLE);
  expect(next.files.bytes).toBeLessThanOrEqual(limit);
  next.tracer.close();
});

test("a search lets the event loop do other work, and passes over files that cannot have the message", async () => {
  const traces = new Traces(64 * MIB);
  for (let sequence = 0; sequence < 100_000; sequence++) traces.pass(sequence, 1);
  expect(traces.files.list.length).toBeGreaterThan(3);
  await traces.kinds(1000);
  const whole = traces.turns;
  expect(whole).toBeGreaterThan(20);
  const reads = traces.disk.reads;
  expect(await traces.kinds(1000)).toEqual(WHOLE);
  expect(traces.turns - whole).toBeLessThan(whole / 2);
  expect(traces.disk.reads - reads).toBeLessThan(reads / 2);
  // Others are turned away while four search.
  const searches = Array.from({ length: 5 }, () => traces.kinds(99_999));
  expect(await Promise.all(searches)).toEqual([WHOLE, WHOLE, WHOLE, WHOLE, ["busy"]]);
  traces.tracer.close();
});

test("of a message with very many events, the first and the newest are kept", async () => {
  const traces = new Traces();
  const by = new TraceName("client");
  traces.topic.published({ traceName: by }, 5, 1);
  for (let attempts = 1; attempts <= 3000; attempts++) traces.channel.delivered(by, 5, 1, attempts);
  const found = await traces.search.find(TOPIC, 5);
  if (found === "busy") throw new Error("busy");
  expect(found.events.length).toBe(1000);
  expect(found.leftOut).toBe(2001);
  expect(found.events[1]?.attempts).toBe(1);
  expect(found.events.at(-1)?.attempts).toBe(3000);
  traces.tracer.close();
});

test("a disk that fails costs the records that it did not take, and nothing else", async () => {
  const traces = new Traces();
  traces.disk.script.push({ path: /\/1\.trace$/, calls: ["create", "write"], code: "ENOSPC", times: 2, partly: 0.5 });
  traces.pass(0, 1);
  traces.tracer.flush();
  traces.pass(1, 1);
  traces.tracer.flush();
  expect(traces.tracer.dropped).toBe(6);
  expect(traces.errors).toHaveLength(2);
  expect(traces.errors[0]).toStartWith("TRACE: cannot write: ENOSPC");
  // A name is written again, since the batch that introduced it was dropped.
  const by = new TraceName("client");
  traces.pass(2, 1, by);
  traces.tracer.flush();
  traces.disk.script.push({ path: /\/1\.trace$/, calls: ["write"], code: "EIO", times: 1, partly: 0.9 });
  traces.pass(3, 1, by);
  traces.tracer.flush();
  traces.pass(4, 1, by);
  expect(await traces.kinds(2)).toEqual(WHOLE);
  expect(await traces.kinds(3)).toEqual([]);
  expect(await traces.kinds(4)).toEqual(WHOLE);
  // Where publishes are refused for lack of space, traces take none.
  traces.refusal = new Error("full");
  traces.pass(5, 1, by);
  expect(await traces.kinds(5)).toEqual([]);
  traces.refusal = undefined;
  expect(traces.tracer.dropped).toBe(12);
  traces.pass(6, 1, by);
  expect(await traces.kinds(6)).toEqual(WHOLE);
  traces.tracer.close();
});

test("files that cannot be listed or removed are not written over, and keep the limit", async () => {
  const first = new Traces();
  first.pass(0, 1);
  first.tracer.close();
  const before = readFileSync(join(directory, "1.trace"));
  const second = new Traces();
  second.tracer.close();
  const unlisted = new TraceFiles({
    ...{ disk: second.disk, directory, limitBytes: 8 * MIB, logger: second.log },
  });
  second.disk.script.push({ path: /./, calls: ["list"], code: "EIO", times: 2 });
  unlisted.recover();
  expect(second.log.matching(/^WARNING: TRACE: cannot read/)).toHaveLength(1);
  const batch = Buffer.alloc(RECORD_BYTES);
  sealBatch(batch, 0, 0, 1);
  expect(() => unlisted.append(batch, batch.length)).toThrow("EIO");
  unlisted.append(batch, batch.length);
  unlisted.close();
  expect(readFileSync(join(directory, "1.trace"))).toEqual(before);
  expect(readdirSync(directory).sort()).toEqual(["1.trace", "2.trace"]);
});

test("wherever the newest file is cut off, what is before that is found, and the next run goes on behind it", async () => {
  const first = new Traces();
  for (let sequence = 0; sequence < 3; sequence++) {
    first.pass(sequence, 1);
    first.tracer.flush();
  }
  first.tracer.close();
  const path = join(directory, "1.trace");
  const whole = readFileSync(path);
  const ends: number[] = [RECORD_BYTES];
  for (let at = RECORD_BYTES; at < whole.length; ) {
    const batch = batchAt(whole, at, whole.length);
    if (typeof batch === "string") throw new Error(batch);
    at = batch.end;
    ends.push(at);
  }
  expect(ends).toHaveLength(4);
  for (let length = 0; length <= whole.length; length += 13) {
    writeFileSync(path, whole);
    truncateSync(path, length);
    const next = new Traces();
    next.pass(100, 1);
    for (let sequence = 0; sequence < 3; sequence++) {
      expect(await next.kinds(sequence)).toEqual(length >= (ends[sequence + 1] as number) ? WHOLE : []);
    }
    expect(await next.kinds(100)).toEqual(WHOLE);
    next.tracer.close();
    if (length < RECORD_BYTES) removeFolder(join(directory, "2.trace"));
  }
});

test(`whatever is in a file, a reader ends and finds only what was recorded (BUNSQ_SEED=${SEED})`, async () => {
  const random = new Random(SEED);
  const first = new Traces();
  for (let sequence = 0; sequence < 300; sequence++) {
    first.pass(sequence, 1, new TraceName(`client ${random.int(0, 20)}`));
    const context = { traceContext: new Uint8Array(25).fill(1), traceState: `a=${"x".repeat(random.int(1, 256))}` };
    if (random.chance(0.2)) first.topic.published({ traceName: new TraceName("client 0"), ...context }, sequence, 1);
    if (random.chance(0.1)) first.tracer.flush();
  }
  first.tracer.close();
  const path = join(directory, "1.trace");
  const whole = readFileSync(path);
  for (let round = 0; round < 300; round++) {
    const bytes = random.chance(0.1) ? random.pick([Buffer.alloc(0), Buffer.alloc(5000), whole.subarray(64)]) : mutated(random, whole);
    writeFileSync(path, bytes);
    const next = new Traces();
    for (const sequence of [0, 150, 299]) {
      const found = await next.search.find(TOPIC, sequence);
      if (found === "busy") throw new Error("busy");
      for (const event of found.events) {
        expect(event.sequence).toBe(sequence);
        expect([undefined, "c"]).toContain(event.channelName);
        expect(event.byName ?? "client 0").toMatch(/^client \d+$/);
        expect(event.state ?? "").toMatch(/^(a=)?x{0,36}$/);
      }
    }
    next.pass(1000, 1);
    expect(await next.kinds(1000)).toEqual(WHOLE);
    next.tracer.close();
    for (const name of readdirSync(directory)) if (name !== "1.trace") removeFolder(join(directory, name));
    // Lengths in a batch are checked before they are trusted.
    for (let at = 0; at + RECORD_BYTES <= bytes.length; at += RECORD_BYTES) {
      const batch = batchAt(bytes, at, bytes.length);
      if (typeof batch === "string") continue;
      visitNames(bytes, batch, (_number, text) => expect(text.length).toBeLessThanOrEqual(255));
      for (let record = 0; record < batch.records; record++) expect(eventAt(bytes, batch.from + record * RECORD_BYTES).topic).toBe(TOPIC);
    }
  }
}, 60_000);

test("a head of a batch that announces more than a batch may have is damaged, whatever its checksum", () => {
  const bytes = Buffer.alloc(1024 * 1024);
  expect(batchAt(bytes, 0, sealBatch(bytes, 4096, 65_536, 1))).toMatchObject({ records: 4096, end: 64 + 4096 * 64 + 65_536 });
  for (const [records, names] of [
    [4097, 0],
    [0, 65_537],
  ] as const) {
    sealBatch(bytes, records, names, 1);
    expect(batchAt(bytes, 0, bytes.length)).toBe("damaged");
  }
});

test("a check counts records, tells damage that whole batches follow, and takes a torn end for what a kill leaves", () => {
  const traces = new Traces();
  for (let sequence = 0; sequence < 3; sequence++) {
    traces.pass(sequence, 1);
    traces.tracer.flush();
  }
  traces.tracer.close();
  const path = join(directory, "1.trace");
  const whole = readFileSync(path);
  expect(checkTraces(systemDisk, directory)).toEqual({ files: 1, bytes: whole.length, records: 9, problems: [] });
  truncateSync(path, whole.length - 70);
  expect(checkTraces(systemDisk, directory)).toMatchObject({ records: 6, problems: [] });
  const damaged = Buffer.from(whole);
  damaged[RECORD_BYTES * 2 + 9] = 0xff;
  writeFileSync(path, damaged);
  expect(checkTraces(systemDisk, directory)).toMatchObject({
    records: 6,
    problems: [expect.stringMatching(/^\d+ bytes in .* are damaged/)],
  });
  damaged[0] = 0;
  writeFileSync(path, damaged);
  expect(checkTraces(systemDisk, directory)).toMatchObject({ records: 0, problems: [expect.stringContaining("head")] });
  expect(checkTraces(systemDisk, join(directory, "none")).files).toBe(0);
});
