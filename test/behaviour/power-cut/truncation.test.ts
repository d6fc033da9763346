import { afterAll, expect, test } from "bun:test";
import type { Disk } from "../../../src/broker/storage/disk/disk.ts";
import type { CommitRun } from "../../../src/broker/storage/log/commit-run.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import { checkBodies, ReplicaLog } from "../../support/replica-log.ts";
import { FaultDisk } from "./support/fault-disk.ts";

/** Random workloads. The power is cut at each write of each of them. In every other one some syncs fail. */
const WORKLOADS = 8;
const FAILING = 0.1;
const STEPS = 100;
const CUTS_PER_MOMENT = 2;
/** Truncations that are interrupted at each of their changes. */
const KILLED_TRUNCATIONS = 60;

const seed = seedFromEnvironment();
let cuts = 0;
let kills = 0;

afterAll(() => console.log(`truncations of logs: ${cuts} power cuts, ${kills} kills, BUNSQ_SEED=${seed}`));

interface State {
  moment: number;
  /** Messages below this sequence are on the disk, and are never truncated. */
  kept: number;
  floor: number;
  /** What the metadata store has: messages below were on the disk. */
  synced: number;
}

interface History {
  disk: FaultDisk;
  states: State[];
  /** The bodies that each sequence has had. */
  bodies: Map<number, Set<string>>;
}

/** Commits of a leader whose log ends at a sequence. */
function runOf(random: Random, next: number, epoch: number, timeMs: number): CommitRun {
  const leader = new ReplicaLog(new FaultDisk(), { synced: 0, floor: next });
  leader.files.beginEpoch(epoch);
  for (let count = random.int(1, 4); count > 0; count--) leader.commit(random, timeMs);
  const run = leader.log.commitsFrom(next, 100_000);
  if (run === undefined || run.isGap) throw new Error("no commits");
  return { ...run, startsSegment: random.chance(0.2) };
}

/** Appends, copies, syncs, trims, begins epochs and truncates what is not agreed upon, as a replica would with fsync. */
function play(random: Random, failing: number): History {
  const disk = new FaultDisk();
  let [acknowledged, agreed, floor, synced, epoch] = [0, 0, 0, 0, 1];
  const replica = new ReplicaLog(disk, { synced, floor });
  const { log, files } = replica;
  files.beginEpoch(epoch);
  disk.failsToSync = () => failing > 0 && random.chance(failing);
  const history: History = { disk, states: [], bodies: new Map() };
  const note = () => history.states.push({ moment: disk.moment, kept: agreed, floor, synced });
  note();
  let truncations = 0;
  for (let step = 0; step < STEPS; step++) {
    const what = random.next();
    if (what < 0.15) {
      const run = runOf(random, log.next, epoch, 1000 + step);
      untilDone(() => log.appendCommits(run), failing > 0);
    } else if (what < 0.45) {
      untilDone(() => replica.commit(random, 1000 + step), failing > 0);
    } else if (what < 0.6) {
      const upTo = log.committedNext;
      const before = truncations;
      files.sync((error) => {
        if (error === undefined && before === truncations) acknowledged = Math.max(acknowledged, upTo);
      });
    } else if (what < 0.78) {
      for (let count = random.int(1, 4); count > 0; count--) disk.endSync();
      agreed = random.int(agreed, acknowledged);
    } else if (what < 0.83) {
      floor = random.int(floor, agreed);
      log.trim(log.committedEnd, floor, 1000 + step);
    } else if (what < 0.88) {
      synced = files.takeSyncedSequence();
    } else {
      const to = random.chance(0.3) ? agreed : random.int(agreed, log.next);
      // The store is synced before the records go.
      if (to < synced) {
        synced = to;
        note();
      }
      truncations++;
      acknowledged = Math.min(acknowledged, to);
      untilDone(() => log.truncateTo(to), failing > 0);
      expect(log.next).toBe(to);
      epoch += random.int(1, 2);
      files.beginEpoch(epoch);
    }
    note();
    for (const [sequence, body] of replica.bodies()) {
      const known = history.bodies.get(sequence);
      if (known === undefined) history.bodies.set(sequence, new Set([body]));
      else known.add(body);
    }
  }
  checkBodies(replica, replica.bodies());
  return history;
}

/** Does what a disk whose syncs fail may refuse. */
function untilDone(work: () => void, mayFail: boolean): void {
  for (;;) {
    try {
      return work();
    } catch (error) {
      if (!mayFail || (error as NodeJS.ErrnoException).code !== "EIO") throw error;
    }
  }
}

function check(history: History, disk: Disk, now: State, next: State, synced: number): ReplicaLog {
  const after = new ReplicaLog(disk, { synced, floor: now.floor });
  const bodies = after.bodies();
  // A segment whose removal was cut short may be back without its index, and so without its epoch.
  for (const sequence of bodies.keys()) if (sequence < next.floor) bodies.delete(sequence);
  checkBodies(after, bodies);
  for (const [sequence, body] of bodies) if (history.bodies.get(sequence)?.has(body) !== true) throw new Error(`${sequence} has ${body}`);
  for (let sequence = next.floor; sequence < now.kept; sequence++) if (!bodies.has(sequence)) throw new Error(`${sequence} is lost`);
  expect(after.log.next).toBeGreaterThanOrEqual(now.kept);
  return after;
}

for (let workload = 0; workload < WORKLOADS; workload++) {
  const failing = workload % 2 === 0 ? 0 : FAILING;
  test(`after a power cut at any write of workload ${workload}, what is left of truncated records is of the epoch that the log says`, () => {
    const random = Random.forPart(seed, workload);
    const history = play(random, failing);
    const { states, disk } = history;
    const first = (states[0] as State).moment;
    let at = 0;
    for (let moment = first; moment <= disk.moment; moment++) {
      while (at + 1 < states.length && (states[at + 1] as State).moment <= moment) at++;
      const now = states[at] as State;
      const next = states[at + 1] ?? now;
      for (let cut = 0; cut < CUTS_PER_MOMENT; cut++) {
        cuts++;
        const synced = Math.min(now.synced, next.synced);
        try {
          const cutDisk = disk.afterCut(moment, random);
          check(history, cutDisk, now, next, synced);
          const again = cutDisk.afterCut(random.int(0, cutDisk.moment), random);
          const { log, files } = check(history, again, now, next, synced);
          // As its leader says: to the end of what was agreed upon, and on.
          log.truncateTo(Math.max(now.kept, log.startSequence));
          files.beginEpoch(1000);
          log.append(Buffer.from("new"), 0, 3, { high: 1, low: 2 });
          log.commit(5000);
          expect(files.epochs().at(-1)).toEqual({ epoch: 1000, firstSequence: Math.max(now.kept, log.startSequence) });
        } catch (error) {
          throw new Error(`BUNSQ_SEED=${seed}, moment ${moment}, cut ${cut}: ${(error as Error).stack}`);
        }
      }
    }
  }, 60_000);
}

/** The process ends at a change of the disk. */
class Killed extends Error {}

/** A disk whose process is killed after some changes. */
function killing(disk: FaultDisk, changes: number): Disk {
  let left = changes;
  const change = () => {
    if (left-- <= 0) throw new Killed();
  };
  return {
    ...disk,
    open: (path, flags) => {
      if (flags === "w+") change();
      return disk.open(path, flags);
    },
    close: (fd) => disk.close(fd),
    read: (fd, buffer, at, length, position) => disk.read(fd, buffer, at, length, position),
    write: (fd, buffer, from, length, position) => {
      change();
      return disk.write(fd, buffer, from, length, position);
    },
    size: (fd) => disk.size(fd),
    truncate: (fd, length) => {
      change();
      disk.truncate(fd, length);
    },
    sync: (fd, done) => disk.sync(fd, done),
    syncNow: (fd) => disk.syncNow(fd),
    syncDirectory: (path, done) => disk.syncDirectory(path, done),
    syncDirectoryNow: (path) => disk.syncDirectoryNow(path),
    rename: (from, to) => {
      change();
      disk.rename(from, to);
    },
    remove: (path) => {
      change();
      disk.remove(path);
    },
    removeLater: (path, done) => disk.removeLater(path, done),
    makeDirectory: (path) => disk.makeDirectory(path),
    removeDirectory: (path) => disk.removeDirectory(path),
    list: (path) => disk.list(path),
    listFolders: (path) => disk.listFolders(path),
    sizeOf: (path) => disk.sizeOf(path),
    exists: (path) => disk.exists(path),
    space: () => disk.space(),
  };
}

test("a truncation that a kill interrupts anywhere takes nothing below its sequence, and the next start goes on with it", () => {
  for (let number = 0; number < KILLED_TRUNCATIONS; number++) {
    const random = Random.forPart(seed, 1000 + number);
    const build = (disk: Disk) => {
      const random = Random.forPart(seed, 2000 + number);
      const replica = new ReplicaLog(disk, { synced: 0, floor: 0, maxBytesPerFile: 700 });
      for (let epoch = 1; epoch < 5; epoch++) {
        replica.files.beginEpoch(epoch);
        for (let count = random.int(0, 6); count > 0; count--) replica.commit(random, 1000);
      }
      return replica;
    };
    const whole = build(new FaultDisk());
    const before = whole.bodies();
    const to = random.int(0, whole.log.next);
    for (let changes = 0; ; changes++) {
      const disk = new FaultDisk();
      build(disk).files.closeSegments();
      const replica = new ReplicaLog(killing(disk, changes), { synced: 0, floor: 0, lastRun: "killed", maxBytesPerFile: 700 });
      let killed = false;
      try {
        replica.log.truncateTo(to);
      } catch (error) {
        if (!(error instanceof Killed)) throw error;
        killed = true;
      }
      try {
        const after = new ReplicaLog(disk.afterKill(), { synced: 0, floor: 0, lastRun: "killed", maxBytesPerFile: 700 });
        const bodies = after.bodies();
        for (const [sequence, body] of bodies) expect(body).toBe(before.get(sequence) as string);
        for (let sequence = 0; sequence < to; sequence++) if (!bodies.has(sequence)) throw new Error(`${sequence} is lost`);
        checkBodies(after, bodies);
        expect(after.logger.matching(/ERROR/)).toEqual([]);
        after.log.truncateTo(to);
        expect([...after.bodies().keys()]).toEqual([...before.keys()].filter((sequence) => sequence < to));
        after.files.beginEpoch(9);
        after.commit(random, 2000);
        const last = new ReplicaLog((after.disk as FaultDisk).afterKill(), { synced: 0, floor: 0, lastRun: "killed" });
        checkBodies(last, last.bodies());
        expect(last.files.epochs().at(-1)).toEqual({ epoch: 9, firstSequence: to });
      } catch (error) {
        throw new Error(`BUNSQ_SEED=${seed}, truncation ${number} to ${to}, ${changes} changes: ${(error as Error).stack}`);
      }
      if (!killed) break;
      kills++;
    }
  }
}, 60_000);

test("a restart of a log that a kill interrupts anywhere leaves old records or none, and the next start goes on with it", () => {
  for (let number = 0; number < KILLED_TRUNCATIONS; number++) {
    const to = Random.forPart(seed, 3000 + number).int(0, 60);
    for (let changes = 0; ; changes++) {
      const random = Random.forPart(seed, 4000 + number);
      const disk = new FaultDisk();
      const known = { synced: 20, floor: 20, lastRun: "killed", maxBytesPerFile: 700 } as const;
      const first = new ReplicaLog(disk, known);
      first.files.beginEpoch(3);
      for (let count = random.int(0, 6); count > 0; count--) first.commit(random, 1000);
      const before = first.bodies();
      first.files.closeSegments();
      const replica = new ReplicaLog(killing(disk, changes), known);
      let killed = false;
      try {
        replica.log.restartAt(to, 5000);
      } catch (error) {
        if (!(error instanceof Killed)) throw error;
        killed = true;
      }
      try {
        // The store has let the marks go that are above.
        const after = new ReplicaLog(disk.afterKill(), { ...known, synced: Math.min(20, to), floor: Math.min(20, to) });
        for (const [sequence, body] of after.bodies()) expect(body).toBe(before.get(sequence) as string);
        checkBodies(after, after.bodies());
        expect(after.logger.matching(/ERROR/)).toEqual([]);
        after.log.restartAt(to, 5000);
        expect([after.log.startSequence, after.log.next, after.bodies().size]).toEqual([to, to, 0]);
        after.files.beginEpoch(4);
        after.commit(random, 2000);
        const last = new ReplicaLog((after.disk as FaultDisk).afterKill(), { ...known, synced: Math.min(20, to), floor: Math.min(20, to) });
        checkBodies(last, last.bodies());
        expect([last.log.startSequence, last.files.epochs()]).toEqual([to, [{ epoch: 4, firstSequence: to }]]);
      } catch (error) {
        throw new Error(`BUNSQ_SEED=${seed}, restart ${number} at ${to}, ${changes} changes: ${(error as Error).stack}`);
      }
      if (!killed) break;
      kills++;
    }
  }
}, 60_000);
