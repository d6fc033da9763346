import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Broker, openBroker } from "../../../src/broker/broker.ts";
import type { Bucket } from "../../../src/broker/storage/deferred/bucket.ts";
import { runCheck } from "../../../src/cli/check.ts";
import { NO_BYTES } from "../../../src/frame/header.ts";
import { bodyOf, headerFor } from "../../support/headed-message.ts";
import { defaultOptions, InProcess, MemoryLogger, removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { readBySequence } from "../../support/log-fixture.ts";
import type { Random } from "../../support/random.ts";
import { until } from "../../support/server.ts";

const HOUR_MS = 3_600_000;
const OPTIONS = { maxBytesPerFile: 2000 };
/** Topics whose single messages of one turn go to the journal. */
const JOURNALED_TOPICS = 6;

export type End = "kill" | "clean stop";

/** Data paths that a broker left, one by a kill and one by a clean stop, and what was acknowledged before. */
export interface Templates {
  path: Record<End, string>;
  published: Set<string>;
  [Symbol.dispose](): void;
}

export async function makeTemplates(): Promise<Templates> {
  const server = InProcess.start(OPTIONS);
  const { broker } = server;
  const published = new Set<string>();
  const publish = (topic: string, key: string, deferMs: number) => {
    const body = `<${topic} ${published.size} ${"x".repeat(40)}>`;
    // Every other message of each partition has a header.
    const header = published.size % 4 < 2 ? NO_BYTES : headerFor(body);
    published.add(body);
    return broker.publishing.publish(broker.registry.topic(topic).nextPartition(), key, Buffer.from(body), deferMs, undefined, header);
  };
  const channel = broker.registry.topicWith("orders", 2).channel("a");
  for (let i = 0; i < 100; i++) await publish("orders", "", 0);
  for (let sequence = 0; sequence < 10; sequence++) await broker.messageControl.requeue(channel.partitions[0], sequence, HOUR_MS);
  for (let sequence = 0; sequence < 4; sequence++) await broker.messageControl.finish(channel.partitions[0], sequence);
  for (let i = 0; i < 8; i++) await publish("orders", "", HOUR_MS);
  for (let i = 0; i < 10; i++) await publish("keyed", `key ${i}`, 0);
  const journaled = Array.from({ length: JOURNALED_TOPICS }, (_, i) => `journaled-${i}`);
  for (let round = 0; round < 5; round++) await Promise.all(journaled.map((topic) => publish(topic, "", 0)));
  broker.deferred.notes.noteAll();
  broker.keys.noteFile();
  for (let i = 0; i < 2; i++) {
    // A change, so that a backup is due.
    broker.metadata.setClockStep(i);
    await broker.metadataBackup.renew(broker.turn.nowMs);
  }
  const path = { kill: temporaryFolder(), "clean stop": temporaryFolder() };
  await until("the journal is used", () => existsSync(join(server.dataPath, "bunsq-data", "journal")));
  cpSync(server.dataPath, path.kill, { recursive: true });
  await broker.close();
  cpSync(server.dataPath, path["clean stop"], { recursive: true });
  await server[Symbol.asyncDispose]();
  return {
    path,
    published,
    [Symbol.dispose]() {
      for (const folder of Object.values(path)) removeFolder(folder);
    },
  };
}

/** A file of each kind. */
export const KINDS: Record<string, (folder: string) => string> = {
  journal: (folder) => join(folder, "journal"),
  bucket: (folder) => largest(join(folder, "deferred"), ".msg"),
  "status file": (folder) => largest(join(folder, "deferred"), ".done"),
  "keys file": (folder) => largest(join(folder, "keys"), ".keys"),
  "metadata store": (folder) => join(folder, "catalogue.sqlite"),
  "write-ahead log of the store": (folder) => join(folder, "catalogue.sqlite-wal"),
  backup: (folder) => join(folder, "topics", "catalogue.copy"),
  "first segment log": (folder) => files(ordersIn(folder), ".log")[0],
  "inner segment log": (folder) => files(ordersIn(folder), ".log")[1],
  "last segment log": (folder) => files(ordersIn(folder), ".log").at(-1) as string,
  "first index": (folder) => files(ordersIn(folder), ".idx")[0],
  "inner index": (folder) => files(ordersIn(folder), ".idx")[1],
  "last index": (folder) => files(ordersIn(folder), ".idx").at(-1) as string,
};

/** What is done to a file. */
export const DAMAGES: Record<string, (path: string, random: Random) => void> = {
  "one bit in its header": (path) => flip(path, 5),
  "one bit in its body": (path) => flip(path, bodyOffset(path)),
  "cut to 0": (path) => writeFileSync(path, ""),
  // In the middle of an entry: an index without its last entries looks like one that a kill left.
  "cut in half": (path) => writeFileSync(path, readFileSync(path).subarray(0, Math.floor(statSync(path).size / 2) | 1)),
  "its last 100 bytes cut": (path) => writeFileSync(path, readFileSync(path).subarray(0, Math.max(0, statSync(path).size - 100))),
  zeros: (path) => writeFileSync(path, Buffer.alloc(statSync(path).size)),
  garbage: (path, random) => writeFileSync(path, Buffer.from(Array.from({ length: statSync(path).size }, () => random.int(0, 255)))),
  removed: (path) => rmSync(path),
  "a folder in its place": (path) => {
    rmSync(path);
    mkdirSync(path);
    writeFileSync(join(path, "README"), "an operator's note");
  },
};

/** Where a flipped bit hits what the file is for. */
function bodyOffset(path: string): number {
  const bytes = readFileSync(path);
  if (/catalogue/.test(path)) return Math.max(bytes.lastIndexOf("journaled-3"), 200);
  if (path.endsWith("journal")) return bytes.indexOf("<journaled-3") + 5;
  if (/\.(log|msg)$/.test(path)) return bytes.indexOf("xxx", bytes.length / 2);
  return Math.floor(bytes.length * 0.6);
}

function flip(path: string, at: number): void {
  const bytes = readFileSync(path);
  bytes[at] ^= 4;
  writeFileSync(path, bytes);
}

function ordersIn(folder: string): string {
  const [name] = readdirSync(join(folder, "topics")).filter((one) => one.endsWith("-orders"));
  return join(folder, "topics", name as string);
}

function files(folder: string, ending: string): string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith(ending))
    .sort()
    .map((name) => join(folder, name));
}

function largest(folder: string, ending: string): string {
  return files(folder, ending).sort((a, b) => statSync(b).size - statSync(a).size)[0];
}

/** A copy of a data path, to be damaged. */
export class DamagedPath implements Disposable {
  readonly path = temporaryFolder();
  readonly folder = join(this.path, "bunsq-data");

  constructor(template: string) {
    cpSync(template, this.path, { recursive: true });
  }

  async check(...flags: string[]): Promise<{ code: number; text: string }> {
    let text = "";
    const code = await runCheck([...flags, this.path], (part) => {
      text += part;
    });
    return { code, text };
  }

  /** Starts a broker on the path. @returns what it would still deliver, and its lines */
  async start(): Promise<{ bodies: Set<string>; log: MemoryLogger; damaged: number }> {
    const log = new MemoryLogger();
    const broker = openBroker(defaultOptions({ dataPath: this.path, ...OPTIONS }), log);
    try {
      const bodies = deliverable(broker);
      const files = [...broker.damage.counts.values()].reduce((sum, count) => sum + count, 0);
      return { bodies, log, damaged: files + broker.registry.corruptRegions };
    } finally {
      await broker.close();
    }
  }

  /** Files and folders that were set aside. */
  get kept(): string[] {
    return readdirSync(this.folder, { recursive: true, encoding: "utf8" }).filter((name) => /\.damaged(-\d+)?$/.test(name));
  }

  [Symbol.dispose](): void {
    removeFolder(this.path);
  }
}

/** The bodies in all logs and in the deferred store. */
function deliverable(broker: Broker): Set<string> {
  const bodies = new Set<string>();
  for (const { log } of broker.registry.partitions) for (const body of readBySequence(log).values()) bodies.add(body);
  const { buckets } = broker.deferred as unknown as { buckets: Iterable<Bucket> };
  for (const bucket of buckets) {
    bucket.scan(bucket.movedTo, Number.POSITIVE_INFINITY, (entry) => {
      const frame = Buffer.alloc(entry.frameBytes);
      bucket.readFrame(frame, 0, entry.offset, entry.frameBytes);
      bodies.add(bodyOf(frame, 0, frame.length));
    });
  }
  return bodies;
}
