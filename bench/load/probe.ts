import { quantile } from "../support/statistics.ts";
import { type Load, LoadConnection } from "./connection.ts";
import type { Measurement, ProbeJob } from "./job.ts";
import { ownCpuSeconds } from "./meter.ts";
import { OkFrameCounter } from "./replies.ts";
import { handshake, pubCommand } from "./wire.ts";

const PATIENCE_MS = 10_000;

/** Publishes a message at each interval, whether earlier ones are answered or not, and measures the time until its OK. */
class Prober implements Load {
  readonly timesMs: number[] = [];
  private readonly replies = new OkFrameCounter();
  private readonly sentAtMs: number[] = [];

  constructor(
    private readonly connection: LoadConnection,
    private readonly command: Buffer,
  ) {
    connection.load = this;
  }

  get waiting(): number {
    return this.sentAtMs.length - this.timesMs.length;
  }

  send(): void {
    this.sentAtMs.push(performance.now());
    // A socket that does not accept a few hundred bytes every 10 ms is stuck, which is an error here.
    if (this.connection.write(this.command, 0, this.command.length) !== this.command.length) throw new Error("the server does not read");
  }

  receive(data: Buffer): void {
    const now = performance.now();
    for (let replies = this.replies.count(data); replies > 0; replies--) {
      this.timesMs.push(now - (this.sentAtMs[this.timesMs.length] as number));
    }
  }

  drain(): void {}
}

export async function probe(job: ProbeJob): Promise<Measurement> {
  const prober = new Prober(await LoadConnection.identify(job.tcpPort, handshake(-1)), pubCommand(job.bodyBytes));
  const startedAtMs = performance.now();
  const timer = setInterval(() => prober.send(), job.intervalMs);
  await Bun.sleep(job.seconds * 1000);
  clearInterval(timer);
  const seconds = (performance.now() - startedAtMs) / 1000;
  for (const deadline = Date.now() + PATIENCE_MS; prober.waiting > 0; await Bun.sleep(job.intervalMs)) {
    if (Date.now() > deadline) throw new Error(`${prober.waiting} publishes were not answered`);
  }
  const times = Float64Array.from(prober.timesMs).sort();
  return {
    messages: times.length,
    seconds,
    serverCpuSeconds: 0,
    generatorCpuSeconds: ownCpuSeconds(),
    othersBusy: 0,
    redelivered: 0,
    latencyMs: { p50: quantile(times, 0.5), p99: quantile(times, 0.99), p999: quantile(times, 0.999) },
  };
}
