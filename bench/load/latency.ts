import { BODY_OFFSET, FRAME_TYPE_MESSAGE, ID_OFFSET } from "../../src/frame/frame.ts";
import { quantile } from "../support/statistics.ts";
import type { Load, LoadConnection } from "./connection.ts";
import type { LatencyJob, Measurement } from "./job.ts";
import { OkFrameCounter, printable } from "./replies.ts";
import { RingWriter } from "./ring-writer.ts";
import { ANSWER_ID_OFFSET, FIN, pubCommand, readyCommand, repeat } from "./wire.ts";

const RDY = 2500;
/** How often the producer sends the messages that are due, in one write. */
const PACE_MS = 1;
/** The most messages that are sent at once after the producer itself was delayed. */
const LARGEST_TRAIN = 1000;

/**
 * Publishes at a fixed rate without waiting for replies. Each body contains the time at which it was passed to the kernel. A
 * server that falls behind does not slow the producer; it shows as latency.
 */
export class PacedProducer implements Load {
  private readonly replies = new OkFrameCounter();
  private readonly ring: RingWriter;
  private readonly ringView: DataView;
  private readonly commandBytes: number;
  private readonly stampOffset: number;
  private nextCommand = 0;
  private sent = 0;
  private timer: Timer | undefined;

  constructor(
    private readonly connection: LoadConnection,
    private readonly job: LatencyJob,
  ) {
    const command = pubCommand(job.bodyBytes);
    this.commandBytes = command.length;
    this.stampOffset = command.length - job.bodyBytes;
    this.ring = new RingWriter(repeat(command, LARGEST_TRAIN));
    this.ringView = new DataView(this.ring.ring.buffer, this.ring.ring.byteOffset, this.ring.ring.byteLength);
    connection.load = this;
  }

  start(): void {
    const startedAt = performance.now();
    this.timer = setInterval(() => {
      const now = performance.now();
      this.send(Math.floor(((now - startedAt) * this.job.perSecond) / 1000) - this.sent, now);
    }, PACE_MS);
  }

  receive(data: Buffer): void {
    this.replies.count(data);
  }

  drain(): void {
    this.ring.flush(this.connection);
  }

  private send(due: number, now: number): void {
    // Commands that the socket has not accepted must not be overwritten, so due messages wait.
    if (this.ring.owedBytes > 0) return;
    const commands = Math.min(due, LARGEST_TRAIN, this.job.messages - this.sent);
    for (let n = 0; n < commands; n++) {
      this.ringView.setFloat64(this.nextCommand * this.commandBytes + this.stampOffset, now);
      this.nextCommand = (this.nextCommand + 1) % LARGEST_TRAIN;
    }
    this.sent += commands;
    this.ring.owedBytes += commands * this.commandBytes;
    this.ring.flush(this.connection);
    if (this.sent === this.job.messages) clearInterval(this.timer);
  }
}

/** Consumes and finishes messages and measures their ages. The parsing is simple, because the rates are low. */
export class AgeingConsumer implements Load {
  redelivered = 0;
  private arriving: Buffer = Buffer.alloc(0);
  private readonly ages: Float64Array;
  private readonly fins = new RingWriter(repeat(Buffer.from("FIN ................\n"), RDY + 1));
  private nextFin = 0;
  private messages = 0;

  constructor(
    private readonly connection: LoadConnection,
    private readonly job: LatencyJob,
    private readonly received: (messages: number) => void,
  ) {
    this.ages = new Float64Array(job.messages);
    connection.load = this;
  }

  start(): void {
    const ready = readyCommand(RDY);
    this.connection.write(ready, 0, ready.length);
  }

  receive(data: Buffer): void {
    const now = performance.now();
    const bytes = this.arriving.length === 0 ? data : Buffer.concat([this.arriving, data]);
    const before = this.messages;
    let at = 0;
    while (at + 8 <= bytes.length) {
      if (bytes.readUInt32BE(at + 4) !== FRAME_TYPE_MESSAGE) throw new Error(`not a message: ${printable(bytes.subarray(at))}`);
      const end = at + 4 + bytes.readUInt32BE(at);
      if (end > bytes.length) break;
      this.message(bytes, at, now);
      at = end;
    }
    this.arriving = Buffer.from(bytes.subarray(at));
    this.fins.flush(this.connection);
    this.received(this.messages - before);
  }

  drain(): void {
    this.fins.flush(this.connection);
  }

  /** The percentiles of the messages after the warm-up. */
  latencyMs(): NonNullable<Measurement["latencyMs"]> {
    const ages = this.ages.slice(this.job.warmUp).sort();
    return { p50: quantile(ages, 0.5), p99: quantile(ages, 0.99), p999: quantile(ages, 0.999) };
  }

  private message(bytes: Buffer, at: number, now: number): void {
    this.ages[this.messages++] = now - bytes.readDoubleBE(at + BODY_OFFSET);
    if (bytes.readUInt16BE(at + ID_OFFSET - 2) !== 1) this.redelivered++;
    bytes.copy(this.fins.ring, this.nextFin + ANSWER_ID_OFFSET, at + ID_OFFSET, at + BODY_OFFSET);
    this.nextFin = (this.nextFin + FIN.length) % this.fins.ring.length;
    this.fins.owedBytes += FIN.length;
  }
}
