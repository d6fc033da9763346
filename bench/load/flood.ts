import { cpuSeconds, machineCpuSeconds } from "../support/process-usage.ts";
import type { FloodJob, Measurement } from "./job.ts";
import { ownCpuSeconds } from "./meter.ts";
import { publish } from "./publisher.ts";
import { handshake } from "./wire.ts";

/** More messages than any server accepts in the time. */
const ENDLESS = 1e12;
/** A server that has not answered for this long has answered everything. */
const QUIET_MS = 500;

/** Publishes as fast as the server accepts it, for the job's time. Counts only acknowledged messages. */
export async function flood(job: FloodJob): Promise<Measurement> {
  let messages = 0;
  let lastAtMs = 0;
  const cpuBefore = { server: cpuSeconds(job.serverPid), own: ownCpuSeconds(), machine: machineCpuSeconds() };
  const startedAtMs = performance.now();
  const count = (acknowledged: number) => {
    messages += acknowledged;
    lastAtMs = performance.now();
  };
  const { batch } = job.publish;
  // A flood may last longer than any heartbeat interval, so it turns heartbeats off.
  const supply = await publish(job.publish, job, Math.floor(ENDLESS / batch) * batch, count, handshake(-1));
  await Bun.sleep(job.seconds * 1000);
  supply.end();
  // No more commands are sent. The replies to those under way come soon.
  for (let before = -1; before !== messages; ) {
    before = messages;
    await Bun.sleep(QUIET_MS);
  }
  const server = cpuSeconds(job.serverPid) - cpuBefore.server;
  const own = ownCpuSeconds() - cpuBefore.own;
  const seconds = (lastAtMs - startedAtMs) / 1000;
  return {
    messages,
    seconds,
    serverCpuSeconds: server,
    generatorCpuSeconds: own,
    othersBusy: Math.max(0, machineCpuSeconds() - cpuBefore.machine - server - own) / seconds,
    redelivered: 0,
  };
}
