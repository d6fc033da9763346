import { expect, test } from "bun:test";
import { systemClock } from "../../../src/base/clock.ts";
import { RateLimitedLog } from "../../../src/base/rate-limited-log.ts";
import { MetadataStore } from "../../../src/broker/storage/metadata/metadata-store.ts";
import { ReplicaMemories } from "../../../src/cluster/member/replica-memories.ts";
import { MemoryLogger, removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { SimulatedClock } from "../../support/simulated-clock.ts";

/** A run of a broker, which is killed at the end. */
function inRun(folder: string, bootId: string, play: (memories: ReplicaMemories, store: MetadataStore) => void): void {
  const store = new MetadataStore(folder, undefined, undefined, undefined, bootId);
  try {
    store.run.begin(true, () => {});
    play(new ReplicaMemories(store, systemClock, new RateLimitedLog(new MemoryLogger(), () => 0)), store);
  } finally {
    store.close();
  }
}

function withReplica(play: (folder: string, topicId: number) => void): () => void {
  return () => {
    const folder = temporaryFolder();
    let topicId = 0;
    try {
      inRun(folder, "first", (memories, store) => {
        topicId = store.addTopic(0, "t", 0);
        memories.save([memories.of({ topicId, uid: "u", epoch: 3, isWhole: true })]);
      });
      play(folder, topicId);
    } finally {
      removeFolder(folder);
    }
  };
}

test(
  "a replica that was found to lack something is not whole after a restart either",
  withReplica((folder, topicId) => {
    inRun(folder, "first", (memories) => {
      const row = memories.earlier(topicId);
      if (row === undefined) throw new Error("no row");
      const memory = memories.of(row);
      memories.ceaseToBeWhole([memory]);
      expect(memory.isWhole).toBe(false);
    });
    inRun(folder, "first", (memories) => expect(memories.earlier(topicId)).toMatchObject({ uid: "u", epoch: 3, isWhole: false }));
  }),
);

test(
  "a power cut is known of replicas also when the start after it was killed before it looked at them",
  withReplica((folder, topicId) => {
    inRun(folder, "first", (memories) => expect(memories.earlier(topicId)?.wasCut).toBe(false));
    inRun(folder, "second", () => {});
    inRun(folder, "second", (memories) => {
      const row = memories.earlier(topicId);
      expect(row).toEqual({ topicId, uid: "u", epoch: 3, isWhole: true, wasCut: true });
      // What is saved from now on counts as it is.
      if (row !== undefined) memories.save([memories.of(row)]);
    });
    inRun(folder, "second", (memories) => expect(memories.earlier(topicId)?.wasCut).toBe(false));
  }),
);

test("what could not be saved is tried again until it is closed", () => {
  const folder = temporaryFolder();
  const clock = new SimulatedClock(0);
  const store = new MetadataStore(folder);
  let tries = 0;
  const failing: MetadataStore = Object.create(store, {
    changeAll: {
      value: () => {
        tries++;
        throw new Error("disk I/O error");
      },
    },
  });
  const memories = new ReplicaMemories(failing, clock, new RateLimitedLog(new MemoryLogger(), () => 0));
  memories.of({ topicId: 1, uid: "u", epoch: 3, isWhole: false }).becameWhole();
  clock.advance(1_500);
  expect(tries).toBe(2);
  memories.close();
  clock.advance(5_000);
  expect(tries).toBe(2);
  store.close();
  removeFolder(folder);
});
