import { cpuSeconds, machineCpuSeconds, rssBytes } from "../support/process-usage.ts";
import { type Load, LoadConnection } from "./connection.ts";
import type { IdleJob, Measurement } from "./job.ts";
import { ownCpuSeconds } from "./meter.ts";
import { handshake, readyCommand, SUBSCRIBE } from "./wire.ts";

/** Connections that are opened at a time, because a server's backlog of unaccepted connections is limited. */
const OPENED_AT_ONCE = 100;
/** Time for the work of a server after the last connection. */
const SETTLE_MS = 1000;

const READY = readyCommand(1);
const NOP = Buffer.from("NOP\n");

/** Consumers of an empty channel, as most channels are at night: RDY 1, and a NOP for each heartbeat. */
export async function idle(job: IdleJob): Promise<Measurement> {
  const rssBefore = rssBytes(job.serverPid);
  const cpuBefore = cpuSeconds(job.serverPid);
  const greeting = handshake(job.heartbeatMs);
  let heartbeats = 0;
  for (let opened = 0; opened < job.consumers; opened += OPENED_AT_ONCE) {
    const count = Math.min(OPENED_AT_ONCE, job.consumers - opened);
    const opening = Array.from({ length: count }, () => LoadConnection.subscribe(job.tcpPort, SUBSCRIBE, greeting));
    for (const connection of await Promise.all(opening)) {
      const load: Load = {
        receive: () => {
          heartbeats++;
          connection.write(NOP, 0, NOP.length);
        },
        drain: () => {},
      };
      connection.load = load;
      connection.write(READY, 0, READY.length);
    }
  }
  await Bun.sleep(SETTLE_MS);
  const rssWith = rssBytes(job.serverPid);
  const cpuOpened = cpuSeconds(job.serverPid);
  const before = { own: ownCpuSeconds(), machine: machineCpuSeconds(), atMs: performance.now() };
  heartbeats = 0;
  await Bun.sleep(job.seconds * 1000);
  const seconds = (performance.now() - before.atMs) / 1000;
  const server = cpuSeconds(job.serverPid) - cpuOpened;
  const own = ownCpuSeconds() - before.own;
  return {
    messages: heartbeats,
    seconds,
    serverCpuSeconds: server,
    generatorCpuSeconds: own,
    othersBusy: Math.max(0, machineCpuSeconds() - before.machine - server - own) / seconds,
    redelivered: 0,
    idle: {
      connections: job.consumers,
      rssBefore,
      rssWith,
      openingCpuUs: ((cpuOpened - cpuBefore) / job.consumers) * 1e6,
      cpuUsPerSecond: (server / seconds / job.consumers) * 1e6,
    },
  };
}
