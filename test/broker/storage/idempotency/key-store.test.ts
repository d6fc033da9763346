import { afterEach, beforeEach, expect, test } from "bun:test";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { StartError } from "../../../../src/base/start-error.ts";
import { systemDisk } from "../../../../src/broker/storage/disk/disk.ts";
import { FileNotes } from "../../../../src/broker/storage/file-notes.ts";
import { KeyStore } from "../../../../src/broker/storage/idempotency/key-store.ts";
import { deferredSequence } from "../../../../src/broker/storage/idempotency/unconfirmed-keys.ts";
import { MemoryLogger, removeFolder, temporaryFolder } from "../../../support/in-process.ts";

const NOW = 1_700_000_000_000;
const HEAD_BYTES = 24;

let folder: string;
let recovered: string[] = [];

beforeEach(() => {
  folder = temporaryFolder();
});

afterEach(() => removeFolder(folder));

/** The topics' ids as they are given today. */
const TODAY = 2 ** 50;

/** An entry, byte by byte as key-store.ts describes it. */
function entry(topicId: number, sequence: number, key: string): Buffer<ArrayBuffer> {
  const bytes = earlierEntry(topicId % 2 ** 32, sequence, key);
  bytes[5] = 1;
  bytes.writeDoubleLE(topicId, 8);
  bytes.writeUInt32LE(Bun.hash.crc32(bytes.subarray(4)), 0);
  return bytes;
}

/** An entry as releases with files of version 0 and 1 wrote it. */
function earlierEntry(topicId: number, sequence: number, key: string): Buffer<ArrayBuffer> {
  const bytes = Buffer.alloc(32 + key.length);
  bytes[4] = key.length;
  bytes.writeUInt32LE(topicId, 8);
  bytes.writeUInt32LE(Bun.hash.crc32(`topic ${topicId}`), 12);
  bytes.writeDoubleLE(sequence, 16);
  bytes.writeDoubleLE(NOW - 1000, 24);
  bytes.write(key, 32, "latin1");
  bytes.writeUInt32LE(Bun.hash.crc32(bytes.subarray(4)), 0);
  return bytes;
}

function head(version: number): Buffer {
  const bytes = Buffer.alloc(HEAD_BYTES);
  bytes.write("BQKY", 0);
  bytes.writeUInt32LE(version, 4);
  bytes.writeUInt32LE(Bun.hash.crc32(bytes.subarray(0, 20)), 20);
  return bytes;
}

/** Opens the files in the folder, and notes the messages that their keys belong to. */
function recover(): KeyStore<string> {
  recovered = [];
  const keys = new KeyStore<string>({ directory: folder, disk: systemDisk, logger: new MemoryLogger(), windowMs: 60_000, limit: 1000 });
  keys.recover(NOW, ({ id, nameCrc }, sequence) => {
    recovered.push(`${id < TODAY ? id : `today's ${id - TODAY}`}:${sequence}${nameCrc === undefined ? "" : " by name"}`);
    if (nameCrc !== undefined) expect(nameCrc).toBe(Bun.hash.crc32(`topic ${id}`));
    return true;
  });
  keys.close();
  return keys;
}

test("keys in files of earlier brokers, which have no head, are read and written to a file with one", () => {
  writeFileSync(`${folder}/1.keys`, Buffer.concat([earlierEntry(1, 7, "one"), earlierEntry(2, -1, "two")]));
  writeFileSync(`${folder}/2.keys`, Buffer.concat([head(1), earlierEntry(1, 8, "three")]));
  expect(recover().size).toBe(3);
  expect(recovered).toEqual(["1:7 by name", "2:-1 by name", "1:8 by name"]);
  expect(readdirSync(folder)).toEqual(["3.keys"]);
  expect(readFileSync(`${folder}/3.keys`)).toEqual(Buffer.concat([head(2), entry(1, 7, "one"), entry(2, -1, "two"), entry(1, 8, "three")]));
  expect(recover().size).toBe(3);
  expect(recovered).toEqual(["1:7", "2:-1", "1:8"]);
});

test("a file of a newer version is refused with an error that says what to do, and nothing is changed", () => {
  writeFileSync(`${folder}/1.keys`, entry(1, 7, "one"));
  writeFileSync(`${folder}/2.keys`, Buffer.concat([head(3), Buffer.from("unknown")]));
  expect(recover).toThrow(StartError);
  expect(recover).toThrow(
    `${folder}/2.keys was written by a newer bunsq (keys version 3, this one reads 2); start that version, or use another --data-path`,
  );
  expect(readdirSync(folder).toSorted()).toEqual(["1.keys", "2.keys"]);
  expect(readFileSync(`${folder}/1.keys`)).toEqual(entry(1, 7, "one"));
});

test("a file with a torn head has no keys and is removed", () => {
  for (let length = 0; length < HEAD_BYTES; length++) {
    writeFileSync(`${folder}/${length + 1}.keys`, head(2).subarray(0, length));
    expect(recover().size).toBe(0);
    expect(readdirSync(folder)).toBeEmpty();
  }
});

test("a damaged head costs no key, whichever byte of it is damaged, and a torn entry at the end costs only its own", () => {
  for (let at = 0; at < HEAD_BYTES; at++) {
    const damaged = head(2);
    damaged[at] ^= 0x10;
    writeFileSync(
      `${folder}/${100 * (at + 1)}.keys`,
      Buffer.concat([damaged, entry(1, at, "one"), entry(1, at + 1, "two"), entry(1, at + 2, "three").subarray(0, 34)]),
    );
    expect(recover().size).toBe(2);
    expect(recovered.slice(-2)).toEqual([`1:${at}`, `1:${at + 1}`]);
  }
});

test("a committed key is in a new file with a head, and one whose message is refused is cut off again", () => {
  const keys = recover();
  const topic = { id: TODAY + 1, ephemeral: false, failure: undefined };
  const refused = { id: TODAY + 2, ephemeral: false, failure: new Error("ENOSPC") };
  expect(keys.register(topic, "one", "OK", "repeated", 7, NOW - 1000)).toBeUndefined();
  expect(keys.register(refused, "two", "OK", "repeated", 3, NOW - 1000)).toBeUndefined();
  expect(keys.register(refused, "two", "another OK", "repeated", 3, NOW - 1000)).toBe("OK");
  keys.commit(NOW - 1000, undefined);
  keys.confirm(NOW - 1000);
  expect(keys.register(topic, "one", "OK", "repeated", 8, NOW)).toBe("repeated");
  expect(keys.register(refused, "two", "OK", "repeated", 3, NOW)).toBeUndefined();
  keys.close();
  expect(readFileSync(`${folder}/1.keys`)).toEqual(Buffer.concat([head(2), entry(TODAY + 1, 7, "one")]));
});

test("the key of a deferred publish is written again when a sync has covered the publish, and not when that was refused", () => {
  const keys = recover();
  const topic = { id: TODAY + 1, ephemeral: false, failure: undefined };
  const sequence = deferredSequence(41);
  expect(keys.register(topic, "one", "OK", "repeated", sequence, NOW - 1000)).toBeUndefined();
  keys.commit(NOW - 1000, undefined);
  keys.confirm(NOW - 1000);
  keys.syncBegins();
  keys.syncEnded(NOW, new Error("EIO"));
  const written = Buffer.concat([head(2), entry(TODAY + 1, -42, "one")]);
  expect(readFileSync(`${folder}/1.keys`)).toEqual(written);
  keys.syncBegins();
  keys.syncEnded(NOW, undefined);
  const confirmed = entry(TODAY + 1, -42, "one");
  confirmed[6] = 1;
  confirmed.writeUInt32LE(Bun.hash.crc32(confirmed.subarray(4)), 0);
  expect(readFileSync(`${folder}/1.keys`)).toEqual(Buffer.concat([written, confirmed]));
  keys.syncBegins();
  keys.syncEnded(NOW, undefined);
  keys.close();
  expect(readFileSync(`${folder}/1.keys`)).toEqual(Buffer.concat([written, confirmed]));
});

test("a key of an earlier build counts after a power cut only if its message can be looked for, and after a clean stop as if it was synced", () => {
  const found: [string, string[]][] = [];
  for (const lastRun of ["power cut", "unknown", "killed", "clean"] as const) {
    writeFileSync(`${folder}/1.keys`, Buffer.concat([head(2), entry(TODAY, 7, "log"), entry(TODAY, -1, "old"), entry(TODAY, -6, "new")]));
    const notes = new FileNotes(lastRun);
    const keys = new KeyStore<string>({
      ...{ directory: folder, disk: systemDisk, logger: new MemoryLogger(), notes },
      windowMs: 60_000,
      limit: 10,
    });
    keys.recover(NOW, () => true);
    keys.close();
    const topic = { id: TODAY, ephemeral: false, failure: undefined };
    found.push([lastRun, ["log", "old", "new"].filter((key) => keys.register(topic, key, "OK", "repeated", 9, NOW) === "repeated")]);
    for (const name of readdirSync(folder)) rmSync(`${folder}/${name}`);
  }
  expect(found).toEqual([
    ["power cut", ["log"]],
    ["unknown", ["log", "old"]],
    ["killed", ["log", "old", "new"]],
    ["clean", ["log", "old", "new"]],
  ]);
});

test("a damaged file is kept also when none of its keys counts", () => {
  const damagedHead = head(2);
  damagedHead[5]++;
  writeFileSync(`${folder}/1.keys`, Buffer.concat([damagedHead, entry(TODAY, 7, "a")]));
  const keys = new KeyStore<string>({ directory: folder, disk: systemDisk, logger: new MemoryLogger(), windowMs: 60_000, limit: 1000 });
  keys.recover(NOW, () => false);
  keys.close();
  expect(readdirSync(folder)).toEqual(["1.keys.damaged"]);
});

test("a full store takes as many keys as an empty one, and evicts the oldest", async () => {
  const limit = 200_000;
  const logger = new MemoryLogger();
  const keys = new KeyStore<string>({ directory: folder, disk: systemDisk, logger, windowMs: 60_000, limit });
  const topic = { id: TODAY, ephemeral: true, failure: undefined };
  const register = (n: number) => keys.register(topic, `key-${n}`, "first", "repeated", n, NOW);
  // Each key beyond the limit evicts one. If that took time for each that was evicted before, this would take a minute.
  for (let n = 0; n < 3 * limit; n++) {
    register(n);
    if (n % 1000 !== 999) continue;
    keys.commit(NOW, undefined);
    keys.confirm(NOW);
    await Bun.sleep(0);
  }
  expect(keys.size).toBe(limit);
  expect(register(2 * limit)).toBe("repeated");
  expect(register(2 * limit - 1)).toBeUndefined();
  keys.close();
}, 20_000);

test("a log that cannot be read leaves the keys of its own messages in doubt, and no others", () => {
  const [unread, other] = [TODAY + 1, TODAY + 2];
  const entries = [entry(unread, 5, "there"), entry(unread, 6, "gone"), entry(other, 7, "theirs")];
  writeFileSync(`${folder}/1.keys`, Buffer.concat([head(2), ...entries]));
  let isReadable = false;
  const keys = new KeyStore<string>({ directory: folder, disk: systemDisk, logger: new MemoryLogger(), windowMs: 60_000, limit: 1000 });
  keys.recover(NOW, ({ id }, sequence) => {
    if (id === unread && !isReadable) throw Object.assign(new Error("simulated"), { code: "EIO" });
    return sequence !== 6;
  });
  expect(keys.failure).toBeUndefined();
  expect(keys.find({ id: other }, "theirs", "repeat", NOW)).toBe("repeat");
  expect(keys.doubtOf({ id: other }, "theirs")).toBeUndefined();
  for (const key of ["there", "gone"]) expect(keys.doubtOf({ id: unread }, key)?.message).toBe("simulated");
  expect(keys.doubtOf({ id: unread }, "new")).toBeUndefined();
  isReadable = true;
  for (const key of ["there", "gone"]) expect(keys.doubtOf({ id: unread }, key)).toBeUndefined();
  expect(keys.find({ id: unread }, "there", "repeat", NOW)).toBe("repeat");
  expect(keys.find({ id: unread }, "gone", "repeat", NOW)).toBeUndefined();
});

test("keys of messages that a replicated topic loses are void, and stay it over a start; those below and of other topics count", () => {
  const open = () =>
    new KeyStore<string>({
      directory: folder,
      disk: systemDisk,
      logger: new MemoryLogger(),
      windowMs: 60_000,
      limit: 1000,
      isReplicated: (topicId) => topicId === 1,
    });
  const isKnown = (keys: KeyStore<string>, id: number, key: string) => keys.find({ id }, key, "known", NOW) === "known";
  const topic = { id: 1, ephemeral: false, failure: undefined, releasable: 0 };
  const other = { id: 2, ephemeral: false, failure: undefined };
  const keys = open();
  keys.recover(NOW, () => true);
  for (const [number, key] of ["a", "b", "c", "d"].entries()) keys.register(topic, key, "new", "known", number, NOW);
  keys.register(other, "c", "new", "known", 9, NOW);
  keys.commit(NOW, undefined);
  keys.confirm(NOW);
  keys.voidFrom(1, 3, NOW);
  expect(["a", "b", "c", "d"].map((key) => isKnown(keys, 1, key))).toEqual([true, true, true, false]);
  keys.close();
  // What an earlier run had given may be lost, too.
  const again = open();
  again.recover(NOW, () => true);
  again.voidFrom(1, 1, NOW);
  expect(["a", "b", "c", "d"].map((key) => isKnown(again, 1, key))).toEqual([true, false, false, false]);
  expect(isKnown(again, 2, "c")).toBe(true);
  again.close();
  const last = open();
  last.recover(NOW, () => true);
  expect(["a", "b", "c", "d"].map((key) => isKnown(last, 1, key))).toEqual([true, false, false, false]);
  last.close();
});

test("keys of a replicated topic go to a replica with their messages, and count there, over restarts and until they are void", () => {
  const replica = temporaryFolder();
  const open = (directory: string) =>
    new KeyStore<string>({
      ...{ directory, disk: systemDisk, logger: new MemoryLogger(), windowMs: 60_000, limit: 100_000 },
      isReplicated: () => true,
    });
  const isKnown = (keys: KeyStore<string>, key: string) => keys.find({ id: 1 }, key, "known", NOW) === "known";
  const topic = { id: 1, ephemeral: false, failure: undefined, releasable: 0 };
  const leader = open(folder);
  leader.recover(NOW, () => true);
  const names = Array.from({ length: 10 }, (_, i) => `key ${i}`);
  for (const [i, name] of names.entries()) leader.register(topic, name, "new", "known", 10 * i, NOW);
  // They can be read before their messages are written, since they are sent in one frame with them.
  leader.commit(NOW, undefined);
  expect(leader.keysBetween(1, 10, 31)).toMatchObject([1, 2, 3].map((i) => ({ key: `key ${i}`, sequence: 10 * i })));
  leader.confirm(NOW);
  const follower = open(replica);
  follower.recover(NOW, () => true);
  follower.take(topic, leader.keysBetween(1, 0, 1_000), NOW);
  follower.voidFrom(1, 80, NOW);
  const known = names.map((_, i) => i < 8);
  expect(names.map((name) => isKnown(follower, name))).toEqual(known);
  follower.close();
  const again = open(replica);
  again.recover(NOW, () => true);
  expect(names.map((name) => isKnown(again, name))).toEqual(known);
  again.close();
  leader.close();
  removeFolder(replica);
});

test("keys of publishes whose commit failed go to no replica", () => {
  const keys = new KeyStore<string>({ directory: folder, disk: systemDisk, logger: new MemoryLogger(), windowMs: 60_000, limit: 100 });
  keys.recover(NOW, () => true);
  const topic = { id: 1, ephemeral: false, failure: undefined as Error | undefined, releasable: 0 };
  keys.register(topic, "good", "new", "known", 0, NOW);
  keys.commit(NOW, undefined);
  keys.confirm(NOW);
  keys.register(topic, "bad", "new", "known", 1, NOW);
  keys.commit(NOW, undefined);
  topic.failure = new Error("the disk is full");
  keys.confirm(NOW);
  topic.failure = undefined;
  expect(keys.keysBetween(1, 0, 10)).toMatchObject([{ key: "good", sequence: 0 }]);
  expect(keys.register(topic, "bad", "new", "known", 1, NOW)).toBeUndefined();
  keys.close();
});

test("of keys that replicas have, the newest are kept for those that catch up", () => {
  const keys = new KeyStore<string>({
    directory: folder,
    disk: systemDisk,
    logger: new MemoryLogger(),
    windowMs: 60_000,
    limit: 1_000_000,
  });
  keys.recover(NOW, () => true);
  const topic = { id: 1, ephemeral: false, failure: undefined, releasable: 0 };
  for (let i = 0; i < 30_000; i++) {
    topic.releasable = Math.max(0, i - 5_000);
    keys.register(topic, `key ${i}`, "new", "known", i, NOW);
    keys.commit(NOW, undefined);
    keys.confirm(NOW);
  }
  const kept = keys.keysBetween(1, 0, 30_000);
  expect(kept.length).toBeGreaterThanOrEqual(5_000);
  expect(kept.length).toBeLessThan(15_000);
  expect(kept.at(-1)).toMatchObject({ key: "key 29999", sequence: 29_999 });
  expect(kept.every(({ sequence }, i) => sequence === 30_000 - kept.length + i)).toBe(true);
  keys.close();
});
