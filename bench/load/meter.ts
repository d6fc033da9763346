import { cpuSeconds, machineCpuSeconds } from "../support/process-usage.ts";
import { fail } from "./connection.ts";
import type { Measurement, PublishJob } from "./job.ts";

/** The CPU time is read this long after the last reply, to include the work that a server postpones. */
const SETTLE_MS = 250;
/** A load without progress for this long has failed: the server has lost something. */
const STALL_MS = 10_000;

/** Counts a load's messages, and measures time and CPU from the end of the warm-up to the last message. */
export class Meter {
  done = 0;
  private startedAtMs = 0;
  private serverCpuAtStart = 0;
  private generatorCpuAtStart = 0;
  private machineCpuAtStart = 0;
  private readonly finished = Promise.withResolvers<Pick<Measurement, "messages" | "seconds" | "generatorCpuSeconds">>();
  private measuredFrom = 0;

  constructor(private readonly job: Pick<PublishJob, "messages" | "warmUp" | "serverPid" | "morePids">) {}

  /** Counts `messages` more. */
  add(messages: number): void {
    this.done += messages;
    if (this.startedAtMs === 0 && this.done >= this.job.warmUp) this.start();
    if (this.done >= this.job.messages) this.stop();
  }

  /** Resolves when all messages are counted and the server is idle. */
  async measurement(): Promise<Omit<Measurement, "redelivered">> {
    let doneBefore = -1;
    const watchdog = setInterval(() => {
      if (this.done === doneBefore) fail(`stalled at ${this.done} of ${this.job.messages} messages`);
      doneBefore = this.done;
    }, STALL_MS);
    const measured = await this.finished.promise;
    clearInterval(watchdog);
    await Bun.sleep(SETTLE_MS);
    if (this.done !== this.job.messages) fail(`got ${this.done} messages of ${this.job.messages}`);
    const serverCpuSeconds = this.serverCpu() - this.serverCpuAtStart;
    const othersCpuSeconds = machineCpuSeconds() - this.machineCpuAtStart - serverCpuSeconds - measured.generatorCpuSeconds;
    const othersBusy = Math.max(0, othersCpuSeconds) / (measured.seconds + SETTLE_MS / 1000);
    return { ...measured, serverCpuSeconds, othersBusy };
  }

  private serverCpu(): number {
    return (this.job.morePids ?? []).reduce((sum, pid) => sum + cpuSeconds(pid), cpuSeconds(this.job.serverPid));
  }

  private start(): void {
    this.serverCpuAtStart = this.serverCpu();
    this.generatorCpuAtStart = ownCpuSeconds();
    this.machineCpuAtStart = machineCpuSeconds();
    this.measuredFrom = this.done;
    this.startedAtMs = performance.now();
  }

  private stop(): void {
    const seconds = (performance.now() - this.startedAtMs) / 1000;
    const generatorCpuSeconds = ownCpuSeconds() - this.generatorCpuAtStart;
    this.finished.resolve({ messages: this.job.messages - this.measuredFrom, seconds, generatorCpuSeconds });
  }
}

export function ownCpuSeconds(): number {
  const usage = process.cpuUsage();
  return (usage.user + usage.system) / 1e6;
}
