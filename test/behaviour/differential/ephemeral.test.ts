import { newestOfFlood } from "./support/differences.ts";
import { type DefineScenario, describeAgainstNsqd } from "./support/pair.ts";
import type { Session } from "./support/session.ts";

const PUBLISHED = 15;
const READY = 2;
const BODIES = Array.from({ length: PUBLISHED }, (_, i) => `number ${i}`);

/** With 0 nothing may wait, and a consumer that is ready still gets everything. Many production command lines have it. */
for (const size of [0, 1, 10]) {
  describeAgainstNsqd(
    `ephemeral topics and channels with --mem-queue-size=${size}`,
    { args: ["--node-id=7", `--mem-queue-size=${size}`] },
    (scenario) => bounded(scenario, size),
  );
}

/** Publishes the bodies one by one to an ephemeral topic. */
async function publishTo(s: Session, topic: string): Promise<void> {
  const publisher = await s.peer("p");
  for (const body of BODIES) {
    publisher.send(`PUB ${topic}`, body);
    await publisher.frames(1);
  }
}

function bounded(scenario: DefineScenario, size: number): void {
  const waiting = size === 0 ? [] : [newestOfFlood(PUBLISHED - size)];
  // nsqd without a queue drops what comes before its consumer's goroutine is back: each message leaves it time.
  const few = BODIES.slice(0, 3);
  scenario("a consumer that is ready gets every message of an ephemeral channel", async (s) => {
    const peer = await s.consumer("a", { channel: "ch#ephemeral", rdy: 100 });
    for (const body of few) {
      await peer.quiet(100);
      await s.publish(body);
      await peer.frames(1);
    }
    await s.stats((topic) => topic.channels[0]?.in_flight_count === few.length);
  });
  scenario("a consumer that is ready gets every message of an ephemeral topic", async (s) => {
    const topic = `${s.topic}#ephemeral`;
    const peer = await s.consumer("a", { topic, channel: "ch", rdy: 100 });
    const publisher = await s.peer("p");
    for (const body of few) {
      await peer.quiet(100);
      publisher.send(`PUB ${topic}`, body);
      await publisher.frames(1);
      await peer.frames(1);
    }
    await s.stats((stats) => stats.channels[0]?.in_flight_count === few.length, topic);
  });
  scenario("a consumer that finishes one after the other gets every message", async (s) => {
    const peer = await s.consumer("a", { channel: "ch#ephemeral", rdy: 1 });
    for (const body of few) {
      await peer.quiet(100);
      await s.publish(body);
      const { id } = await peer.frame();
      peer.send(`FIN ${id}`);
      await s.stats((topic) => topic.channels[0]?.in_flight_count === 0);
    }
  });
  scenario("beyond what consumers take, only so many wait", async (s) => {
    const peer = await s.consumer("a", { channel: "ch#ephemeral", rdy: READY });
    for (const [i, body] of BODIES.entries()) {
      if (i <= READY) await peer.quiet(100);
      await s.publish(body);
      if (i < READY) await peer.frames(1);
    }
    const depth = Math.min(size, PUBLISHED - READY);
    await s.stats((topic) => topic.channels[0]?.in_flight_count === READY && topic.channels[0].depth === depth);
  });
  scenario(
    "a paused ephemeral channel keeps only so many for the consumer that is ready",
    async (s) => {
      const peer = await s.consumer("a", { channel: "ch#ephemeral", rdy: 100 });
      await s.http("POST", `/channel/pause?topic=${s.topic}&channel=ch%23ephemeral`);
      await peer.quiet();
      await s.publish(...BODIES);
      await s.stats((topic) => topic.channels[0]?.depth === size);
      await s.http("POST", `/channel/unpause?topic=${s.topic}&channel=ch%23ephemeral`);
      await peer.frames(size);
      await peer.quiet();
      await s.stats((topic) => topic.channels[0]?.in_flight_count === size);
    },
    waiting,
  );
  scenario(
    "a paused ephemeral topic keeps only so many for its channels",
    async (s) => {
      const topic = `${s.topic}#ephemeral`;
      const peer = await s.consumer("a", { topic, channel: "ch", rdy: 100 });
      await s.http("POST", `/topic/pause?topic=${s.topic}%23ephemeral`);
      await peer.quiet();
      await publishTo(s, topic);
      await s.stats((stats) => stats.depth === size, topic);
      await s.http("POST", `/topic/unpause?topic=${s.topic}%23ephemeral`);
      await peer.frames(size);
      await peer.quiet();
    },
    waiting,
  );
}
