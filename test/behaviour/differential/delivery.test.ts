import { givenBackAtOnce, newestOfFlood, retriesInTurn } from "./support/differences.ts";
import { type DefineScenario, describeAgainstNsqd } from "./support/pair.ts";
import type { Peer, Session } from "./support/session.ts";
import { batch, filled } from "./support/wire.ts";

/** The shortest message timeout a client may ask for. */
const SHORT_TIMEOUT_MS = 1000;
const MAX_MSG_TIMEOUT_MS = 2500;
const MAX_REQ_TIMEOUT_MS = 1500;
const MAX_CONSUMERS = 2;

describeAgainstNsqd(
  "delivery",
  {
    args: [
      "--node-id=7",
      `--max-msg-timeout=${MAX_MSG_TIMEOUT_MS}ms`,
      `--max-req-timeout=${MAX_REQ_TIMEOUT_MS}ms`,
      `--max-channel-consumers=${MAX_CONSUMERS}`,
    ],
    // nsqd looks at a random selection of its channels; with hundreds of scenarios beside each other that would be late.
    goArgs: ["--queue-scan-selection-count=10000"],
  },
  (scenario) => {
    heartbeats(scenario);
    timeouts(scenario);
    requeues(scenario);
    ownership(scenario);
    readiness(scenario);
    closing(scenario);
    channels(scenario);
    ephemerals(scenario);
    pauses(scenario);
    emptying(scenario);
    deleting(scenario);
    deferring(scenario);
    bodies(scenario);
  },
);

const MEM_QUEUE_SIZE = 10;

describeAgainstNsqd(
  "ephemeral topics and channels beyond their bound",
  { args: ["--node-id=7", `--mem-queue-size=${MEM_QUEUE_SIZE}`] },
  overflows,
);

const shortTimeout = { msg_timeout: SHORT_TIMEOUT_MS };

/** Waits, without recording, until the broker's numbers of the first channel are as asked. */
async function untilChannel(s: Session, what: string, settled: (channel: { [key: string]: unknown }) => boolean): Promise<void> {
  const deadline = Date.now() + 8000;
  for (;;) {
    const channel = (await s.topicStats())?.channels[0];
    if (channel !== undefined && settled(channel as unknown as { [key: string]: unknown })) return s.note(`reached: ${what}`);
    if (Date.now() > deadline) return s.note(`not reached: ${what}`);
    await Bun.sleep(10);
  }
}

function heartbeats(scenario: DefineScenario): void {
  scenario("heartbeats come at the negotiated interval and a silent client is dropped after two", async (s) => {
    const peer = await s.peer("a");
    peer.client.answerHeartbeats = false;
    const identifiedMs = performance.now();
    peer.send("IDENTIFY", '{"heartbeat_interval":1000}');
    await peer.frames(1);
    const heartbeat = async () => {
      while (peer.client.heartbeats === 0 && !peer.client.closed && performance.now() - identifiedMs < 5000) await Bun.sleep(5);
    };
    await s.due("first heartbeat", 1000, identifiedMs, heartbeat);
    await s.due("end", 2000, identifiedMs, () => peer.untilClosed());
  });
  scenario("a client that answers heartbeats stays", async (s) => {
    const peer = await s.peer("a");
    peer.send("IDENTIFY", '{"heartbeat_interval":1000}');
    await peer.frames(1);
    // The third was sent at 3000 ms, and the fourth comes at 4000.
    await peer.quiet(3850);
    s.note(`heartbeats: ${peer.client.heartbeats}`);
    await peer.end();
  });
  scenario("a client that does anything but answer heartbeats stays", async (s) => {
    const peer = await s.peer("a");
    peer.client.answerHeartbeats = false;
    peer.send("IDENTIFY", '{"heartbeat_interval":1000}');
    await peer.frames(1);
    for (let i = 0; i < 5; i++) {
      await peer.quiet(600);
      peer.send(`PUB ${s.topic}`, "m");
      await peer.frames(1);
    }
    await peer.end();
  });
  scenario("a half command is no sign of life", async (s) => {
    const peer = await s.peer("a");
    peer.client.answerHeartbeats = false;
    const identifiedMs = performance.now();
    peer.send("IDENTIFY", '{"heartbeat_interval":1000}');
    await peer.frames(1);
    await peer.quiet(1200);
    peer.client.write("NO");
    await s.due("end", 2000, identifiedMs, () => peer.untilClosed());
  });
  scenario("a client without heartbeats gets none and is not dropped", async (s) => {
    const peer = await s.peer("a");
    peer.send("IDENTIFY", '{"heartbeat_interval":-1}');
    await peer.frames(1);
    await peer.quiet(2500);
    s.note(`heartbeats: ${peer.client.heartbeats}`);
    await peer.end();
  });
}

function timeouts(scenario: DefineScenario): void {
  scenario("a message that is not finished in time comes again with one more attempt", async (s) => {
    const peer = await s.consumer("a", { rdy: 1, identify: shortTimeout });
    const publishedMs = performance.now();
    await s.publish("m");
    await peer.frame();
    await s.due("again", SHORT_TIMEOUT_MS, publishedMs, () => peer.frame());
    await s.due("and again", 2 * SHORT_TIMEOUT_MS, publishedMs, async () => {
      const message = await peer.frame();
      peer.send(`FIN ${message.id}`);
    });
    await s.stats((topic) => topic.channels[0]?.in_flight_count === 0);
  });
  for (const command of ["FIN", "TOUCH", "REQ"]) {
    scenario(`${command} after the message's timeout fails, and the connection stays`, async (s) => {
      const peer = await s.consumer("a", { rdy: 1, identify: shortTimeout });
      await s.publish("m");
      const message = await peer.frame();
      peer.send("RDY 0");
      await untilChannel(s, "timed out", (channel) => channel.timeout_count === 1);
      peer.send(`${command} ${message.id}${command === "REQ" ? " 0" : ""}`);
      await peer.frames(1);
      await peer.end();
      await s.stats((topic) => topic.channels[0]?.depth === 1);
    });
  }
  scenario("a timed out message goes to another consumer, and its first holder no longer owns it", async (s) => {
    const first = await s.consumer("a", { rdy: 1, identify: shortTimeout });
    await s.publish("m");
    const message = await first.frame();
    first.send("RDY 0");
    const second = await s.consumer("b", { rdy: 1, identify: {} });
    await second.frame();
    first.send(`FIN ${message.id}`);
    await first.frames(1);
    second.send(`FIN ${message.id}`);
    await s.stats((topic) => topic.channels[0]?.in_flight_count === 0);
  });
  scenario("the connection's own timeout counts, not another's", async (s) => {
    const patient = await s.consumer("a", { rdy: 1, identify: { msg_timeout: 2500 } });
    const publishedMs = performance.now();
    await s.publish("m");
    await patient.frame();
    await s.due("again", 2500, publishedMs, () => patient.frame());
  });
  scenario("TOUCH puts the timeout off", async (s) => {
    const peer = await s.consumer("a", { rdy: 1, identify: shortTimeout });
    await s.publish("m");
    const message = await peer.frame();
    await peer.quiet(700);
    const touchedMs = performance.now();
    peer.send(`TOUCH ${message.id}`);
    await s.due("again", SHORT_TIMEOUT_MS, touchedMs, () => peer.frame());
    await s.stats((topic) => topic.channels[0]?.timeout_count === 1);
  });
  scenario("TOUCH cannot hold a message longer than max-msg-timeout", async (s) => {
    const peer = await s.consumer("a", { rdy: 1, identify: shortTimeout });
    const publishedMs = performance.now();
    await s.publish("m");
    const message = await peer.frame();
    let held = true;
    // In nsqd a young channel's messages may be late, so touching goes on until the message comes again.
    const touching = (async () => {
      while (held) {
        peer.client.command(`TOUCH ${message.id}`);
        await Bun.sleep(200);
      }
    })();
    const frames: string[] = [];
    await s.due("again", MAX_MSG_TIMEOUT_MS, publishedMs, async () => {
      const again = await peer.client.next(9000);
      held = false;
      frames.push(`${again.type} attempts ${again.attempts}`);
    });
    await touching;
    s.note(frames.join());
  });
  scenario("TOUCH, FIN and REQ are answered with nothing when they succeed", async (s) => {
    const peer = await s.consumer("a", { rdy: 1 });
    await s.publish("one");
    const message = await peer.frame();
    peer.send(`TOUCH ${message.id}`);
    peer.send(`TOUCH ${message.id}`);
    peer.send(`FIN ${message.id}`);
    await peer.end();
  });
}

function requeues(scenario: DefineScenario): void {
  scenario("REQ 0 gives the message back at once, attempts counted each time", async (s) => {
    const peer = await s.consumer("a", { rdy: 1 });
    await s.publish("m");
    const message = await peer.frame();
    for (let i = 0; i < 4; i++) {
      peer.send(`REQ ${message.id} 0`);
      await peer.frame();
    }
    await s.stats((topic) => topic.channels[0]?.requeue_count === 4);
    peer.send(`FIN ${message.id}`);
    await s.stats((topic) => topic.channels[0]?.in_flight_count === 0);
  });
  for (const [delay, dueMs] of [
    ["400", 400],
    [String(MAX_REQ_TIMEOUT_MS), MAX_REQ_TIMEOUT_MS],
    ["3600000", MAX_REQ_TIMEOUT_MS],
    ["18446744073709551615", 0],
  ] as const) {
    scenario(`REQ ${delay} brings the message back after ${dueMs} ms`, async (s) => {
      const peer = await s.consumer("a", { rdy: 1 });
      await s.publish("m");
      const message = await peer.frame();
      const requeuedMs = performance.now();
      peer.send(`REQ ${message.id} ${delay}`);
      await s.due("again", dueMs, requeuedMs, () => peer.frame());
      await s.stats((topic) => topic.channels[0]?.requeue_count === 1);
    });
  }
  scenario("a requeued message is deferred and not in flight while it waits", async (s) => {
    const peer = await s.consumer("a", { rdy: 5 });
    await s.publish("one", "two");
    const message = await peer.frame();
    await peer.frame();
    peer.send(`REQ ${message.id} ${MAX_REQ_TIMEOUT_MS}`);
    await s.stats((topic) => topic.channels[0]?.deferred_count === 1);
    for (const line of [`FIN ${message.id}`, `TOUCH ${message.id}`, `REQ ${message.id} 0`]) {
      peer.send(line);
      await peer.frames(1);
    }
    await peer.frame();
    await s.stats((topic) => topic.channels[0]?.deferred_count === 0);
  });
  scenario(
    "a message requeued at once does not keep the others from coming",
    async (s) => {
      const peer = await s.consumer("a");
      await s.publish("one", "two", "three");
      await untilChannel(s, "all in the channel", (channel) => channel.depth === 3);
      peer.send("RDY 1");
      const first = await peer.frame();
      peer.send(`REQ ${first.id} 0`);
      for (let i = 0; i < 3; i++) {
        const message = await peer.frame();
        peer.send(`FIN ${message.id}`);
      }
      await s.stats((topic) => topic.channels[0]?.in_flight_count === 0);
    },
    [retriesInTurn],
  );
  scenario("a requeue concerns its own channel only", async (s) => {
    const left = await s.consumer("a", { channel: "left", rdy: 1 });
    const right = await s.consumer("b", { channel: "right", rdy: 1 });
    await s.publish("m");
    const message = await left.frame();
    const twin = await right.frame();
    s.note(`same id in both channels: ${message.id === twin.id}, same timestamp: ${message.timestampNs === twin.timestampNs}`);
    right.send(`FIN ${twin.id}`);
    left.send(`REQ ${message.id} 0`);
    const again = await left.frame();
    s.note(`same timestamp after a requeue: ${again.timestampNs === message.timestampNs}`);
    await right.quiet();
    await s.stats((topic) => topic.channels[1]?.in_flight_count === 0);
  });
}

function ownership(scenario: DefineScenario): void {
  scenario("FIN twice fails the second time", async (s) => {
    const peer = await s.consumer("a", { rdy: 1 });
    await s.publish("m");
    const message = await peer.frame();
    peer.send(`FIN ${message.id}`);
    for (const line of [`FIN ${message.id}`, `TOUCH ${message.id}`, `REQ ${message.id} 0`]) {
      peer.send(line);
      await peer.frames(1);
    }
    await peer.end();
  });
  scenario("another consumer's message cannot be finished, touched or requeued", async (s) => {
    const owner = await s.consumer("a", { rdy: 1, identify: {} });
    await s.publish("m");
    const message = await owner.frame();
    const other = await s.consumer("b", { identify: {} });
    for (const line of [`FIN ${message.id}`, `TOUCH ${message.id}`, `REQ ${message.id} 0`, `REQ ${message.id} 1000`]) {
      other.send(line);
      await other.frames(1);
    }
    await s.stats((topic) => topic.channels[0]?.client_count === 2);
    owner.send(`FIN ${message.id}`);
    await s.stats((topic) => topic.channels[0]?.in_flight_count === 0);
  });
  scenario("a message of another channel is not in flight in this one", async (s) => {
    const left = await s.consumer("a", { channel: "left", rdy: 1 });
    const right = await s.consumer("b", { channel: "right" });
    await s.publish("m");
    const message = await left.frame();
    right.send(`FIN ${message.id}`);
    await right.frames(1);
    await right.end();
  });
  scenario("a message that waits in the channel is not in flight", async (s) => {
    const peer = await s.consumer("a", { rdy: 1 });
    await s.publish("m");
    const message = await peer.frame();
    peer.send("RDY 0");
    peer.send(`REQ ${message.id} 0`);
    await untilChannel(s, "given back", (channel) => channel.depth === 1);
    peer.send(`FIN ${message.id}`);
    await peer.frames(1);
    await peer.end();
  });
}

function readiness(scenario: DefineScenario): void {
  scenario("nothing comes before RDY, and RDY says how many are in flight at once", async (s) => {
    const peer = await s.consumer("a");
    await s.publish("one", "two", "three", "four");
    await peer.quiet();
    peer.send("RDY 2");
    const [first] = await peer.frames(2);
    await peer.quiet();
    peer.send(`FIN ${first?.id}`);
    await peer.frame();
    await peer.quiet();
    await s.stats((topic) => topic.channels[0]?.in_flight_count === 2);
  });
  scenario("RDY without a count is RDY 1", async (s) => {
    const peer = await s.consumer("a");
    await s.publish("one", "two");
    peer.send("RDY");
    await peer.frame();
    await peer.quiet();
  });
  scenario("RDY 0 stops delivery and a later RDY resumes it", async (s) => {
    const peer = await s.consumer("a", { rdy: 1 });
    await s.publish("one", "two");
    const first = await peer.frame();
    peer.send("RDY 0");
    peer.send(`FIN ${first.id}`);
    await peer.quiet();
    peer.send("RDY 1");
    await peer.frame();
  });
  scenario("RDY below what is in flight takes nothing back", async (s) => {
    const peer = await s.consumer("a", { rdy: 3 });
    await s.publish("one", "two", "three", "four", "five");
    const [first, second, third] = await peer.frames(3);
    peer.send("RDY 1");
    peer.send(`FIN ${first?.id}`);
    peer.send(`FIN ${second?.id}`);
    await peer.quiet();
    await s.stats((topic) => topic.channels[0]?.in_flight_count === 1);
    peer.send(`FIN ${third?.id}`);
    await peer.frame();
    await peer.quiet();
  });
  scenario("RDY again with the same count lets no more through", async (s) => {
    const peer = await s.consumer("a", { rdy: 1 });
    await s.publish("one", "two");
    await peer.frame();
    for (let i = 0; i < 3; i++) peer.send("RDY 1");
    await peer.quiet();
  });
  scenario("two consumers that take one message each get one each", async (s) => {
    const peers = [await s.consumer("a", { rdy: 1 }), await s.consumer("b", { rdy: 1 })];
    await s.publish("one", "two");
    const texts: string[] = [];
    for (const peer of peers) texts.push((await peer.client.message()).text);
    s.note(texts.sort().join());
    for (const peer of peers) await peer.quiet();
  });
  scenario("a consumer that is not ready is passed by", async (s) => {
    const idle = await s.consumer("a");
    const busy = await s.consumer("b", { rdy: 10 });
    await s.publish("one", "two", "three");
    await busy.frames(3);
    await idle.quiet();
  });
  scenario("one consumer receives in the order of publishing", async (s) => {
    const peer = await s.consumer("a");
    const publisher = await s.peer("p");
    for (let from = 0; from < 300; from += 100) {
      publisher.send(`MPUB ${s.topic}`, batch(...Array.from({ length: 100 }, (_, i) => `number ${from + i}`)));
      await publisher.frames(1);
    }
    peer.send("RDY 1000");
    await peer.frames(300);
  });
  scenario(`a consumer beyond max-channel-consumers is refused, and one more fits after one has left`, async (s) => {
    const first = await s.consumer("a");
    await s.consumer("b");
    const third = await s.consumer("c");
    await third.untilClosed();
    await s.consumer("d", { channel: "other" });
    await first.end();
    await untilChannel(s, "one left", (channel) => channel.client_count === 1);
    const fifth = await s.consumer("e");
    await fifth.end();
  });
  scenario("a sampling consumer gets about its share, and the rest is gone", async (s) => {
    const peer = await s.consumer("a", { rdy: 2500, identify: { sample_rate: 50 } });
    await s.stats((topic) => topic.channels[0]?.client_count === 1);
    let received = 0;
    peer.client.onFrame = (frame) => {
      received++;
      peer.client.command(`FIN ${frame.id}`);
    };
    const publisher = await s.peer("p");
    publisher.client.command(`MPUB ${s.topic}`, batch(...Array.from({ length: 1000 }, () => "m")));
    await publisher.frames(1);
    await untilChannel(s, "drained", (channel) => channel.depth === 0 && channel.in_flight_count === 0 && channel.message_count === 1000);
    s.note(`received: ${received > 400 && received < 620 ? "about half" : received}`);
  });
}

function closing(scenario: DefineScenario): void {
  scenario("after CLS nothing more comes, and what is in flight can be finished, touched and requeued", async (s) => {
    const peer = await s.consumer("a", { rdy: 3 });
    await s.publish("one", "two", "three", "four");
    const [first, second, third] = await peer.frames(3);
    peer.send("CLS");
    await peer.frames(1);
    peer.send("RDY 5");
    peer.send("NOP");
    peer.send(`FIN ${first?.id}`);
    peer.send(`REQ ${second?.id} 0`);
    peer.send(`TOUCH ${third?.id}`);
    await peer.quiet();
    await s.stats((topic) => topic.channels[0]?.in_flight_count === 1 && topic.channels[0].depth === 2);
    peer.send(`FIN ${third?.id}`);
    await peer.end();
  });
  scenario(
    "a message left in flight by a consumer that disconnected comes again",
    async (s) => {
      const leaver = await s.consumer("a", { rdy: 1, identify: shortTimeout });
      const stayer = await s.consumer("b", { identify: {} });
      await s.publish("m");
      await leaver.frame();
      leaver.client.close();
      stayer.send("RDY 1");
      await stayer.frame();
      // What came after its timeout counts as timed out.
      await s.stats((topic) => topic.channels[0]?.client_count === 1);
    },
    [givenBackAtOnce],
  );
}

function channels(scenario: DefineScenario): void {
  scenario("the backlog waits for the first channel, and a later channel starts at the tail", async (s) => {
    await s.publish("one", "two");
    await s.stats((topic) => topic.depth === 2);
    const first = await s.consumer("a", { channel: "first", rdy: 10 });
    await first.frames(2);
    await s.stats((topic) => topic.depth === 0);
    const second = await s.consumer("b", { channel: "second", rdy: 10 });
    await second.quiet();
    await s.publish("three");
    await first.frame();
    await second.frame();
    await s.stats((topic) => topic.depth === 0);
  });
  scenario("a channel without consumers keeps what is published", async (s) => {
    const peer = await s.consumer("a");
    await peer.end();
    await s.publish("one", "two");
    await s.stats((topic) => topic.channels[0]?.depth === 2 && topic.channels[0].client_count === 0);
    const next = await s.consumer("b", { rdy: 10 });
    await next.frames(2);
  });
  scenario("a channel made by hand takes the backlog", async (s) => {
    await s.publish("one", "two");
    await s.http("POST", `/channel/create?topic=${s.topic}&channel=made`);
    await s.stats((topic) => topic.channels[0]?.depth === 2);
  });
  scenario("a connection may publish to the topic that it consumes", async (s) => {
    const peer = await s.consumer("a", { rdy: 1 });
    peer.send(`PUB ${s.topic}`, "to myself");
    await peer.framesInAnyOrder(2);
  });
  scenario("counts follow a script of actions", async (s) => {
    const peer = await s.consumer("a", { identify: {} });
    await s.publish("one", "two", "three", "four", "five", "six");
    await s.stats((topic) => topic.channels[0]?.depth === 6);
    peer.send("RDY 4");
    const [first, second, third] = await peer.frames(4);
    peer.send("RDY 0");
    await peer.settle();
    await s.stats((topic) => topic.channels[0]?.in_flight_count === 4 && topic.channels[0].depth === 2);
    peer.send(`FIN ${first?.id}`);
    await s.stats((topic) => topic.channels[0]?.in_flight_count === 3);
    peer.send(`REQ ${second?.id} 0`);
    await s.stats((topic) => topic.channels[0]?.depth === 3);
    peer.send(`REQ ${third?.id} ${MAX_REQ_TIMEOUT_MS}`);
    await s.stats((topic) => topic.channels[0]?.deferred_count === 1);
    await s.stats((topic) => topic.channels[0]?.deferred_count === 0 && topic.channels[0].depth === 4);
    peer.send("CLS");
    await peer.frames(1);
    await s.stats((topic) => topic.channels[0]?.client_count === 1);
  });
}

function ephemerals(scenario: DefineScenario): void {
  const shapeOf = async (s: Session, topic: string) => {
    const stats = await s.topicStats(topic);
    return stats === undefined ? "no topic" : `channels: ${stats.channels.map((channel) => channel.channel_name).join() || "none"}`;
  };
  const untilShape = async (s: Session, topic: string, expected: string) => {
    const deadline = Date.now() + 5000;
    while ((await shapeOf(s, topic)) !== expected && Date.now() < deadline) await Bun.sleep(10);
    s.note(await shapeOf(s, topic));
  };
  scenario("an ephemeral channel goes with its last consumer", async (s) => {
    const first = await s.consumer("a", { channel: "ch#ephemeral" });
    const second = await s.consumer("b", { channel: "ch#ephemeral" });
    await first.end();
    s.note(await shapeOf(s, s.topic));
    await second.end();
    await untilShape(s, s.topic, "channels: none");
  });
  scenario("an ephemeral channel's messages go with it", async (s) => {
    const first = await s.consumer("a", { channel: "ch#ephemeral", rdy: 1 });
    await s.publish("one", "two");
    await first.frame();
    await first.end();
    await untilShape(s, s.topic, "channels: none");
    const second = await s.consumer("b", { channel: "ch#ephemeral", rdy: 5 });
    await second.quiet();
  });
  scenario("an ephemeral topic goes with its last channel", async (s) => {
    const topic = `${s.topic}#ephemeral`;
    const first = await s.consumer("a", { topic, channel: "one#ephemeral" });
    const second = await s.consumer("b", { topic, channel: "two#ephemeral" });
    await first.end();
    await untilShape(s, topic, "channels: two#ephemeral");
    await second.end();
    await untilShape(s, topic, "no topic");
  });
  scenario("an ephemeral topic with a lasting channel stays", async (s) => {
    const topic = `${s.topic}#ephemeral`;
    const peer = await s.consumer("a", { topic, channel: "lasting" });
    await peer.end();
    await s.stats((stats) => stats.channels[0]?.client_count === 0, topic);
    await s.http("POST", `/channel/delete?topic=${encodeURIComponent(topic)}&channel=lasting`);
    await untilShape(s, topic, "no topic");
  });
  scenario("an ephemeral topic without channels waits for its first", async (s) => {
    const topic = `${s.topic}#ephemeral`;
    const publisher = await s.peer("p");
    publisher.send(`PUB ${topic}`, "early");
    await publisher.frames(1);
    await publisher.end();
    s.note(await shapeOf(s, topic));
    const peer = await s.consumer("a", { topic, rdy: 1 });
    await peer.frame();
  });
  scenario("messages pass through ephemeral topic and channel, requeues and timeouts included", async (s) => {
    const topic = `${s.topic}#ephemeral`;
    const peer = await s.consumer("a", { topic, channel: "ch#ephemeral", rdy: 2, identify: shortTimeout });
    const publisher = await s.peer("p");
    publisher.send(`MPUB ${topic}`, batch("one", "two"));
    await publisher.frames(1);
    const [first, second] = await peer.frames(2);
    peer.send(`FIN ${second?.id}`);
    const requeuedMs = performance.now();
    peer.send(`REQ ${first?.id} 0`);
    await peer.frame();
    await s.due("again", SHORT_TIMEOUT_MS, requeuedMs, () => peer.frame());
  });
}

/** What has no disk keeps as much as fits in memory, and loses the rest: nsqd what comes last, bunsq what came first. */
function overflows(scenario: DefineScenario): void {
  const lost = 5;
  const bodies = Array.from({ length: MEM_QUEUE_SIZE + lost }, (_, i) => `number ${i}`);
  const differences = [newestOfFlood(lost)];
  const drain = async (s: Session, topic: string, channel: string) => {
    const peer = await s.consumer("a", { topic, channel, rdy: 100 });
    await peer.frames(MEM_QUEUE_SIZE);
    await peer.quiet();
    await s.stats((stats) => stats.channels[0]?.in_flight_count === MEM_QUEUE_SIZE, topic);
  };
  scenario(
    "an ephemeral channel loses what does not fit",
    async (s) => {
      await s.consumer("idle", { channel: "ch#ephemeral", identify: {} });
      await s.publish(...bodies);
      await s.stats((topic) => topic.channels[0]?.depth === MEM_QUEUE_SIZE);
      await drain(s, s.topic, "ch#ephemeral");
    },
    differences,
  );
  scenario(
    "an ephemeral topic without channels loses what does not fit",
    async (s) => {
      const topic = `${s.topic}#ephemeral`;
      const publisher = await s.peer("p");
      for (const body of bodies) {
        publisher.send(`PUB ${topic}`, body);
        await publisher.frames(1);
      }
      await s.stats((stats) => stats.depth === MEM_QUEUE_SIZE, topic);
      await drain(s, topic, "ch");
    },
    differences,
  );
  scenario(
    "an ephemeral topic takes a batch that does not fit in part",
    async (s) => {
      const topic = `${s.topic}#ephemeral`;
      const publisher = await s.peer("p");
      publisher.send(`MPUB ${topic}`, batch(...bodies));
      await publisher.frames(1);
      await s.stats((stats) => stats.depth === MEM_QUEUE_SIZE, topic);
      await drain(s, topic, "ch");
    },
    differences,
  );
}

function pauses(scenario: DefineScenario): void {
  scenario("a paused topic keeps its messages from its channels", async (s) => {
    const peer = await s.consumer("a", { rdy: 10 });
    await s.http("POST", `/topic/pause?topic=${s.topic}`);
    await s.publish("one", "two");
    await peer.quiet();
    await s.stats((topic) => topic.depth === 2);
    await s.http("POST", `/topic/unpause?topic=${s.topic}`);
    await peer.frames(2);
    await s.stats((topic) => topic.depth === 0);
  });
  scenario("a paused topic goes on delivering what its channels already have", async (s) => {
    const peer = await s.consumer("a");
    await s.publish("one", "two");
    await untilChannel(s, "both in the channel", (channel) => channel.depth === 2);
    await s.http("POST", `/topic/pause?topic=${s.topic}`);
    await s.publish("three");
    peer.send("RDY 10");
    const [first] = await peer.frames(2);
    peer.send(`REQ ${first?.id} 0`);
    await peer.frame();
    await peer.quiet();
    await s.stats((topic) => topic.depth === 1);
  });
  scenario("a channel that is made while its topic is paused takes the backlog when it is resumed", async (s) => {
    await s.publish("one");
    await s.http("POST", `/topic/pause?topic=${s.topic}`);
    const peer = await s.consumer("a", { channel: "early", rdy: 10 });
    await peer.quiet();
    const second = await s.consumer("b", { channel: "late", rdy: 10 });
    await s.stats((topic) => topic.channels.length === 2);
    await s.http("POST", `/topic/unpause?topic=${s.topic}`);
    await peer.frame();
    await second.frame();
  });
  scenario("a paused channel keeps its messages from its consumers, and its neighbour does not", async (s) => {
    const paused = await s.consumer("a", { channel: "paused", rdy: 10 });
    const running = await s.consumer("b", { channel: "running", rdy: 10 });
    await s.http("POST", `/channel/pause?topic=${s.topic}&channel=paused`);
    await s.publish("one", "two");
    await running.frames(2);
    await paused.quiet();
    await s.stats((topic) => topic.channels[0]?.depth === 2);
    await s.http("POST", `/channel/unpause?topic=${s.topic}&channel=paused`);
    await paused.frames(2);
    await s.stats((topic) => topic.channels[0]?.depth === 0);
  });
  scenario("in a paused channel messages in flight can be finished, and requeued ones wait", async (s) => {
    const peer = await s.consumer("a", { rdy: 2 });
    await s.publish("one", "two");
    const [first, second] = await peer.frames(2);
    await s.http("POST", `/channel/pause?topic=${s.topic}&channel=ch`);
    peer.send(`FIN ${first?.id}`);
    peer.send(`REQ ${second?.id} 0`);
    await peer.quiet();
    await s.stats((topic) => topic.channels[0]?.depth === 1);
    await s.http("POST", `/channel/unpause?topic=${s.topic}&channel=ch`);
    await peer.frame();
  });
  scenario("pausing and resuming twice changes nothing", async (s) => {
    const peer = await s.consumer("a", { rdy: 10 });
    for (const action of ["pause", "pause", "unpause", "unpause"]) await s.http("POST", `/topic/${action}?topic=${s.topic}`);
    for (const action of ["pause", "pause", "unpause", "unpause"]) await s.http("POST", `/channel/${action}?topic=${s.topic}&channel=ch`);
    await s.publish("one");
    await peer.frame();
  });
}

function emptying(scenario: DefineScenario): void {
  scenario("emptying a topic drops what waits in it and nothing of its channels", async (s) => {
    await s.publish("one", "two");
    await s.http("POST", `/topic/empty?topic=${s.topic}`);
    await s.stats((topic) => topic.depth === 0);
    const peer = await s.consumer("a", { rdy: 0 });
    await s.publish("three");
    await untilChannel(s, "in the channel", (channel) => channel.depth === 1);
    await s.http("POST", `/topic/empty?topic=${s.topic}`);
    peer.send("RDY 5");
    await peer.frame();
    await peer.quiet();
  });
  scenario("emptying a paused topic drops what it withheld", async (s) => {
    const peer = await s.consumer("a", { rdy: 10 });
    await s.http("POST", `/topic/pause?topic=${s.topic}`);
    await s.publish("one", "two");
    await s.http("POST", `/topic/empty?topic=${s.topic}`);
    await s.stats((topic) => topic.depth === 0);
    await s.http("POST", `/topic/unpause?topic=${s.topic}`);
    await s.publish("three");
    await peer.frame();
    await peer.quiet();
  });
  scenario("emptying a channel drops what waits, what is in flight and what is deferred", async (s) => {
    const peer = await s.consumer("a", { rdy: 3 });
    await s.publish("one", "two", "three", "four", "five");
    const [first, second, third] = await peer.frames(3);
    peer.send(`REQ ${third?.id} ${MAX_REQ_TIMEOUT_MS}`);
    await peer.frame();
    await untilChannel(s, "one deferred", (channel) => channel.deferred_count === 1);
    await s.http("POST", `/channel/empty?topic=${s.topic}&channel=ch`);
    await s.stats((topic) => topic.channels[0]?.depth === 0 && topic.channels[0].in_flight_count === 0);
    peer.send(`FIN ${first?.id}`);
    await peer.frames(1);
    peer.send(`REQ ${second?.id} 0`);
    await peer.frames(1);
    await s.publish("six", "seven", "eight");
    await peer.frames(3);
    await peer.quiet();
  });
  scenario("emptying one channel leaves its neighbour alone", async (s) => {
    const left = await s.consumer("a", { channel: "left" });
    const right = await s.consumer("b", { channel: "right" });
    await s.publish("one", "two");
    await untilChannel(s, "both in the channel", (channel) => channel.depth === 2);
    await s.http("POST", `/channel/empty?topic=${s.topic}&channel=left`);
    left.send("RDY 5");
    right.send("RDY 5");
    await right.frames(2);
    await left.quiet();
  });
}

function deleting(scenario: DefineScenario): void {
  const hangUp = async (s: Session, peer: Peer, target: string) => {
    await s.http("POST", target);
    await peer.untilClosed();
  };
  scenario("deleting a channel hangs up its consumers and drops its messages", async (s) => {
    const peer = await s.consumer("a", { rdy: 1 });
    const other = await s.consumer("b", { channel: "other" });
    await s.publish("one", "two");
    await peer.frame();
    await hangUp(s, peer, `/channel/delete?topic=${s.topic}&channel=ch`);
    await s.stats((topic) => topic.channels.length === 1);
    const again = await s.consumer("c", { rdy: 5 });
    await again.quiet();
    await other.end();
  });
  scenario("deleting a topic hangs up the consumers of all its channels and forgets everything", async (s) => {
    const first = await s.consumer("a", { channel: "first", rdy: 1 });
    const second = await s.consumer("b", { channel: "second" });
    await s.publish("one", "two");
    await first.frame();
    await hangUp(s, first, `/topic/delete?topic=${s.topic}`);
    await second.untilClosed();
    s.note(`topic exists: ${(await s.topicStats()) !== undefined}`);
    const again = await s.consumer("c", { channel: "first", rdy: 5 });
    await again.quiet();
    await s.stats((topic) => topic.channels.length === 1);
  });
  scenario("a topic that was deleted is made again by PUB, with counts from zero", async (s) => {
    await s.publish("one", "two");
    await s.http("POST", `/topic/pause?topic=${s.topic}`);
    await s.http("POST", `/topic/delete?topic=${s.topic}`);
    await s.publish("three");
    await s.stats((topic) => topic.depth === 1);
  });
  scenario("deleting a topic leaves its producers connected", async (s) => {
    const publisher = await s.peer("p");
    publisher.send(`PUB ${s.topic}`, "one");
    await publisher.frames(1);
    await s.http("POST", `/topic/delete?topic=${s.topic}`);
    publisher.send(`PUB ${s.topic}`, "two");
    await publisher.frames(1);
    await publisher.end();
    await s.stats((topic) => topic.message_count === 1);
  });
}

function deferring(scenario: DefineScenario): void {
  scenario("a deferred message comes when it is due, and is counted as deferred until then", async (s) => {
    const peer = await s.consumer("a", { rdy: 5 });
    const publisher = await s.peer("p");
    const startMs = performance.now();
    publisher.send(`DPUB ${s.topic} 800`, "later");
    await publisher.frames(1);
    await s.stats((topic) => topic.channels[0]?.deferred_count === 1);
    await s.due("came", 800, startMs, () => peer.frame());
    await s.stats((topic) => topic.channels[0]?.in_flight_count === 1);
  });
  scenario("a deferred message does not hold up others", async (s) => {
    const peer = await s.consumer("a", { rdy: 5 });
    const publisher = await s.peer("p");
    for (const [delayMs, body] of [
      [1200, "third"],
      [500, "second"],
      [0, "first"],
    ] as const) {
      publisher.send(`DPUB ${s.topic} ${delayMs}`, body);
      await publisher.frames(1);
    }
    // nsqd may look at a young channel so late that both are due at once; then they come ordered by due time, too.
    await peer.frames(3);
  });
  scenario("a deferred message goes to every channel", async (s) => {
    const peers = [await s.consumer("a", { channel: "left", rdy: 1 }), await s.consumer("b", { channel: "right", rdy: 1 })];
    const publisher = await s.peer("p");
    publisher.send(`DPUB ${s.topic} 500`, "later");
    await publisher.frames(1);
    for (const peer of peers) await peer.frame();
    await s.stats((topic) => topic.channels.every((channel) => channel.in_flight_count === 1));
  });
  scenario("a message published over HTTP with defer comes when it is due", async (s) => {
    const peer = await s.consumer("a", { rdy: 1 });
    const startMs = performance.now();
    await s.http("POST", `/pub?topic=${s.topic}&defer=700`, "later");
    await s.due("came", 700, startMs, () => peer.frame());
  });
  for (const how of ["TCP", "HTTP"]) {
    const defer = async (s: Session, body: string) => {
      if (how === "HTTP") return void (await s.http("POST", `/pub?topic=${s.topic}&defer=1000`, body));
      const publisher = await s.peer("p");
      publisher.send(`DPUB ${s.topic} 1000`, body);
      await publisher.frames(1);
    };
    const counted = (s: Session, ...deferred: number[]) =>
      s.stats(
        (topic) => topic.channels.length === deferred.length && deferred.every((count, i) => topic.channels[i]?.deferred_count === count),
      );
    scenario(`a channel that is created later does not get a message deferred over ${how}`, async (s) => {
      const first = await s.consumer("a", { channel: "a-first", rdy: 5 });
      await defer(s, "before");
      await counted(s, 1);
      const second = await s.consumer("b", { channel: "b-second", rdy: 5 });
      await counted(s, 1, 0);
      await defer(s, "after");
      await counted(s, 2, 1);
      await first.frames(2, 12_000);
      await second.frames(1, 12_000);
      await second.quiet();
    });
    scenario(`a channel that is deleted and created again does not get a message deferred over ${how}`, async (s) => {
      await s.http("POST", `/channel/create?topic=${s.topic}&channel=c`);
      await defer(s, "before");
      await counted(s, 1);
      await s.http("POST", `/channel/delete?topic=${s.topic}&channel=c`);
      await s.stats((topic) => topic.channels.length === 0);
      const peer = await s.consumer("a", { channel: "c", rdy: 5 });
      await counted(s, 0);
      await peer.quiet(1500);
    });
  }
  scenario("a deferred message waits for a topic's first channel", async (s) => {
    const publisher = await s.peer("p");
    publisher.send(`DPUB ${s.topic} 600`, "later");
    await publisher.frames(1);
    await s.stats((topic) => topic.message_count === 1);
    const peer = await s.consumer("a", { rdy: 1 });
    await peer.frame();
  });
}

function bodies(scenario: DefineScenario): void {
  scenario("a body comes out as it went in, whatever its bytes", async (s) => {
    const peer = await s.consumer("a", { rdy: 10 });
    const publisher = await s.peer("p");
    const everyByte = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    for (const body of [everyByte, Buffer.from("\n"), Buffer.from("\0\0\0\0"), Buffer.from("PUB x\n"), Buffer.from("  V2")]) {
      publisher.send(`PUB ${s.topic}`, body);
      await publisher.frames(1);
      await peer.frame();
    }
    publisher.send(`MPUB ${s.topic}`, batch(everyByte, "\n", "\r\n", "\0"));
    await publisher.frames(1);
    await peer.frames(4);
  });
  scenario("a message of exactly one MiB passes, and one byte more does not", async (s) => {
    const peer = await s.consumer("a", { rdy: 1 });
    const publisher = await s.peer("p");
    publisher.send(`PUB ${s.topic}`, filled(1024 * 1024));
    await publisher.frames(1);
    await peer.frame();
    publisher.raw(Buffer.concat([Buffer.from(`PUB ${s.topic}\n`), Buffer.from([0, 0x10, 0, 1])]));
    await publisher.untilClosed();
  });
}
