import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { type Broker, type Environment, openBroker } from "../../../../src/broker/broker.ts";
import type { BrokerOptions } from "../../../../src/broker/options.ts";
import type { Bucket } from "../../../../src/broker/storage/deferred/bucket.ts";
import { KIND_PUBLISH } from "../../../../src/broker/storage/deferred/entry.ts";
import type { Channel } from "../../../../src/broker/topics/channel/channel.ts";
import { bodyOf } from "../../../support/headed-message.ts";
import { defaultOptions, MemoryLogger } from "../../../support/in-process.ts";
import { readBySequence } from "../../../support/log-fixture.ts";
import { SimulatedClock } from "../../../support/simulated-clock.ts";
import { FaultDisk } from "./fault-disk.ts";

/** 2026-01-01, in ms since 1970. */
const START_MS = 1_767_225_600_000;
/** A sync takes this long. */
const SYNC_MS = 2;
const STORE_FILES = ["", "-wal", "-shm"];

let boots = 0;

/** Names the time until the next power cut. */
export function newBoot(): string {
  return `boot ${boots++}`;
}

/** Opens a broker on a disk of its own. Only its metadata store is a real file, below the data path. */
export function openOn(
  disk: FaultDisk,
  dataPath: string,
  changes: Partial<BrokerOptions>,
  environment: Pick<Environment, "clock" | "bootId"> = { bootId: newBoot() },
): Broker {
  // The data path and the folders above it are on the disk already.
  const { failsToSync } = disk;
  disk.failsToSync = () => false;
  disk.makeDirectory(dataPath);
  for (let path = dataPath; path !== "/"; path = dirname(path)) disk.syncDirectoryNow(dirname(path));
  disk.failsToSync = failsToSync;
  return openBroker(defaultOptions({ dataPath, ...changes }), new MemoryLogger(), { disk, ...environment });
}

/** Stops a broker as a power cut would: nothing more is written. */
export function abandon(broker: Broker): void {
  broker.turn.stop();
  broker.listener.stop(true);
  broker.metadata.close();
}

/** Puts the content of a metadata store in the place of the real one. */
export function restoreStore(dataPath: string, store: Buffer): void {
  for (const ending of STORE_FILES) rmSync(`${dataPath}/bunsq-data/catalogue.sqlite${ending}`, { force: true });
  mkdirSync(`${dataPath}/bunsq-data`, { recursive: true });
  writeFileSync(`${dataPath}/bunsq-data/catalogue.sqlite`, store);
}

/** The bodies that a broker would still deliver to a channel, from the log and from the deferred store. */
export function owed(broker: Broker, topicName: string, channelName: string): Set<string> {
  const topic = broker.registry.topics.get(topicName);
  const channel = topic?.channels.get(channelName) as Channel;
  const bodies = new Set<string>();
  if (topic === undefined) return bodies;
  for (const part of channel.partitions) {
    const { floor, backlog } = part;
    for (const [sequence, body] of readBySequence(part.partition.log)) {
      if (sequence >= floor && !backlog.skips.some(({ from, to }) => sequence >= from && sequence < to)) bodies.add(body);
    }
  }
  const { buckets } = broker.deferred as unknown as { buckets: Iterable<Bucket> };
  for (const bucket of buckets) {
    bucket.scan(0, Number.POSITIVE_INFINITY, (entry) => {
      const isOwn = channel.partitions.some((part) =>
        entry.kind === KIND_PUBLISH ? entry.topicId === part.partition.id : entry.channelId === part.id,
      );
      if (entry.offset < bucket.movedTo || !isOwn || !broker.registry.deferredTarget.wanted(entry)) return;
      const frame = Buffer.alloc(entry.frameBytes);
      bucket.readFrame(frame, 0, entry.offset, entry.frameBytes);
      bodies.add(bodyOf(frame, 0, frame.length));
    });
  }
  return bodies;
}

/** A broker on a disk whose power is cut and a clock that the test moves. Syncs end by that clock. */
export class CutBroker {
  readonly clock = new SimulatedClock(START_MS);
  readonly disk: FaultDisk;
  readonly broker: Broker;
  /** The content of the metadata store at the end. */
  private store: Buffer | undefined;

  constructor(
    private readonly dataPath: string,
    private readonly options: Partial<BrokerOptions>,
    disk = new FaultDisk(),
    startMs = 0,
    private readonly bootId = newBoot(),
  ) {
    this.disk = disk;
    this.clock.advance(startMs);
    this.broker = openOn(disk, dataPath, options, { clock: this.clock, bootId });
  }

  /** Lets time pass in steps, at the end of which the syncs end that were under way. */
  async pass(ms: number, stepMs = SYNC_MS): Promise<void> {
    for (let left = ms; left > 0; left -= stepMs) {
      this.clock.advance(Math.min(left, stepMs));
      for (let count = this.disk.waiting; count > 0; count--) this.disk.endSync();
      await microtasks();
    }
  }

  /** Publishes one message. @returns "OK", or why it was refused */
  async publish(topicName: string, body: string, { deferMs = 0, key = "" } = {}): Promise<string> {
    let outcome: string | undefined;
    this.broker.publishing.publish(this.broker.registry.topic(topicName).partitions[0], key, Buffer.from(body), deferMs).then(
      () => {
        outcome = "OK";
      },
      (error: Error) => {
        outcome = error.message;
      },
    );
    for (let turns = 0; outcome === undefined; turns++) {
      if (turns > 1000) throw new Error(`${body} gets no answer`);
      await this.pass(SYNC_MS);
    }
    return outcome;
  }

  /** Cuts the power, and starts on what is left. @param disk what the cut left of the disk */
  restart(disk: FaultDisk, bootId = newBoot()): CutBroker {
    this.abandon();
    restoreStore(this.dataPath, this.store as Buffer);
    return new CutBroker(this.dataPath, this.options, disk, this.clock.steadyMs(), bootId);
  }

  /** Ends the process without closing anything. */
  abandon(): void {
    if (this.store !== undefined) return;
    this.store = this.broker.metadata.serialize();
    abandon(this.broker);
  }

  /**
   * Ends the process as a kill does, and starts again: all that was written is there, synced or not.
   *
   * @param change changes the disk before the start
   */
  kill(change: (disk: FaultDisk) => void = () => {}): CutBroker {
    const disk = this.disk.afterKill();
    change(disk);
    return this.restart(disk, this.bootId);
  }

  /** Starts on what a closed broker left. @param disk what a power cut left of the disk after that */
  reopen(disk = this.disk): CutBroker {
    return this.restart(disk, disk === this.disk ? this.bootId : newBoot());
  }

  async close(): Promise<void> {
    let closed = false;
    const closing = this.broker.close().finally(() => {
      closed = true;
    });
    while (!closed) await this.pass(SYNC_MS);
    await closing;
    this.store = readFileSync(`${this.dataPath}/bunsq-data/catalogue.sqlite`);
  }
}

/** Lets the promises go on that are settled. */
async function microtasks(): Promise<void> {
  for (let i = 0; i < 10; i++) await Promise.resolve();
}
