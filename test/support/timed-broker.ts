import { cpSync, rmSync } from "node:fs";
import { type Broker, type Environment, openBroker } from "../../src/broker/broker.ts";
import type { BrokerOptions } from "../../src/broker/options.ts";
import type { Chunk } from "../../src/broker/storage/log/chunk.ts";
import type { TopicLog } from "../../src/broker/storage/log/topic-log.ts";
import type { Consumer } from "../../src/broker/topics/channel/consumer.ts";
import { IN_ZONE } from "../../src/broker/topics/locality.ts";
import type { Topic } from "../../src/broker/topics/topic.ts";
import { TraceName } from "../../src/broker/trace/trace-name.ts";
import { BODY_OFFSET } from "../../src/frame/frame.ts";
import { defaultOptions, MemoryLogger, removeFolder, temporaryFolder } from "./in-process.ts";
import { SimulatedClock } from "./simulated-clock.ts";

/** 2026-01-01, in ms since 1970. */
const START_MS = 1_767_225_600_000;

/** A consumer without a connection: it keeps what it gets, and finishes nothing by itself. */
export class Collector implements Consumer {
  readonly nearness = IN_ZONE;
  readonly sampleRate = 0;
  readonly onlyLog = undefined;
  readonly traceName = new TraceName("collector");
  inFlightCount = 0;
  readonly received: { body: string; attempts: number }[] = [];

  constructor(
    public readyCount = 100_000,
    readonly id = 1,
    readonly msgTimeoutMs = 900_000,
  ) {}

  get capacity(): number {
    return Math.max(0, this.readyCount - this.inFlightCount);
  }

  get bodies(): string[] {
    return this.received.map(({ body }) => body);
  }

  sendRun(_log: TopicLog, chunk: Chunk, from: number, to: number, count: number): void {
    this.inFlightCount += count;
    for (let at = from; at < to; at += 4 + chunk.view.getUint32(at)) this.read(chunk.buffer, at, 1);
  }

  sendAgain(_log: TopicLog, buffer: Buffer, from: number, _to: number, attempts: number): void {
    this.inFlightCount++;
    this.read(buffer, from, attempts);
  }

  closeGracefully(): void {}

  private read(buffer: Buffer, at: number, attempts: number): void {
    this.received.push({ body: buffer.toString("latin1", at + BODY_OFFSET, at + 4 + buffer.readUInt32BE(at)), attempts });
  }
}

/** Copies a folder. @returns false if a file was removed off the event loop meanwhile: the copy is of no moment then */
function isCopied(from: string, to: string): boolean {
  try {
    cpSync(from, to, { recursive: true });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    rmSync(to, { recursive: true, force: true });
    return false;
  }
}

/** A broker without a listener, whose time only passes when the test lets it. To be ended by end(). */
export class TimedBroker {
  clock = new SimulatedClock(START_MS);
  readonly log = new MemoryLogger();
  broker: Broker;
  private readonly folders: string[] = [temporaryFolder()];
  private readonly killed: Broker[] = [];

  constructor(
    private readonly changes: Partial<BrokerOptions> = {},
    private readonly environment: Environment = {},
  ) {
    this.broker = this.open();
  }

  get topic(): Topic {
    return this.broker.registry.topic("t");
  }

  get nowMs(): number {
    return this.clock.steadyMs();
  }

  async publish(body: string, delayMs = 0): Promise<void> {
    const published = this.broker.publishing.publish(this.topic.nextPartition(), "", Buffer.from(body), delayMs);
    this.clock.endTurn();
    await published;
  }

  /** A clean end and a new start. @param meanwhile does something to the data path in between */
  async restart(meanwhile: (dataPath: string) => void = () => {}): Promise<void> {
    await this.close();
    meanwhile(this.folders[0]);
    this.broker = this.open();
  }

  /** Goes on with what is in the files at this moment, as after kill -9. @param environment of the new start */
  kill(environment = this.environment): void {
    const image = temporaryFolder();
    while (!isCopied(this.folders[0], image));
    this.killed.push(this.broker);
    // Nobody advances the old clock any more, so the killed broker does nothing.
    this.clock = new SimulatedClock(this.clock.wallMs());
    this.folders.unshift(image);
    this.broker = this.open(environment);
  }

  async end(): Promise<void> {
    await this.close();
    for (const { metadata } of this.killed) metadata.close();
    for (const folder of this.folders) removeFolder(folder);
  }

  private open(environment = this.environment): Broker {
    return openBroker(defaultOptions({ dataPath: this.folders[0], ...this.changes }), this.log, { ...environment, clock: this.clock });
  }

  private async close(): Promise<void> {
    let closed = false;
    const closing = this.broker.close().finally(() => (closed = true));
    while (!closed) {
      this.clock.advance(1);
      await new Promise(setImmediate);
    }
    await closing;
  }
}
