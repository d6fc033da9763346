import { afterAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync } from "node:fs";
import type { Durability } from "../../../src/broker/options.ts";
import { removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import { CutBroker, owed } from "./support/cut-broker.ts";

const MEMORY_FOLDER = "/dev/shm";
const TOPIC = "t";
const CHANNEL = "c";
const SYNC_TIMEOUT_MS = 1000;
/** What a power cut leaves is random, so it is tried this often. */
const CUTS = 10;

/** The files and folders whose syncs fail. */
const KINDS: Record<string, RegExp> = {
  "a log": /-t\/[^/]+\.log$/,
  "an index": /-t\/[^/]+\.idx$/,
  "a log's folder": /-t$/,
  "the folder of the logs": /topics$/,
  "a bucket": /-1000\.msg$/,
  "a wide bucket": /-64000\.msg$/,
  "status records": /\.done$/,
  "the buckets' folder": /deferred$/,
  keys: /\.keys$/,
  "the keys' folder": /keys$/,
  anything: /./,
};

const seed = seedFromEnvironment();
const folders: string[] = [];

afterAll(() => {
  for (const folder of folders) removeFolder(folder);
  console.log(`power cuts after syncs that failed: BUNSQ_SEED=${seed}`);
});

/** Only the metadata store is on a real disk; a file system in memory is best for it. */
function newDataPath(): string {
  const folder = existsSync(MEMORY_FOLDER) ? mkdtempSync(`${MEMORY_FOLDER}/bunsq-test-`) : temporaryFolder();
  folders.push(folder);
  return folder;
}

/** Publishes of every kind, and what became of them. */
class Publisher {
  readonly acknowledged = new Set<string>();
  readonly refused = new Set<string>();
  private count = 0;

  constructor(private readonly server: CutBroker) {}

  async publishAll(): Promise<void> {
    await this.publish({});
    await this.publish({ deferMs: 700 });
    await this.publish({ deferMs: 90_000 });
    for (const deferMs of [0, 700]) {
      const key = `key ${this.count}`;
      if ((await this.publish({ key, deferMs })) === "OK") continue;
      // The publish was refused, so its repetition is a publish like any other.
      await this.publish({ key, deferMs });
    }
  }

  async publish(options: { deferMs?: number; key?: string }): Promise<string> {
    const body = `${this.count++} ${JSON.stringify(options)}`;
    const outcome = await this.server.publish(TOPIC, body, options);
    (outcome === "OK" ? this.acknowledged : this.refused).add(body);
    return outcome;
  }
}

/** Cuts the power at a moment, a few times, and expects messages to be there after each start. */
function expectKept(server: CutBroker, moment: number, bodies: Iterable<string>, random: Random): void {
  for (let cut = 0; cut < CUTS; cut++) {
    const after = server.restart(server.disk.afterCut(moment, random));
    const left = owed(after.broker, TOPIC, CHANNEL);
    after.abandon();
    expect([...bodies].filter((body) => !left.has(body))).toEqual([]);
  }
}

let part = 0;
for (const [kind, path] of Object.entries(KINDS)) {
  for (const level of ["write", "fsync"] satisfies Durability[]) {
    for (const failures of [1, Number.POSITIVE_INFINITY]) {
      const often = failures === 1 ? "once" : "for a while";
      const random = Random.forPart(seed, part++);
      test(`${kind} cannot be synced ${often}: with ${level}, what is acknowledged survives a power cut, and the broker goes on (BUNSQ_SEED=${seed})`, async () => {
        const server = new CutBroker(newDataPath(), {
          durability: level,
          syncTimeoutMs: SYNC_TIMEOUT_MS,
          idempotencyWindowMs: 3_600_000,
          maxBytesPerFile: 3000,
        });
        const { disk, broker } = server;
        broker.registry.topic(TOPIC).channel(CHANNEL);
        const publisher = new Publisher(server);
        let left = failures;
        let failed = 0;
        disk.failsToSync = (synced) => {
          if (left === 0 || !path.test(synced)) return false;
          left--;
          failed++;
          return true;
        };
        await publisher.publishAll();
        // Deferred messages fall due, and a wide bucket moves to finer ones.
        await server.pass(60_000, 50);
        await publisher.publishAll();
        if (failures === 1) expect([failed, level === "fsync" || publisher.refused.size === 0]).toEqual([1, true]);
        else expect(failed).toBeGreaterThan(0);
        if (level === "fsync" && failures > 1) expect(broker.health.text).toStartWith("NOK");

        // With fsync, what was acknowledged while syncs failed is on the disk.
        const store = level === "fsync" ? [...publisher.acknowledged] : [];
        const moment = disk.moment;
        left = 0;
        await publisher.publishAll();
        await server.pass(3 * SYNC_TIMEOUT_MS, 50);
        expect(broker.health.text).toBe("OK");
        const healed = new Set(publisher.acknowledged);
        await publisher.publishAll();
        if (level === "fsync") expect(publisher.refused.size).toBeLessThanOrEqual(failures === 1 ? 7 : 14);
        const channel = broker.registry.topic(TOPIC).channel(CHANNEL);
        const count = channel.depth + channel.deferredCount;
        const endMoment = disk.moment;
        // A kill takes nothing that was written.
        const killed = server.kill();
        const all = owed(killed.broker, TOPIC, CHANNEL);
        killed.abandon();
        expect([...publisher.acknowledged].filter((body) => !all.has(body))).toEqual([]);
        expect(count).toBe(all.size);
        // A deferred message that was refused is not in the store any more.
        expect([...publisher.refused].filter((body) => /"deferMs":[1-9]/.test(body) && all.has(body))).toEqual([]);

        expectKept(server, moment, store, random);
        expectKept(server, endMoment, level === "fsync" ? publisher.acknowledged : healed, random);
      });
    }
  }
}
