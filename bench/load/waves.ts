import { cpuSeconds, machineCpuSeconds } from "../support/process-usage.ts";
import { LoadConnection } from "./connection.ts";
import { Consumer } from "./consumer.ts";
import type { Measurement, WavesJob } from "./job.ts";
import { ownCpuSeconds } from "./meter.ts";
import { publish } from "./publisher.ts";

/** The part of the waves at the beginning that is warm-up and not measured. */
const WARM_UP_WAVES = 0.1;

/**
 * Repeatedly publishes so few messages that a broker still has them in memory, and drains them. Measures the sum of the drains.
 * The consumers stay subscribed, with RDY 0 between the drains.
 */
export async function waves(job: WavesJob): Promise<Measurement> {
  let received = 0;
  let allReceived = () => {};
  const opening = Array.from({ length: job.drain.consumers }, () => LoadConnection.subscribe(job.tcpPort));
  const consumers = (await Promise.all(opening)).map(
    (connection) =>
      new Consumer(connection, job.drain.rdy, (messages) => {
        received += messages;
        if (received === job.waveMessages) allReceived();
      }),
  );
  const sum = { messages: 0, seconds: 0, serverCpuSeconds: 0, generatorCpuSeconds: 0, othersSeconds: 0 };
  const count = Math.max(2, Math.round(job.messages / job.waveMessages));
  for (let wave = 0; wave < count; wave++) {
    await fill(job);
    received = 0;
    const drained = new Promise<void>((resolve) => {
      allReceived = resolve;
    });
    const before = { server: cpuSeconds(job.serverPid), own: ownCpuSeconds(), machine: machineCpuSeconds(), atMs: performance.now() };
    for (const consumer of consumers) consumer.start();
    await drained;
    const seconds = (performance.now() - before.atMs) / 1000;
    for (const consumer of consumers) consumer.stop();
    if (wave < count * WARM_UP_WAVES) continue;
    const server = cpuSeconds(job.serverPid) - before.server;
    const own = ownCpuSeconds() - before.own;
    sum.messages += received;
    sum.seconds += seconds;
    sum.serverCpuSeconds += server;
    sum.generatorCpuSeconds += own;
    sum.othersSeconds += machineCpuSeconds() - before.machine - server - own;
  }
  const { othersSeconds, ...measured } = sum;
  const redelivered = consumers.reduce((total, consumer) => total + consumer.redelivered, 0);
  return { ...measured, othersBusy: Math.max(0, othersSeconds) / sum.seconds, redelivered };
}

/** Publishes one wave and waits until all of it is acknowledged. */
function fill(job: WavesJob): Promise<void> {
  return new Promise((resolve, reject) => {
    let left = job.waveMessages;
    publish(job.publish, job, job.waveMessages, (messages) => {
      left -= messages;
      if (left === 0) resolve();
    }).catch(reject);
  });
}
