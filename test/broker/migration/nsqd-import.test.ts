import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { StartInterrupted } from "../../../src/base/start-error.ts";
import { type Broker, openBroker } from "../../../src/broker/broker.ts";
import { type ImportOptions, type ImportResult, refuseUnfinishedImport, startImport } from "../../../src/broker/migration/nsqd-import.ts";
import type { BrokerOptions } from "../../../src/broker/options.ts";
import { startBroker } from "../../../src/broker/server.ts";
import { sequenceAtTime, visitRecords } from "../../../src/broker/storage/log/records.ts";
import { MetadataStore } from "../../../src/broker/storage/metadata/metadata-store.ts";
import { decodeProgress } from "../../../src/broker/topics/channel/progress.ts";
import { runCheck } from "../../../src/cli/check.ts";
import { formatNsqdMetadata, type NsqdTopic } from "../../../src/nsqd-data/nsqd-metadata.ts";
import { type Message, putQueue, records } from "../../nsqd-data/support/queue-fixture.ts";
import { defaultOptions, MemoryLogger, messages, removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { RawClient } from "../../support/raw-client.ts";

let folder = "";
let log: MemoryLogger;
beforeEach(() => {
  folder = temporaryFolder();
  log = new MemoryLogger();
});
afterEach(() => removeFolder(folder));

/** Message number `n`: its id and its time ascend with `n`. */
function numbered(n: number, attempts = 0, text = `m${n}`): Message {
  return {
    id: (0x1800_0000_0000_0000n + BigInt(n)).toString(16),
    timestampNs: 1_700_000_000_000_000_000n + BigInt(n) * 1_000_000n,
    attempts,
    body: Buffer.from(text),
  };
}

/** Puts a queue with one file and its metadata into the folder. */
function put(prefix: string, list: Message[]): void {
  const bytes = records(list);
  putQueue(folder, { 0: bytes }, `${list.length}\n0,0\n0,${bytes.length}\n`, prefix);
}

function putMetadata(...topics: NsqdTopic[]): void {
  writeFileSync(join(folder, "nsqd.dat"), formatNsqdMetadata(topics));
}

function topic(name: string, channels: string[], paused = false): NsqdTopic {
  return { name, paused, channels: channels.map((channel) => ({ name: channel, paused: false })) };
}

function takeOver(how: ImportOptions = {}): Promise<ImportResult | undefined> {
  return startImport(defaultOptions({ dataPath: folder }), log, how).result;
}

/** Bodies and attempts that each channel delivers, in this order; and the bodies in each topic's log. */
async function deliveries(unpause = false): Promise<Record<string, string[]>> {
  const broker = openBroker(defaultOptions({ dataPath: folder, maxRdyCount: 100_000 }), log);
  broker.listen();
  const found: Record<string, string[]> = {};
  try {
    for (const one of broker.registry.topics.values()) {
      const bodies: string[] = [];
      visitRecords(
        one.partitions[0].log,
        one.partitions[0].log.startSequence,
        one.partitions[0].log.committedNext,
        ({ buffer, from, to }) => {
          bodies.push(buffer.toString("latin1", from + 34, to));
          return false;
        },
      );
      found[one.name] = bodies;
      if (unpause) one.unpause();
      for (const channel of one.channels.values()) {
        const client = await RawClient.connect(broker.tcpPort);
        await client.call(`SUB ${one.name} ${channel.name}`);
        const count = channel.paused ? 0 : channel.depth;
        if (count > 0) client.command("RDY 100000");
        const frames = await messages(client, count);
        found[`${one.name}:${channel.name}`] = frames.map(({ text, attempts }) => `${text}${attempts === 1 ? "" : ` ${attempts}`}`);
        client.close();
      }
    }
  } finally {
    await broker.close();
  }
  return found;
}

/** Starts a broker as the program does, and closes it. */
async function withServer(options: BrokerOptions, work: (broker: Broker) => Promise<void> | void): Promise<void> {
  const closes: (() => Promise<void> | void)[] = [];
  try {
    const { broker } = await startBroker(options, log, (close) => closes.push(close));
    await work(broker);
  } finally {
    for (const close of closes.reverse()) await close();
  }
}

test("a message that several channels have is one in the log, and each channel gets its own ones by id", async () => {
  putMetadata(topic("t", ["a", "b", "c"]), topic("lonely", []));
  put("t:a", [numbered(1), numbered(3), numbered(5), numbered(2)]);
  put("t:b", [numbered(3), numbered(4), numbered(2)]);
  put("t", [numbered(7), numbered(6)]);
  put("lonely", [numbered(2), numbered(1)]);
  expect(await takeOver()).toMatchObject({ topics: 2, channels: 3, messages: 9, problems: 0 });
  expect(await deliveries()).toEqual({
    lonely: ["m1", "m2"],
    t: ["m1", "m2", "m3", "m4", "m5", "m6", "m7"],
    "t:a": ["m1", "m2", "m3", "m5", "m6", "m7"],
    "t:b": ["m2", "m3", "m4", "m6", "m7"],
    "t:c": ["m6", "m7"],
  });
  expect(readdirSync(folder).sort()).toEqual(["bunsq-data", "nsqd-data-imported"]);
});

test("each channel keeps its own attempts, and the time of publishing stays", async () => {
  putMetadata(topic("t", ["a", "b"]));
  put("t:a", [numbered(1, 3), numbered(2, 1), numbered(3)]);
  put("t:b", [numbered(1), numbered(2, 65_000), numbered(3, 1)]);
  await takeOver();
  const found = await deliveries();
  expect(found["t:a"]?.sort()).toEqual(["m1 4", "m2 2", "m3"]);
  expect(found["t:b"]?.sort()).toEqual(["m1", "m2 65001", "m3 2"]);
  const broker = openBroker(defaultOptions({ dataPath: folder }), log);
  const [{ log: records }] = broker.registry.topic("t").partitions;
  const times: bigint[] = [];
  visitRecords(records, records.startSequence, records.committedNext, ({ buffer, from }) => {
    times.push(buffer.readBigInt64BE(from + 8));
    return false;
  });
  await broker.close();
  expect(times).toEqual([1, 2, 3].map((n) => numbered(n).timestampNs));
});

test("what repeats after a kill of nsqd comes once", async () => {
  putMetadata(topic("t", ["a", "b"]));
  put("t:a", [numbered(1), numbered(2), numbered(1, 2), numbered(3), numbered(3)]);
  put("t", [numbered(3), numbered(4), numbered(4)]);
  await takeOver();
  expect((await deliveries())["t:a"]?.sort()).toEqual(["m1 3", "m2", "m3", "m4"]);
});

test("what a paused topic holds back comes after the pause only, whatever its ids are", async () => {
  putMetadata({
    ...topic("t", ["a", "b"], true),
    channels: [
      { name: "a", paused: false },
      { name: "b", paused: true },
    ],
  });
  put("t:a", [numbered(3), numbered(5)]);
  put("t:b", [numbered(5)]);
  put("t", [numbered(1), numbered(4), numbered(5)]);
  await takeOver();
  expect(await deliveries()).toEqual({ t: ["m3", "m5", "m1", "m4"], "t:a": ["m3", "m5"], "t:b": [] });
  const store = new MetadataStore(join(folder, "bunsq-data"));
  const [row] = store.topics();
  expect(store.channels(row?.id ?? 0).map(({ name, paused }) => [name, paused])).toEqual([
    ["a", false],
    ["b", true],
  ]);
  store.close();
  const found = await deliveries(true);
  // What was delivered and not finished comes with the next attempt.
  expect(found["t:a"]?.sort()).toEqual(["m1", "m3 2", "m4", "m5 2"]);
});

describe("a data path that is not whole", () => {
  test("is taken as far as it can be read, and the log says what is wrong", async () => {
    putMetadata(topic("t", ["a"]), topic("u", ["x"]));
    put("t:a", [numbered(1), numbered(2), numbered(3)]);
    truncateSync(join(folder, "t:a.diskqueue.000000.dat"), 3 * 32 - 1);
    putQueue(folder, { 0: records([numbered(1), numbered(2)]) }, undefined, "u:x");
    put("t:unlisted", [numbered(4)]);
    put("t#ephemeral:kept", [numbered(1)]);
    writeFileSync(join(folder, "u.diskqueue.000003.dat.bad"), records([numbered(9)]));
    const result = await takeOver();
    expect(result?.messages).toBe(5);
    const lines = log.matching(/^WARNING/).join("\n");
    for (const text of [
      "t:a.diskqueue.000000.dat ends",
      "no whole message",
      "u:x.diskqueue.meta.dat is missing",
      "t:unlisted is not in nsqd.dat",
      "t#ephemeral:kept is ephemeral",
      "u.diskqueue.000003.dat.bad could not be read by nsqd",
    ])
      expect(lines).toContain(text);
    expect(await deliveries()).toMatchObject({ "t:a": ["m1", "m2"], "t:unlisted": ["m4"], "u:x": ["m1", "m2"] });
    expect(existsSync(join(folder, "nsqd-data-imported", "u.diskqueue.000003.dat.bad"))).toBe(true);
  });

  test("may lack nsqd.dat", async () => {
    put("t:a", [numbered(1)]);
    put("t", [numbered(2)]);
    await takeOver();
    expect(log.matching(/has no nsqd\.dat/)).toHaveLength(1);
    expect(await deliveries()).toEqual({ t: ["m1", "m2"], "t:a": ["m1", "m2"] });
  });

  test("may have an nsqd.dat that is torn", async () => {
    put("t:a", [numbered(1)]);
    writeFileSync(join(folder, "nsqd.dat"), '{"topics":[{"name":"t"');
    await takeOver();
    expect(log.matching(/nsqd\.dat is not valid JSON; topics and channels are taken from the names/)).toHaveLength(1);
    expect(await deliveries()).toMatchObject({ "t:a": ["m1"] });
  });

  test("may be of a newer nsqd", async () => {
    writeFileSync(join(folder, "nsqd.dat"), formatNsqdMetadata([topic("t", ["a"])]).replace('"1.3.0"', '"1.9.0"'));
    put("t:a", [numbered(1)]);
    await takeOver();
    expect(log.matching(/nsqd\.dat is of nsqd "1\.9\.0"/)).toHaveLength(1);
    expect(await deliveries()).toMatchObject({ "t:a": ["m1"] });
  });
});

describe("an import that is interrupted", () => {
  test.each([0, Number.POSITIVE_INFINITY])(
    "at any moment goes on, and nothing is lost or comes twice (a checkpoint after %d ms)",
    async (checkpointMs) => {
      const fill = () => {
        putMetadata(topic("t", ["a", "b"]), topic("held", ["x"], true), topic("lonely", []));
        const all = Array.from({ length: 36 }, (_, i) => numbered(i));
        put(
          "t:a",
          all.filter((_, i) => i % 3 !== 0),
        );
        put("t:b", [...all.slice(15), ...all.slice(0, 5)]);
        put(
          "t",
          Array.from({ length: 10 }, (_, i) => numbered(100 + i)),
        );
        put("held:x", all.slice(0, 10));
        put("held", all.slice(5, 20));
        put("lonely", all);
      };
      fill();
      const tuning = { windowBytes: 120, checkpointMs };
      await takeOver({ tuning });
      const wanted = await deliveries();
      let interrupted = 0;
      for (let moment = 1; ; moment++) {
        removeFolder(folder);
        folder = temporaryFolder();
        fill();
        let breaths = 0;
        const first = await takeOver({ tuning, onBreath: (stop) => ++breaths === moment && stop() }).catch((error: unknown) => error);
        if (!(first instanceof Error)) break;
        expect(first).toBeInstanceOf(StartInterrupted);
        interrupted++;
        expect(() => refuseUnfinishedImport(folder)).toThrow("is not finished");
        await takeOver({ tuning });
        expect(() => refuseUnfinishedImport(folder)).not.toThrow();
        // All moments of a run take long, and each one's deliveries are checked where the logs could differ.
        expect(await deliveries()).toEqual(wanted);
      }
      expect(interrupted).toBeGreaterThan(20);
    },
    60_000,
  );
});

test("data of a broker is kept, and what its topics wait for goes to the channels of nsqd, too", async () => {
  const earlier = openBroker(defaultOptions({ dataPath: folder }), log);
  const publish = (name: string, text: string, delayMs = 0) =>
    earlier.publishing.publish(earlier.registry.topic(name).partitions[0], "", Buffer.from(text), delayMs);
  earlier.registry.topic("t").channel("a");
  earlier.registry.topic("t").channel("other");
  await publish("t", "earlier");
  await publish("waiting", "earlier");
  await publish("t", "deferred", 3_600_000);
  await publish("waiting", "deferred", 3_600_000);
  await earlier.close();
  putMetadata(topic("t", ["a", "b"]), topic("waiting", ["x", "y"]));
  put("t:a", [numbered(1)]);
  put("t:b", [numbered(2)]);
  put("t", [numbered(3)]);
  put("waiting:x", [numbered(1)]);
  await takeOver();
  expect(await deliveries()).toEqual({
    t: ["earlier", "m1", "m2", "m3"],
    "t:a": ["earlier", "m1", "m3"],
    "t:b": ["m2", "m3"],
    "t:other": ["earlier", "m3"],
    waiting: ["earlier", "m1"],
    "waiting:x": ["earlier", "m1"],
    "waiting:y": ["earlier"],
  });
  const later = openBroker(defaultOptions({ dataPath: folder }), log);
  const deferred = [...later.registry.channelPartitions.values()].map((one) => `${one.partition.name}:${one.name} ${one.deferredCount}`);
  await later.close();
  expect(deferred.sort()).toEqual(["t:a 1", "t:b 0", "t:other 1", "waiting:x 1", "waiting:y 1"]);
});

test("channels that lack every other message keep a short list of what they finished", async () => {
  putMetadata(topic("t", ["a", "b"]));
  const all = Array.from({ length: 20_000 }, (_, i) => numbered(i));
  put("t:a", all);
  put(
    "t:b",
    all.filter((_, i) => i % 2 === 0),
  );
  await takeOver({ tuning: { windowBytes: 128 * 1024 } });
  const store = new MetadataStore(join(folder, "bunsq-data"));
  const [row] = store.topics();
  const ranges = store.channels(row?.id ?? 0).map(({ progress, floor }) => decodeProgress(progress, floor).finished.length);
  store.close();
  expect(ranges[0]).toBe(0);
  expect(ranges[1]).toBeLessThan(5000);
  const found = await deliveries();
  expect(new Set(found["t:a"]).size).toBe(20_000);
  expect(found["t:b"]).toHaveLength(10_000);
  expect(new Set(found["t:b"])).toEqual(new Set(all.filter((_, i) => i % 2 === 0).map(({ body }) => body.toString())));
});

test("a large body, and a topic with many segments, come over", async () => {
  const list = [numbered(1, 0, "x".repeat(3_000_000)), ...Array.from({ length: 200 }, (_, i) => numbered(i + 2, 0, `${i} `.repeat(500)))];
  putMetadata(topic("t", ["a"]));
  put("t:a", list);
  await startImport(defaultOptions({ dataPath: folder, maxBytesPerFile: 50_000 }), log).result;
  expect((await deliveries())["t:a"]).toEqual(list.map(({ body }) => body.toString()));
});

test("another import is possible when nsqd has run on the path again", async () => {
  for (const name of ["nsqd-data-imported", "nsqd-data-imported-2"]) {
    putMetadata(topic("t", ["a"]));
    put("t:a", [numbered(1)]);
    expect(await takeOver()).toMatchObject({ folder: join(folder, name) });
    expect(await takeOver()).toBeUndefined();
  }
  expect(await deliveries()).toMatchObject({ "t:a": ["m1", "m1"] });
});

test("a seek by time finds imported messages by the time of their publishing", async () => {
  putMetadata(topic("t", ["a"]));
  put(
    "t:a",
    Array.from({ length: 3000 }, (_, i) => numbered(i, 0, `m${i} `.padEnd(500, "x"))),
  );
  await takeOver({ tuning: { windowBytes: 100_000 } });
  const broker = openBroker(defaultOptions({ dataPath: folder }), log);
  expect(sequenceAtTime(broker.registry.topic("t").partitions[0].log, 1_700_000_000_000 + 2000)).toBe(2000);
  await broker.close();
});

describe("a data path with files of nsqd", () => {
  test("is named by bunsq check", async () => {
    putMetadata(topic("t", ["a"]));
    put("t:a", [numbered(1)]);
    let text = "";
    const check = () => runCheck([folder], (part) => (text += part));
    expect(await check()).toBe(2);
    expect(text).toContain("has 3 files of nsqd with 1 topics and 32 bytes of messages: a broker imports them when it starts");
    await openBroker(defaultOptions({ dataPath: folder }), log).close();
    text = "";
    expect(await check()).toBe(0);
    expect(text).toContain("has 3 files of nsqd with 1 topics and 32 bytes of messages; they are not checked");
    await takeOver();
    text = "";
    expect(await check()).toBe(0);
    expect(text).not.toContain("nsqd");
  });

  test("is left alone with --ignore-nsqd-data, unless an import has begun", async () => {
    putMetadata(topic("t", ["a"]));
    put("t:a", [numbered(1)]);
    const options = defaultOptions({ dataPath: folder, ignoreNsqdData: true });
    const before = readFileSync(join(folder, "nsqd.dat"), "utf8");
    await withServer(options, (broker) => expect(broker.registry.topics.size).toBe(0));
    expect(log.matching(/WARNING: .* 3 files of nsqd .* they are ignored/)).toHaveLength(1);
    expect(readFileSync(join(folder, "nsqd.dat"), "utf8")).toBe(before);
    await takeOver({ onBreath: (stop) => stop() }).catch(() => {});
    expect(withServer(options, () => {})).rejects.toThrow("is not finished");
    await withServer({ ...options, ignoreNsqdData: false }, (broker) => expect(broker.registry.topics.size).toBe(1));
  });

  test("is locked while a broker runs on it", async () => {
    await withServer(defaultOptions({ dataPath: folder }), async () => {
      await expect(withServer(defaultOptions({ dataPath: folder }), () => {})).rejects.toThrow(`${folder} is in use by another process`);
      let text = "";
      expect(await runCheck([folder], (part) => (text += part))).toBe(2);
      expect(text).toContain("is in use by another process");
    });
    await withServer(defaultOptions({ dataPath: folder }), () => {});
  });
});
