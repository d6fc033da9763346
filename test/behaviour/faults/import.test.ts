import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { StartError } from "../../../src/base/start-error.ts";
import { openBroker } from "../../../src/broker/broker.ts";
import { startImport } from "../../../src/broker/migration/nsqd-import.ts";
import { systemDisk } from "../../../src/broker/storage/disk/disk.ts";
import { systemFiles } from "../../../src/nsqd-data/files.ts";
import { formatNsqdMetadata } from "../../../src/nsqd-data/nsqd-metadata.ts";
import { messages, putQueue, records } from "../../nsqd-data/support/queue-fixture.ts";
import { FailingDatabase } from "../../support/failing-database.ts";
import { defaultOptions, MemoryLogger, removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { readBySequence } from "../../support/log-fixture.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";

/** How many failures are tried of the calls that an import makes. */
const FAILURES = process.env.BUNSQ_FAULT_CELLS === "all" ? Number.POSITIVE_INFINITY : 25;
const MESSAGES = 300;

const seed = seedFromEnvironment();

/** Has the call with a number fail, of all that are made to the disk and to SQLite, until it is disposed of. */
class FailingImport implements Disposable {
  calls = 0;
  failed = "";
  private readonly real = { disk: { ...systemDisk }, files: { ...systemFiles } };
  private readonly database: FailingDatabase;

  constructor(
    private readonly failing: number,
    private readonly code: string,
  ) {
    this.watch(systemDisk, this.real.disk);
    this.watch(systemFiles, this.real.files);
    this.database = new FailingDatabase((call) => this.count(`SQL ${call}`, "SQLITE_IOERR"));
  }

  [Symbol.dispose](): void {
    Object.assign(systemDisk, this.real.disk);
    Object.assign(systemFiles, this.real.files);
    this.database[Symbol.dispose]();
  }

  private watch(target: object, real: object): void {
    for (const [name, method] of Object.entries(real)) {
      // That a file cannot be closed is no failure of the disk. A sync and a removal off the loop tell theirs to a callback.
      if (["close", "sync", "syncDirectory", "removeLater"].includes(name)) continue;
      const value = (...values: unknown[]) => {
        this.count(name, this.code);
        return Reflect.apply(method, target, values);
      };
      Object.assign(target, { [name]: value });
    }
  }

  private count(name: string, code: string): void {
    if (this.calls++ !== this.failing) return;
    this.failed = name;
    throw Object.assign(new Error(`${code}: simulated, ${name}`), { code });
  }
}

function nsqdData(): string {
  const folder = temporaryFolder();
  const channels = ["a", "b"].map((name) => ({ name, paused: false }));
  writeFileSync(join(folder, "nsqd.dat"), formatNsqdMetadata([{ name: "t", paused: false, channels }]));
  for (const prefix of ["t", "t:a", "t:b"]) {
    const bytes = records(messages(MESSAGES, 50, prefix === "t" ? MESSAGES : 0));
    putQueue(folder, { 0: bytes }, `${MESSAGES}\n0,0\n0,${bytes.length}\n`, prefix);
  }
  return folder;
}

/** Imports, with one call that fails, and again until nothing fails. @returns how many calls it makes, and what failed */
async function importWith(failing: number, code = "EIO"): Promise<{ calls: number; failed: string }> {
  const dataPath = nsqdData();
  const log = new MemoryLogger();
  const options = defaultOptions({ dataPath });
  try {
    using fault = new FailingImport(failing, code);
    let problems = 0;
    const run = async () => {
      problems += (await startImport(options, log).result)?.problems ?? 0;
    };
    try {
      await run();
    } catch (error) {
      expect(error).toBeInstanceOf(StartError);
    }
    const { calls } = fault;
    // What a start does after one that was refused.
    await run();
    fault[Symbol.dispose]();
    const broker = openBroker(options, log);
    const topic = broker.registry.topic("t");
    const bodies = [...readBySequence(topic.partitions[0].log).values()];
    const depths = ["a", "b"].map((name) => topic.channels.get(name)?.depth);
    await broker.close();
    expect([...new Set(bodies)].length, `${fault.failed}: ${log.lines.join("\n")}`).toBe(bodies.length);
    expect([bodies.length, ...depths, problems], `${fault.failed}: ${log.lines.join("\n")}`).toEqual([
      2 * MESSAGES,
      2 * MESSAGES,
      2 * MESSAGES,
      0,
    ]);
    return { calls, failed: fault.failed };
  } finally {
    removeFolder(dataPath);
  }
}

test("an import in which a call fails is refused, and the next one has all messages once", async () => {
  const random = Random.forPart(seed, 0);
  const { calls } = await importWith(Number.POSITIVE_INFINITY);
  const all = Array.from({ length: calls }, (_, failing) => failing);
  const chosen = all.length <= FAILURES ? all : all.filter(() => random.chance(FAILURES / calls));
  for (const failing of chosen) {
    try {
      await importWith(failing, random.pick(["EIO", "ENOSPC", "EMFILE", "EACCES"]));
    } catch (error) {
      throw new Error(`call ${failing} of ${calls}, BUNSQ_SEED=${seed}`, { cause: error });
    }
  }
}, 120_000);
