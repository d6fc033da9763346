import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import type { Broker } from "../../../src/broker/broker.ts";
import type { SettingsJson } from "../../../src/broker/topics/channel/channel-settings.ts";
import { removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import { abandon, openOn, restoreStore } from "./support/cut-broker.ts";
import { FaultDisk } from "./support/fault-disk.ts";

const ROUNDS = 20;
const CHANGES: readonly SettingsJson[] = [
  { order: "key" },
  { order: "partition" },
  { order: "none" },
  { max_attempts: 5, dead_letter_topic: "d" },
];
const FULL = "PRAGMA synchronous = FULL";
const NORMAL = "PRAGMA synchronous = NORMAL";

/** Learns when the metadata store, which is a real file, has synced all of its changes: that is what a power cut leaves at least. */
class SyncedStore implements Disposable {
  /** The content of the store at its last sync. */
  bytes: Buffer | undefined;
  private readonly run = Database.prototype.run;

  constructor(serialize: () => Buffer) {
    const { run } = this;
    let isSyncing = false;
    const onRun = (sql: string) => {
      // The mode is FULL for the length of one change, which is synced with all that were before.
      if (sql === FULL) isSyncing = true;
      if (sql !== NORMAL || !isSyncing) return;
      isSyncing = false;
      this.bytes = serialize();
    };
    Database.prototype.run = function (this: Database, sql: string, ...rest: never[]) {
      const done = run.call(this, sql, ...rest);
      onRun(sql);
      return done;
    } as typeof run;
  }

  [Symbol.dispose](): void {
    Database.prototype.run = this.run;
  }
}

/** Changes settings, some of which are those that topics and channels are made with. @returns what a power cut leaves of the store */
function change({ registry, metadata }: Broker, random: Random): Buffer | undefined {
  using synced = new SyncedStore(() => metadata.serialize());
  for (const name of ["a", "b"]) registry.topic("t").channel(name);
  for (let step = random.int(1, 8); step > 0; step--) {
    const channel = registry.topic("t").channel(random.pick(["a", "b"]));
    const extended = { extended: random.chance(0.5), channelOrder: random.pick(["key", "none"] as const) };
    if (random.chance(0.3)) registry.topicWith("t", Math.max(registry.topic("t").partitions.length, random.int(1, 4)), extended);
    else channel.changeSettings(random.pick(CHANGES));
  }
  return synced.bytes;
}

test("a power cut undoes no change of settings that was carried out", () => {
  const seed = seedFromEnvironment();
  console.log(`settings over power cuts: BUNSQ_SEED=${seed}`);
  for (let round = 0; round < ROUNDS; round++) {
    const random = Random.forPart(seed, round);
    const dataPath = temporaryFolder();
    const disk = new FaultDisk();
    const broker = openOn(disk, dataPath, {});
    const store = change(broker, random);
    const promised = saidOf(broker);
    abandon(broker);
    restoreStore(dataPath, store ?? Buffer.alloc(0));
    const after = openOn(disk.afterCut(disk.moment, random), dataPath, {});
    expect(saidOf(after), `round ${round}`).toBe(promised);
    abandon(after);
    removeFolder(dataPath);
  }
});

/** What a broker says of the settings of the topic "t" and of its channels. */
function saidOf({ registry }: Broker): string {
  const topic = registry.topic("t");
  return [JSON.stringify(topic.settings), ...["a", "b"].map((name) => topic.channel(name).settings.encode())].join(" ");
}
