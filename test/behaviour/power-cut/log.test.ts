import { afterAll, expect, test } from "bun:test";
import { systemClock } from "../../../src/base/clock.ts";
import { ChunkPool } from "../../../src/broker/storage/log/chunk.ts";
import { LogFiles } from "../../../src/broker/storage/log/log-files.ts";
import { Recycler } from "../../../src/broker/storage/log/recycler.ts";
import { TopicLog } from "../../../src/broker/storage/log/topic-log.ts";
import { idPrefix } from "../../../src/frame/id.ts";
import { MemoryLogger } from "../../support/in-process.ts";
import { readAll, readBySequence, TIME, TOPIC_NUMBER } from "../../support/log-fixture.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import { FaultDisk } from "./support/fault-disk.ts";

/** Random workloads. The power is cut at each write of each of them. In every other one some syncs fail. */
const WORKLOADS = 10;
/** The share of syncs that fail there. */
const FAILING = 0.1;
const STEPS = 120;
/** Cuts at the same moment, because changes that were not synced can survive in many ways. */
const CUTS_PER_MOMENT = 2;
const DIRECTORY = "/data/topics/t";

const seed = seedFromEnvironment();
let cuts = 0;

afterAll(() => console.log(`power cuts of logs: ${cuts}, BUNSQ_SEED=${seed}`));

/** A log on a given disk, opened with what the metadata store would know about it. */
class Log {
  readonly logger = new MemoryLogger();
  readonly files: LogFiles;
  readonly log: TopicLog;

  constructor(disk: FaultDisk, known: { synced: number; floor: number }) {
    disk.makeDirectory("/data/topics");
    const recycler = new Recycler(disk, "/data/recycled", 4096);
    disk.syncDirectoryNow("/data");
    disk.syncDirectoryNow("/");
    this.files = new LogFiles(
      {
        disk,
        directory: DIRECTORY,
        topicId: TOPIC_NUMBER,
        topicNumber: TOPIC_NUMBER,
        topicName: "t",
        maxBytesPerFile: 1500,
        syncEvery: Number.POSITIVE_INFINITY,
        recycler,
        logger: this.logger,
        onCorrupt: () => {},
        syncedSequence: known.synced,
        neededSequence: known.floor,
      },
      known.floor,
    );
    this.files.syncsByItself = false;
    this.files.skipTo(Math.max(known.synced, known.floor));
    this.log = new TopicLog(new ChunkPool(1024 * 1024), systemClock, idPrefix(1, TOPIC_NUMBER), this.files, known.floor);
  }
}

/** What a broker may promise at a moment. */
interface State {
  moment: number;
  /** Messages below this sequence were acknowledged: their sync has ended. */
  acknowledged: number;
  /** Messages below this sequence are finished and may be removed. */
  floor: number;
  /** The synced sequence in the metadata store, which may be lower than the real one. */
  synced: number;
}

interface History {
  disk: FaultDisk;
  bodies: string[];
  /** The sequences after each commit. A commit must be kept or lost as a whole. */
  bounds: Set<number>;
  states: State[];
}

/** Appends, commits, syncs and trims as a broker with --durability=fsync would, and notes what it may promise. */
function play(random: Random, failing: number): History {
  const disk = new FaultDisk();
  let [acknowledged, floor, synced] = [0, 0, 0];
  const { log, files } = new Log(disk, { synced, floor });
  disk.failsToSync = () => failing > 0 && random.chance(failing);
  const history: History = { disk, bodies: [], bounds: new Set([0]), states: [] };
  const note = () => history.states.push({ moment: disk.moment, acknowledged, floor, synced });
  note();
  for (let step = 0; step < STEPS; step++) {
    const what = random.next();
    if (what < 0.55) {
      for (let count = random.pick([1, 1, 2, 5, 20]); count > 0; count--) {
        const body = `${log.next}:${"x".repeat(random.int(0, random.pick([10, 100, 700])))}`;
        history.bodies[log.next] = body;
        log.append(Buffer.from(body), 0, body.length, TIME);
      }
      log.commit(1000 + step);
      history.bounds.add(log.next);
    } else if (what < 0.7) {
      const upTo = log.committedNext;
      files.sync((error) => {
        if (failing === 0) expect(error).toBeUndefined();
        if (error === undefined) acknowledged = Math.max(acknowledged, upTo);
      });
    } else if (what < 0.9) {
      for (let count = random.int(1, 4); count > 0; count--) disk.endSync();
    } else if (what < 0.95) {
      floor = random.int(floor, acknowledged);
      log.trim(log.committedEnd, floor, 1000 + step);
    } else {
      synced = Math.max(synced, files.takeSyncedSequence());
    }
    note();
  }
  return history;
}

/** What could be promised before the cut (`now`) and after the interrupted step (`next`), and what the metadata store knew, which may be older. */
interface Cut {
  now: State;
  next: State;
  known: State;
}

function cutAt(history: History, moment: number, random: Random): Cut {
  const { states } = history;
  let at = states.length - 1;
  while (at > 0 && (states[at] as State).moment > moment) at--;
  const known = states[Math.max(0, at - random.pick([0, 0, 1, 5, 30]))] as State;
  return { now: states[at] as State, next: states[at + 1] ?? (states[at] as State), known };
}

/** Opens the log after a cut and checks it. @returns the log, ready for new messages */
function check(history: History, disk: FaultDisk, { now, next, known }: Cut): Log {
  const after = new Log(disk, known);
  const found = readBySequence(after.log);
  // No message is corrupt, and none has the body of another.
  for (const [sequence, body] of found) expect(body).toBe(history.bodies[sequence] as string);
  // All acknowledged messages that are not finished are there. Of later messages there are whole commits only.
  for (let sequence = next.floor; sequence < now.acknowledged; sequence++) if (!found.has(sequence)) throw new Error(`${sequence} is lost`);
  const bounds = [...history.bounds].sort((a, b) => a - b);
  for (const [i, from] of bounds.slice(0, -1).entries()) {
    // Any part of a finished commit may be missing, because finished segments are removed.
    if (from < next.floor) continue;
    for (let sequence = from; sequence < (bounds[i + 1] as number); sequence++) {
      if (found.has(sequence) !== found.has(from)) throw new Error(`${from} and ${sequence} are of one commit, and not both there`);
    }
  }
  // The id of an acknowledged message is not given again.
  expect(after.log.next).toBeGreaterThanOrEqual(now.acknowledged);
  return after;
}

for (let workload = 0; workload < WORKLOADS; workload++) {
  const failing = workload % 2 === 0 ? 0 : FAILING;
  const kind = failing > 0 ? ", with syncs that fail," : "";
  test(`after a power cut at any write of workload ${workload}${kind} a log has all acknowledged messages, and whole commits only`, () => {
    const random = Random.forPart(seed, workload);
    const history = play(random, failing);
    const first = (history.states[0] as State).moment;
    for (let moment = first; moment <= history.disk.moment; moment++) {
      for (let cut = 0; cut < CUTS_PER_MOMENT; cut++) {
        cuts++;
        const state = cutAt(history, moment, random);
        const disk = history.disk.afterCut(moment, random);
        try {
          check(history, disk, state);
          // The power is cut once more, during the recovery of the log or right after it.
          const again = disk.afterCut(random.int(0, disk.moment), random);
          const { log } = check(history, again, state);
          log.append(Buffer.from("new"), 0, 3, TIME);
          log.commit(5000);
          expect(readAll(log, log.next - 1)).toEqual(["new"]);
        } catch (error) {
          throw new Error(`BUNSQ_SEED=${seed}, workload ${workload}, moment ${moment}, cut ${cut}`, { cause: error });
        }
      }
    }
  }, 60_000);
}

test("with fsync, a segment stays until the index of the next one is synced, though its name is", () => {
  const disk = new FaultDisk();
  const { log, files } = new Log(disk, { synced: 0, floor: 0 });
  const second = `${DIRECTORY}/0000000000000001`;
  let failing = true;
  disk.failsToSync = (path) => failing && path === `${second}.idx`;
  const sync = () => {
    files.sync(() => {});
    while (disk.waiting > 0) disk.endSync();
  };
  // Each is a segment of its own. The sync of the third one covers the names of all.
  for (let number = 0; number < 3; number++) {
    log.append(Buffer.alloc(2000), 0, 2000, TIME);
    log.commit(1000);
  }
  sync();
  log.trim(log.committedEnd, 1, 1000);
  expect(disk.paths()).toContain(`${DIRECTORY}/0000000000000000.log`);
  failing = false;
  sync();
  log.trim(log.committedEnd, 1, 1000);
  expect(disk.paths()).not.toContain(`${DIRECTORY}/0000000000000000.log`);
});
