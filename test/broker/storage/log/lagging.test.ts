import { expect, test } from "bun:test";
import { closeSync, openSync, readdirSync, writeSync } from "node:fs";
import { type Disk, systemDisk } from "../../../../src/broker/storage/disk/disk.ts";
import type { TopicLog } from "../../../../src/broker/storage/log/topic-log.ts";
import { LogFixture } from "../../../support/log-fixture.ts";
import { Random, seedFromEnvironment } from "../../../support/random.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

/** The machine's disk, which counts the bytes that are read from segments. */
class CountingDisk {
  readBytes = 0;
  private readonly logs = new Set<number>();
  readonly disk: Disk = {
    ...systemDisk,
    open: (path, flags) => {
      const fd = systemDisk.open(path, flags);
      if (path.endsWith(".log")) this.logs.add(fd);
      else this.logs.delete(fd);
      return fd;
    },
    read: (fd, buffer, at, length, position) => {
      const read = systemDisk.read(fd, buffer, at, length, position);
      if (this.logs.has(fd)) this.readBytes += read;
      return read;
    },
  };
}

/** A log in files only, with commits of a number of messages. */
class Backlog implements Disposable {
  readonly counting = new CountingDisk();
  readonly fixture: LogFixture;

  constructor(messages: number, bodyBytes: number, perCommit: number, budgetBytes = 16 * MIB) {
    this.fixture = new LogFixture({ disk: this.counting.disk, maxBytesPerFile: 32 * MIB, budgetBytes });
    const body = Buffer.alloc(bodyBytes, "x");
    for (let i = 0; i < messages; i += perCommit)
      this.fixture.commit(...Array.from({ length: Math.min(perCommit, messages - i) }, () => body));
    this.fixture.log.shrink();
  }

  get log(): TopicLog {
    return this.fixture.log;
  }

  /** Places in the log, as those of channels, at equal distances. */
  places(count: number): Place[] {
    const each = Math.floor(this.log.committedNext / count);
    const places = Array.from({ length: count }, (_, i) => new Place(this.log, i * each));
    this.fixture.log.shrink();
    this.counting.readBytes = 0;
    return places;
  }

  [Symbol.dispose](): void {
    this.fixture[Symbol.dispose]();
  }
}

/** A place that reads on. */
class Place {
  position: number;
  deliveredBytes = 0;

  constructor(
    private readonly log: TopicLog,
    public sequence: number,
  ) {
    this.position = log.locate(sequence);
  }

  moveTo(sequence: number): void {
    this.sequence = sequence;
    this.position = this.log.locate(sequence);
  }

  /** Reads one message, as a channel whose consumer takes one at a time, and checks that it is the one that comes next. */
  readOne(ahead = true): void {
    const chunk = this.log.chunkAt(this.position, ahead);
    if (chunk.isGap) throw new Error(`gap at ${this.position}`);
    const at = chunk.offsetOf(this.position);
    const id = Number.parseInt(chunk.buffer.toString("latin1", at + 24, at + 34), 16);
    if (id !== this.sequence) throw new Error(`the message at ${this.position} is ${id}, not ${this.sequence}`);
    const bytes = 4 + chunk.view.getUint32(at);
    this.position += bytes;
    this.deliveredBytes += bytes;
    this.sequence++;
  }
}

for (const count of [8, 50, 500])
  for (const perCommit of [1, 100, 2000])
    test(`${count} places of one log, in commits of ${perCommit}, read about as many bytes as they deliver`, () => {
      using backlog = new Backlog(60_000, 1000, perCommit);
      const places = backlog.places(count);
      for (let round = 0; round < Math.min(1000, 60_000 / count); round++) for (const place of places) place.readOne();
      const delivered = places.reduce((bytes, place) => bytes + place.deliveredBytes, 0);
      // A large commit is read twice: the whole for its checksum, and then its parts.
      expect(backlog.counting.readBytes).toBeLessThan(2 * delivered);
      expect(backlog.fixture.pool.usedBytes).toBeLessThanOrEqual(16 * MIB);
    });

test("reads become large again when few places are left", () => {
  using backlog = new Backlog(60_000, 1000, 100);
  const { pool } = backlog.fixture;
  expect(pool.readAhead.bytes).toBe(512 * KIB);
  for (let round = 0; round < 10; round++) for (const place of backlog.places(200)) place.readOne();
  expect(pool.readAhead.bytes).toBe(16 * KIB);
  const last = new Place(backlog.log, 0);
  while (last.sequence < 60_000) last.readOne();
  expect(pool.readAhead.bytes).toBe(512 * KIB);
});

test("channels that follow each other closely read the log once", () => {
  using backlog = new Backlog(20_000, 1000, 100);
  const places = Array.from({ length: 20 }, (_, i) => new Place(backlog.log, 50 * i));
  backlog.log.shrink();
  backlog.counting.readBytes = 0;
  for (let round = 0; round < 19_000; round++) for (const place of places) place.readOne();
  expect(backlog.counting.readBytes).toBeLessThan(1.1 * 20_000 * 1034);
});

test("an MPUB of many mebibytes is read in parts, and every message in it is found", () => {
  using backlog = new Backlog(0, 0, 1, 2 * MIB);
  const count = 5_000;
  const batch = Buffer.alloc(count * 1004, "y");
  for (let i = 0; i < count; i++) batch.writeUInt32BE(1000, i * 1004);
  backlog.log.appendBatch(batch, 0, batch.length, count, { high: 1, low: 2 });
  backlog.log.commit(1000);
  backlog.log.shrink();
  backlog.counting.readBytes = 0;
  const places = backlog.places(100);
  for (let round = 0; round < 50; round++) for (const place of places) place.readOne();
  expect(backlog.counting.readBytes).toBeLessThan(2 * count * 1034);
  expect(backlog.fixture.pool.usedBytes).toBeLessThanOrEqual(2 * MIB);
});

test("a part of a commit that is damaged after the commit was checked is not delivered", () => {
  using backlog = new Backlog(2_000, 1000, 2_000);
  const { fixture } = backlog;
  const [early, late] = [new Place(backlog.log, 0), new Place(backlog.log, 500)];
  backlog.places(200);
  for (let round = 0; round < 10; round++) for (const place of backlog.places(200)) place.readOne();
  fixture.log.shrink();
  const path = readdirSync(fixture.directory).find((name) => name.endsWith(".log"));
  const fd = openSync(`${fixture.directory}/${path}`, "r+");
  writeSync(fd, "Z", 500 * 1034 + 40);
  closeSync(fd);
  expect(() => late.readOne()).toThrow("gap");
  expect(fixture.corrupt).toBe(1);
  // What is intact of the commit is known by the pieces that were checked, and by nothing else.
  expect(() => early.readOne()).not.toThrow();
});

test("whatever the order of reads, every place finds its own messages", () => {
  const seed = seedFromEnvironment();
  console.log(`lagging places: BUNSQ_SEED=${seed}`);
  const random = new Random(seed);
  for (const budgetBytes of [256 * KIB, 2 * MIB, 16 * MIB]) {
    using fixture = new LogFixture({ maxBytesPerFile: 2 * MIB, budgetBytes });
    while (fixture.log.committedNext < 20_000) {
      const largest = random.pick([10, 500, 3_000, 40_000]);
      const bodies = random.pick([1, 20, 1_500]);
      const count = Math.min(bodies, Math.ceil((3 * MIB) / largest));
      fixture.commit(...Array.from({ length: count }, () => Buffer.alloc(random.int(1, largest), "z")));
    }
    const places = Array.from({ length: 60 }, () => new Place(fixture.log, random.int(0, 19_000)));
    for (let i = 0; i < 20_000; i++) {
      const place = random.pick(places);
      if (place.sequence < fixture.log.committedNext) place.readOne(random.chance(0.9));
      if (random.chance(0.002)) place.moveTo(random.int(0, 19_000));
      if (random.chance(0.0005)) fixture.log.shrink();
    }
    fixture.log.dispose();
    expect(fixture.pool.usedBytes).toBe(0);
  }
});
