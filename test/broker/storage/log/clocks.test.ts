import { expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { sequenceAtTime } from "../../../../src/broker/storage/log/records.ts";
import { LogFixture } from "../../../support/log-fixture.ts";
import { Random, seedFromEnvironment } from "../../../support/random.ts";

// The wall clock is set while messages are published. A time then finds the first message that was published at or after it.

const T_MS = 1_800_000_000_000;
const HOUR_MS = 3_600_000;
const INDEX_HEADER_BYTES = 40;
const INDEX_ENTRY_BYTES = 40;
const TIME_AT = 24;

/** Publishes one message in a commit of its own. */
function publishAt(fixture: LogFixture, ms: number): void {
  const ns = BigInt(ms) * 1_000_000n;
  fixture.log.append(Buffer.from("body"), 0, 4, { high: Number(ns >> 32n), low: Number(ns & 0xffffffffn) });
  fixture.log.commit(ms);
}

/** Rewrites the times of all index entries as an earlier release wrote them: the wall clock's, whatever that was. */
async function writeTimes(fixture: LogFixture, times: readonly number[]): Promise<void> {
  await fixture.files.close();
  let next = 0;
  for (const name of readdirSync(fixture.directory).sort()) {
    if (!name.endsWith(".idx")) continue;
    const index = readFileSync(`${fixture.directory}/${name}`);
    for (let at = INDEX_HEADER_BYTES; at < index.length; at += INDEX_ENTRY_BYTES) {
      index.writeDoubleLE(times[next++], at + TIME_AT);
      index.writeUInt32LE(Bun.hash.crc32(index.subarray(at, at + 36)), at + 36);
    }
    writeFileSync(`${fixture.directory}/${name}`, index);
  }
  expect(next).toBe(times.length);
  fixture.open();
}

/** What a walk through all messages finds. */
function firstFrom(times: readonly number[], ms: number): number {
  const found = times.findIndex((time) => time >= ms);
  return found < 0 ? times.length : found;
}

function hourlySetBack(): number[] {
  const times = Array.from({ length: 100 }, (_, i) => T_MS + i * 1000);
  for (let i = 0; i < 300; i++) times.push(T_MS - HOUR_MS + i * 1000);
  return times;
}

for (const format of ["this release", "an earlier release"]) {
  test(`after the clock was set back by an hour, a time finds the first message that fits, in files of ${format}`, async () => {
    using fixture = new LogFixture({ maxBytesPerFile: 4000 });
    const times = hourlySetBack();
    for (const ms of times) publishAt(fixture, ms);
    if (format === "an earlier release") await writeTimes(fixture, times);
    for (const ms of [T_MS + 50_000, T_MS - HOUR_MS + 10_000, T_MS + 99_000, T_MS - 2 * HOUR_MS, T_MS + 100_000])
      expect([ms - T_MS, sequenceAtTime(fixture.log, ms)]).toEqual([ms - T_MS, firstFrom(times, ms)]);
    // The log goes on in order of time.
    await fixture.reopen();
    times.push(T_MS + HOUR_MS);
    publishAt(fixture, T_MS + HOUR_MS);
    expect(sequenceAtTime(fixture.log, T_MS + 200_000)).toBe(400);
  });

  const seed = seedFromEnvironment();
  test(`however the clock was set, a time finds the first message that fits, in files of ${format} (BUNSQ_SEED=${seed})`, async () => {
    for (let round = 0; round < 8; round++) {
      const random = Random.forPart(seed, round);
      using fixture = new LogFixture({ maxBytesPerFile: random.pick([500, 4000, 1024 * 1024]) });
      let now = T_MS;
      const times: number[] = [];
      for (let i = 0; i < 300; i++) {
        now += random.next() < 0.03 ? random.int(-200_000, 200_000) : random.int(2, 1000);
        times.push(now);
        publishAt(fixture, now);
      }
      if (format === "an earlier release") await writeTimes(fixture, times);
      const [low, high] = [Math.min(...times), Math.max(...times)];
      for (let i = 0; i < 200; i++) {
        const ms = random.next() < 0.5 ? random.pick(times) : random.int(low - 10, high + 10);
        expect([round, ms, sequenceAtTime(fixture.log, ms)]).toEqual([round, ms, firstFrom(times, ms)]);
      }
    }
  });
}
