/**
 * The load generator for JetStream, as bench/load/generator.ts is for NSQ's protocol:
 *
 *     bun bench/load/nats/generator.ts '<NatsJob as JSON>'
 *
 * Publishes are laid out once and sent many in a write, and acknowledgements are counted by their lines, so that it is cheap beside the
 * servers: nats.go needs more.
 */
import { quantile } from "../../support/statistics.ts";
import { fail, type Load, type LoadConnection } from "../connection.ts";
import type { Measurement } from "../job.ts";
import { Meter } from "../meter.ts";
import { RingWriter } from "../ring-writer.ts";
import { repeat } from "../wire.ts";
import { AckCounter, connectNats, NatsMessages, send } from "./nats-connection.ts";
import { DELIVERED_TO, type NatsJob, SUBJECT } from "./nats-job.ts";

const PACE_MS = 1;
/** The most messages that are sent at once after the producer itself was delayed. */
const LARGEST_TRAIN = 1_000;

/** @param inbox where acknowledgements go */
function publishCommand(job: NatsJob, inbox: string): Buffer {
  return Buffer.concat([
    Buffer.from(`PUB ${SUBJECT} ${inbox} ${job.bodyBytes}\r\n`),
    Buffer.alloc(job.bodyBytes, "x"),
    Buffer.from("\r\n"),
  ]);
}

/** A connection with batches under way. */
class Publisher implements Load {
  private readonly acks = new AckCounter();
  private readonly ring: RingWriter;
  private readonly batchBytes: number;
  private unacknowledged = 0;

  constructor(
    private readonly connection: LoadConnection,
    private readonly job: NatsJob,
    command: Buffer,
    private readonly supply: { left: number },
    private readonly acknowledged: (messages: number) => void,
  ) {
    this.ring = new RingWriter(repeat(command, job.batch * job.outstanding));
    this.batchBytes = command.length * job.batch;
  }

  receive(data: Buffer): void {
    const count = this.acks.count(data);
    this.unacknowledged -= count;
    this.fill();
    this.acknowledged(count);
  }

  drain(): void {
    this.ring.flush(this.connection);
  }

  fill(): void {
    const { batch, outstanding } = this.job;
    while (this.unacknowledged <= batch * (outstanding - 1) && this.supply.left > 0) {
      this.supply.left--;
      this.unacknowledged += batch;
      this.ring.owedBytes += this.batchBytes;
    }
    this.ring.flush(this.connection);
  }
}

async function publish(job: NatsJob): Promise<Measurement> {
  const meter = new Meter(job);
  const supply = { left: job.messages / job.batch };
  const connections = await Promise.all(Array.from({ length: job.connections }, () => connectNats(job.port)));
  const publishers = connections.map((connection, i) => {
    const inbox = `_INBOX.p${i}`;
    send(connection, `SUB ${inbox} 1\r\n`);
    const publisher = new Publisher(connection, job, publishCommand(job, inbox), supply, (messages) => meter.add(messages));
    connection.load = publisher;
    return publisher;
  });
  for (const publisher of publishers) publisher.fill();
  return { ...(await meter.measurement()), redelivered: 0 };
}

/** Publishes at a fixed rate with the time in each body; the consumer acknowledges, and measures how old messages are. */
async function latency(job: NatsJob): Promise<Measurement> {
  const meter = new Meter(job);
  const ages = new Float64Array(job.messages);
  let received = 0;
  const consumer = await connectNats(job.port);
  consumer.load = new NatsMessages(consumer, ({ reply, payload }) => {
    ages[received++] = performance.now() - payload.readDoubleBE(0);
    send(consumer, `PUB ${reply} 0\r\n\r\n`);
    meter.add(1);
  });
  send(consumer, `SUB ${DELIVERED_TO} 1\r\n`);
  const producer = await connectNats(job.port);
  const acks = new AckCounter();
  const ring = new RingWriter(repeat(publishCommand(job, "_INBOX.p"), LARGEST_TRAIN));
  const commandBytes = ring.ring.length / LARGEST_TRAIN;
  const bodyOffset = commandBytes - job.bodyBytes - 2;
  producer.load = { receive: (data) => void acks.count(data), drain: () => ring.flush(producer) };
  send(producer, "SUB _INBOX.p 1\r\n");
  const startedAtMs = performance.now();
  let sent = 0;
  const timer = setInterval(() => {
    if (ring.owedBytes > 0) return;
    const now = performance.now();
    const due = Math.floor(((now - startedAtMs) * job.perSecond) / 1000) - sent;
    const commands = Math.min(due, LARGEST_TRAIN, job.messages - sent);
    for (let n = 0; n < commands; n++) ring.ring.writeDoubleBE(now, ((sent + n) % LARGEST_TRAIN) * commandBytes + bodyOffset);
    sent += commands;
    ring.owedBytes += commands * commandBytes;
    ring.flush(producer);
    if (sent === job.messages) clearInterval(timer);
  }, PACE_MS);
  const measurement = await meter.measurement();
  const sorted = ages.slice(job.warmUp).sort();
  return {
    ...measurement,
    redelivered: 0,
    latencyMs: { p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99), p999: quantile(sorted, 0.999) },
  };
}

process.on("uncaughtException", fail);
process.on("unhandledRejection", fail);
const job: NatsJob = JSON.parse(process.argv[2] ?? fail("one argument: the job as JSON"));
console.log(JSON.stringify(await (job.kind === "publish" ? publish(job) : latency(job))));
process.exit(0);
