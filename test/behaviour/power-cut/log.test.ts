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

/** Each is a workload of its own, and each of its writes a moment at which the power goes. */
const WORKLOADS = 6;
const STEPS = 120;
/** Different cuts at the same moment: what was not synced may survive in many ways. */
const CUTS_PER_MOMENT = 2;
const DIRECTORY = "/data/topics/t";

const seed = seedFromEnvironment();
let cuts = 0;

afterAll(() => console.log(`power cuts of logs: ${cuts}, BUNSQ_SEED=${seed}`));

/** A log on a disk of ours. What the store would know is handed in. */
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

/** What was the case at a moment. */
interface State {
  moment: number;
  /** Messages below were acknowledged: their sync ended. */
  acknowledged: number;
  /** Messages below are finished, and may be gone. */
  floor: number;
  /** As far as the store has it that the log is synced; it may be behind. */
  synced: number;
}

interface History {
  disk: FaultDisk;
  bodies: string[];
  /** Sequences at which a commit, whole or not at all, ends. */
  bounds: Set<number>;
  states: State[];
}

/** Appends, commits, syncs and releases as a broker with --durability=fsync would, and notes what it may promise. */
async function play(random: Random): Promise<History> {
  const disk = new FaultDisk();
  let [acknowledged, floor, synced] = [0, 0, 0];
  const { log, files } = new Log(disk, { synced, floor });
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
        expect(error).toBeUndefined();
        acknowledged = Math.max(acknowledged, upTo);
      });
    } else if (what < 0.9) {
      disk.endSync();
      // The acknowledgement is a promise's turn away.
      for (let turn = 0; turn < 10; turn++) await Promise.resolve();
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

/** What was the case when the power went, at the end of the step that was under way, and as the store has it: it may be behind. */
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

/** What must hold after a cut. @returns the log, going on */
function check(history: History, disk: FaultDisk, { now, next, known }: Cut): Log {
  const after = new Log(disk, known);
  const found = readBySequence(after.log);
  // None is corrupt, and none is another.
  for (const [sequence, body] of found) expect(body).toBe(history.bodies[sequence] as string);
  // All that was acknowledged and not finished, so a prefix of what was published; behind it nothing but whole commits.
  for (let sequence = next.floor; sequence < now.acknowledged; sequence++) if (!found.has(sequence)) throw new Error(`${sequence} is lost`);
  const bounds = [...history.bounds].sort((a, b) => a - b);
  for (const [i, from] of bounds.slice(0, -1).entries()) {
    // Of what is finished any part may be gone: its segments are removed.
    if (from < next.floor) continue;
    for (let sequence = from; sequence < (bounds[i + 1] as number); sequence++) {
      if (found.has(sequence) !== found.has(from)) throw new Error(`${from} and ${sequence} are of one commit, and not both there`);
    }
  }
  // No id that was acknowledged is given again.
  expect(after.log.next).toBeGreaterThanOrEqual(now.acknowledged);
  return after;
}

for (let workload = 0; workload < WORKLOADS; workload++) {
  test(`after a power cut at any write of workload ${workload} a log has all that was acknowledged, and whole commits only`, async () => {
    const random = Random.forPart(seed, workload);
    const history = await play(random);
    const first = (history.states[0] as State).moment;
    for (let moment = first; moment <= history.disk.moment; moment++) {
      for (let cut = 0; cut < CUTS_PER_MOMENT; cut++) {
        cuts++;
        const state = cutAt(history, moment, random);
        const disk = history.disk.afterCut(moment, random);
        try {
          check(history, disk, state);
          // The power goes once more while the log is recovered, or right after.
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
  });
}
