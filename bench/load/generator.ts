/**
 * The load generator. It is a separate process, so that its CPU time can be distinguished from the server's.
 *
 *     bun bench/load/generator.ts '<Job as JSON>'
 *
 * prints a Measurement as JSON. If anything unexpected happens (an error frame, a lost connection, a message too many or too few,
 * no progress for 10 s), it prints an error to stderr and exits with 1.
 */
import { fail, LoadConnection } from "./connection.ts";
import { consume } from "./consumer.ts";
import { flood } from "./flood.ts";
import { idle } from "./idle.ts";
import type { DrainLoad, Job, LatencyJob, Measurement } from "./job.ts";
import { AgeingConsumer, PacedProducer } from "./latency.ts";
import { Meter } from "./meter.ts";
import { probe } from "./probe.ts";
import { publish } from "./publisher.ts";
import { waves } from "./waves.ts";

async function run(job: Job): Promise<Measurement> {
  switch (job.kind) {
    case "waves":
      return waves(job);
    case "flood":
      return flood(job);
    case "probe":
      return probe(job);
    case "idle":
      return idle(job);
  }
  // A drain counts deliveries: with several channels each message is delivered several times.
  const times = "drain" in job ? deliveries(job.drain) : 1;
  const meter = new Meter({ ...job, messages: job.messages * times, warmUp: job.warmUp * times });
  const count = (messages: number) => meter.add(messages);
  switch (job.kind) {
    case "publish":
      await publish(job.publish, job, job.messages, count);
      return { ...(await meter.measurement()), redelivered: 0 };
    case "drain": {
      const consumers = await consume(job.drain, job.tcpPort, count);
      const measurement = await meter.measurement();
      return { ...measurement, redelivered: consumers.reduce((sum, consumer) => sum + consumer.redelivered, 0) };
    }
    case "publish-and-drain": {
      const consumers = await consume(job.drain, job.tcpPort, count);
      await publish(job.publish, job, job.messages, () => {});
      const measurement = await meter.measurement();
      return { ...measurement, redelivered: consumers.reduce((sum, consumer) => sum + consumer.redelivered, 0) };
    }
    case "latency":
      return latency(job, meter);
  }
}

function deliveries(drain: DrainLoad): number {
  return drain.channels ?? 1;
}

async function latency(job: LatencyJob, meter: Meter): Promise<Measurement> {
  const consumer = new AgeingConsumer(await LoadConnection.subscribe(job.tcpPort), job, (messages) => meter.add(messages));
  const producer = new PacedProducer(await LoadConnection.identify(job.tcpPort), job);
  consumer.start();
  producer.start();
  const measurement = await meter.measurement();
  return { ...measurement, redelivered: consumer.redelivered, latencyMs: consumer.latencyMs() };
}

process.on("uncaughtException", fail);
process.on("unhandledRejection", fail);
const job: Job = JSON.parse(process.argv[2] ?? fail("one argument: the job as JSON"));
console.log(JSON.stringify(await run(job)));
process.exit(0);
