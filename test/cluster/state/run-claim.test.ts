import { expect, test } from "bun:test";
import type { Disk } from "../../../src/broker/storage/disk/disk.ts";
import { RunFile } from "../../../src/cluster/run-file.ts";
import { ClusterKeys } from "../../../src/cluster/state/keys.ts";
import { RUN_SHAPE, RunClaim, type RunNote, type RunNotes } from "../../../src/cluster/state/run-claim.ts";
import { FaultDisk } from "../../behaviour/power-cut/support/fault-disk.ts";
import { playSchedules } from "../simulator/schedules.ts";
import type { SimNode } from "../simulator/sim-node.ts";
import { SimWorld } from "../simulator/sim-world.ts";

const KEY = new ClusterKeys("main").member("runs", "00112233445566ff");

/** What a data path remembers, which can be copied. */
class Notes implements RunNotes {
  failures = 0;

  constructor(private note?: RunNote) {}

  read(): RunNote | undefined {
    return this.note;
  }

  save(note: RunNote): void {
    if (this.failures > 0) throw new Error(`EIO: ${this.failures--}`);
    this.note = note;
  }

  copy(): Notes {
    return new Notes(this.note);
  }
}

/** Starts a broker on a data path. @returns whether it is found to be an older copy */
function start(world: SimWorld, notes: RunNotes, run: string): boolean {
  const told: string[] = [];
  const events = { onCopy: async () => void told.push("copy"), onTrouble: () => {} };
  const claim = new RunClaim(world.etcd.client(world.node(run)), world.node(run), KEY, notes, run, events);
  let outcome: boolean | undefined;
  void claim.claim().then((isCopy) => {
    outcome = isCopy;
  });
  world.time.until(() => outcome !== undefined, 60_000, "the run is noted");
  expect(told.length).toBe(outcome ? 1 : 0);
  return outcome === true;
}

test("a data path that is started again and again is no copy", () => {
  const world = new SimWorld(1);
  const notes = new Notes();
  for (let i = 0; i < 5; i++) expect(start(world, notes, `r${i}`)).toBe(false);
  expect(RUN_SHAPE.read(world.etcd.store.entries.get(KEY)?.value ?? "")).toEqual({ number: 5, run: "r4" });
});

test("a copy that is older than the last run is found out, and then it is the one", () => {
  const world = new SimWorld(2);
  const notes = new Notes();
  start(world, notes, "r1");
  const older = notes.copy();
  start(world, notes, "r2");
  expect(start(world, older, "r3")).toBe(true);
  expect(start(world, older, "r4")).toBe(false);
  // What it was a copy of lacks what was done with that one.
  expect(start(world, notes, "r5")).toBe(true);
});

test("a copy from before runs were noted, or with a note that is damaged, is not trusted", () => {
  const world = new SimWorld(3);
  const notes = new Notes();
  const older = notes.copy();
  start(world, notes, "r1");
  expect(start(world, older, "r2")).toBe(true);
});

test("where etcd was emptied or set back nothing is taken for a copy", () => {
  const world = new SimWorld(4);
  const notes = new Notes();
  start(world, notes, "r1");
  const { value = "" } = world.etcd.store.entries.get(KEY) ?? {};
  for (const run of ["r2", "r3", "r4"]) start(world, notes, run);
  world.etcd.store.txn([], [{ put: KEY, value }], []);
  expect(start(world, notes, "r5")).toBe(false);
  world.etcd.store.txn([], [{ remove: KEY }], []);
  expect(start(world, notes, "r6")).toBe(false);
});

test("a disk that fails is tried again before etcd has the run", () => {
  const world = new SimWorld(5);
  const notes = new Notes();
  notes.failures = 3;
  expect(start(world, notes, "r1")).toBe(false);
  expect(notes.read()?.begun).toEqual(["r1"]);
});

test("whatever fails, only copies are found to be copies, and they are always", () => {
  playSchedules(200, (seed) => {
    const world = new SimWorld(seed);
    const { random, time, etcd } = world;
    etcd.faults = world.randomEtcdFaults();
    let notes = new Notes();
    let older = { notes: notes.copy(), runs: 0 };
    let runs = 0;
    for (let i = 0; i < 20; i++) {
      const what = random.next();
      if (what < 0.2) older = { notes: notes.copy(), runs };
      else if (what < 0.5) {
        // It is killed at some moment of its start.
        const node: SimNode = world.node(`k${i}`);
        const claim = new RunClaim(etcd.client(node), node, KEY, notes, `k${i}`, { onCopy: async () => {}, onTrouble: () => {} });
        let isNoted = false;
        void claim.claim().then(() => {
          isNoted = true;
        });
        time.advance(random.int(0, random.pick([20, 2_000])));
        node.end();
        claim.close();
        // What it has sent may still come.
        if (random.chance(0.5)) time.advance(5_000);
        if (isNoted) runs++;
      } else {
        const isSetBack = random.chance(0.3);
        if (isSetBack) notes = older.notes.copy();
        const isCopy = start(world, notes, `r${i}`);
        if (isSetBack && older.runs < runs) expect(isCopy).toBe(true);
        if (!isSetBack) expect(isCopy).toBe(false);
        runs++;
        older = { notes: notes.copy(), runs };
      }
    }
  });
});

test("the file has what was saved last after a power cut, and is none when it is damaged", () => {
  const disk = new FaultDisk();
  const folder = "/data/bunsq-data";
  disk.makeDirectory(folder);
  disk.syncDirectoryNow("/");
  disk.syncDirectoryNow("/data");
  const file: RunNotes = new RunFile(disk as Disk, folder);
  expect(file.read()).toBe(undefined);
  const notes: RunNote[] = [{ begun: ["r1"] }, { last: { number: 1, run: "r1" }, begun: ["r2"] }];
  for (const note of notes) {
    file.save(note);
    expect(file.read()).toEqual(note);
  }
  const path = `${folder}/data-path-runs`;
  expect(disk.content(path).toString()).toBe('{"last":{"number":1,"run":"r1"},"begun":["r2"]}\n');
  const fd = disk.open(path, "w+");
  disk.write(fd, Buffer.from("{"), 0, 1, 0);
  disk.close(fd);
  expect(file.read()).toBe(undefined);
});
