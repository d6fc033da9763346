import { afterEach, expect, test } from "bun:test";
import { DeferredStore } from "../../../../src/broker/storage/deferred/deferred-store.ts";
import { KIND_PUBLISH, KIND_REQUEUE } from "../../../../src/broker/storage/deferred/entry.ts";
import type { StagedEntries } from "../../../../src/broker/storage/deferred/staged-entries.ts";
import type { StoredMessage } from "../../../../src/broker/storage/deferred/stored-message.ts";
import { NO_BALLAST } from "../../../../src/broker/storage/disk/ballast.ts";
import { systemDisk } from "../../../../src/broker/storage/disk/disk.ts";
import { MemoryLogger, removeFolder, temporaryFolder } from "../../../support/in-process.ts";
import { Random, seedFromEnvironment } from "../../../support/random.ts";

const START = 1_700_000_000_000;
const CHANNELS = 3;
/** How many messages of one channel the model takes into memory. */
const ROOM = 40;

/** What the model knows of one message. */
interface Expected {
  dueMs: number;
  channelId: number;
  state: "stored" | "in memory" | "done";
}

/** A store over several restarts, beside a plain map of the messages that it must have. */
class Model {
  readonly log = new MemoryLogger();
  readonly messages = new Map<number, Expected>();
  readonly inMemory = new Map<number, StoredMessage>();
  /** How many messages are in memory, by channel. */
  readonly loaded = new Map<number, number>();
  readonly violations: string[] = [];
  nowMs = START;
  store!: DeferredStore;
  private next = 1;

  constructor(
    private readonly folder: string,
    private readonly random: Random,
    strict: boolean,
  ) {
    this.restart(strict);
  }

  /** Opens the store again as after a kill: the one before is not closed. */
  restart(strict: boolean): void {
    for (const expected of this.messages.values()) if (expected.state === "in memory") expected.state = "stored";
    this.inMemory.clear();
    this.loaded.clear();
    const store = new DeferredStore({
      directory: this.folder,
      disk: systemDisk,
      logger: this.log,
      ballast: NO_BALLAST,
      clock: { currentMs: () => this.nowMs },
    });
    store.strict = strict;
    store.target = {
      wanted: () => true,
      dropped: () => {},
      underWay: (entry) => this.inMemory.get(entry.sequence)?.number === entry.number,
      room: (channelId) => ROOM - (this.loaded.get(channelId) ?? 0),
      due: (message) => this.due(message),
    };
    const found = new Set<number>();
    store.recover(
      () => false,
      ({ sequence }) => {
        if (found.has(sequence)) this.violations.push(`recovery found ${sequence} twice`);
        found.add(sequence);
      },
    );
    for (const [sequence, { state }] of this.messages) {
      if (found.has(sequence) !== (state !== "done"))
        this.violations.push(`recovery: ${sequence} is ${state}, found: ${found.has(sequence)}`);
    }
    this.store = store;
  }

  stored(staged: StagedEntries, at: number, error: Error | undefined): void {
    if (error !== undefined) return;
    const { sequence, dueMs, channelId } = staged.message(at);
    this.messages.set(sequence, { dueMs, channelId, state: "stored" });
    this.store.deliverStagedWhenDue(staged, at);
  }

  /** Stages some messages with all kinds of delays, and commits them. */
  put(count: number): void {
    const { random } = this;
    for (let i = 0; i < count; i++) {
      const frame = Buffer.alloc(34 + random.int(1, 3000));
      frame.writeUInt32BE(frame.length - 4, 0);
      frame.writeUInt32BE(2, 4);
      const delayMs = random.chance(0.6) ? random.int(1, 4_000) : random.chance(0.7) ? random.int(1, 150_000) : random.int(1, 9_000_000);
      const kind = random.chance(0.5) ? KIND_REQUEUE : KIND_PUBLISH;
      const channelId = kind === KIND_REQUEUE ? random.int(1, CHANNELS) : 0;
      const header = { kind, attempts: 1, topicId: 1, channelId, dueMs: this.nowMs + delayMs, sequence: this.next++ };
      this.store.writer.stage(this, header, frame, 0, frame.length, false);
    }
    this.commitAndSync();
  }

  pass(ms: number, stepMs: number): void {
    const end = this.nowMs + ms;
    while (this.nowMs < end) {
      this.nowMs = Math.min(end, this.nowMs + stepMs);
      for (let again = 0; again < 20 && this.store.process(this.nowMs) <= this.nowMs; again++) this.commitAndSync();
      this.commitAndSync();
    }
  }

  /** Finishes a share of the messages in memory. */
  finish(share: number): void {
    for (const [sequence, message] of this.inMemory) {
      if (!this.random.chance(share)) continue;
      this.inMemory.delete(sequence);
      this.loaded.set(message.channelId, (this.loaded.get(message.channelId) ?? 0) - 1);
      (this.messages.get(sequence) as Expected).state = "done";
      this.store.finish(message);
    }
    this.commitAndSync();
  }

  get left(): number {
    let left = 0;
    for (const { state } of this.messages.values()) if (state !== "done") left++;
    return left;
  }

  private commitAndSync(): void {
    this.store.commit();
    if (!this.store.strict && !this.store.needsSync) return;
    this.store.syncBegins();
    this.store.syncEnded(undefined);
    this.store.commit();
  }

  private due(message: StoredMessage): void {
    const expected = this.messages.get(message.sequence);
    if (expected?.state !== "stored") return void this.violations.push(`${message.sequence} was delivered, but is ${expected?.state}`);
    if (this.nowMs < expected.dueMs) this.violations.push(`${message.sequence} was delivered ${expected.dueMs - this.nowMs} ms early`);
    expected.state = "in memory";
    this.inMemory.set(message.sequence, message);
    this.loaded.set(message.channelId, (this.loaded.get(message.channelId) ?? 0) + 1);
  }
}

let folder = "";

afterEach(() => removeFolder(folder));

test("over kills, full channels and long waits each message is delivered once per start, not early, until it is finished", () => {
  const seed = seedFromEnvironment();
  const random = new Random(seed);
  folder = temporaryFolder();
  const model = new Model(folder, random, false);
  for (let round = 0; round < 25; round++) {
    for (let turn = 0; turn < 12; turn++) {
      model.put(random.int(0, 25));
      model.pass(random.int(1, 400), random.int(5, 200));
      if (random.chance(0.5)) model.finish(random.next() * 0.6);
    }
    if (random.chance(0.15)) model.pass(random.int(1, 4_000_000), 10_000);
    if (random.chance(0.3)) model.restart(random.chance(0.4));
    // A long pause: the overflow of full channels is loaded piece by piece afterwards.
    if (random.chance(0.1)) model.nowMs += random.int(1, 20_000_000);
    expect(model.violations.slice(0, 5), `BUNSQ_SEED=${seed}, round ${round}`).toEqual([]);
  }
  for (let step = 0; model.left > 0 && step < 2_000; step++) {
    model.pass(10_000, 1_000);
    model.finish(1);
  }
  expect({ left: model.left, violations: model.violations }, `BUNSQ_SEED=${seed}`).toEqual({ left: 0, violations: [] });
  model.restart(false);
  expect(model.violations, `BUNSQ_SEED=${seed}`).toEqual([]);
}, 30_000);
