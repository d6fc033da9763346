import { deferredOverRestart } from "./support/differences.ts";
import { type DefineScenario, describeAgainstNsqd } from "./support/pair.ts";
import { batch } from "./support/wire.ts";

describeAgainstNsqd("a clean restart", { args: ["--node-id=7"], restartable: true }, (scenario) => {
  structure(scenario);
  messages(scenario);
});

function structure(scenario: DefineScenario): void {
  scenario("topics, channels and what is paused come back", async (s) => {
    for (const call of [
      `/topic/create?topic=${s.topic}`,
      `/channel/create?topic=${s.topic}&channel=one`,
      `/channel/create?topic=${s.topic}&channel=two`,
      `/channel/pause?topic=${s.topic}&channel=two`,
      "/topic/create?topic=paused",
      "/topic/pause?topic=paused",
      "/topic/create?topic=deleted",
      "/topic/delete?topic=deleted",
    ]) {
      await s.http("POST", call);
    }
    await s.restart();
    s.noteJson("topics", (await s.rawStats()).topics ?? null);
  });
  scenario("ephemeral topics and channels do not come back", async (s) => {
    await s.http("POST", `/topic/create?topic=${s.topic}%23ephemeral`);
    await s.http("POST", `/topic/create?topic=${s.topic}`);
    await s.http("POST", `/channel/create?topic=${s.topic}&channel=ch%23ephemeral`);
    await s.restart();
    s.noteJson("topics", (await s.rawStats()).topics ?? null);
  });
}

function messages(scenario: DefineScenario): void {
  scenario("the backlog of a topic without channels comes back, and waits for the first", async (s) => {
    await s.publish("one", "two", "three");
    await s.restart();
    s.note(`depth ${(await s.topicStats())?.depth}`);
    const peer = await s.consumer("a", { rdy: 10 });
    await peer.frames(3);
  });
  scenario("each channel goes on where it was", async (s) => {
    const reader = await s.consumer("a", { channel: "read", rdy: 2 });
    const idle = await s.consumer("b", { channel: "unread" });
    await s.publish("one", "two", "three", "four");
    const [first, second] = await reader.frames(2);
    reader.send("RDY 0");
    reader.send(`FIN ${first?.id}`);
    reader.send(`FIN ${second?.id}`);
    await s.stats((topic) => topic.channels[0]?.depth === 2 && topic.channels[0].in_flight_count === 0 && topic.channels[1]?.depth === 4);
    await reader.end();
    await idle.end();
    await s.restart();
    const readAgain = await s.consumer("a", { channel: "read", rdy: 10 });
    await readAgain.frames(2);
    await readAgain.quiet();
    const unread = await s.consumer("b", { channel: "unread", rdy: 10 });
    await unread.frames(4);
    await unread.quiet();
  });
  scenario("what was in flight comes again, with its id and one more attempt", async (s) => {
    const before = await s.consumer("a", { rdy: 2 });
    await s.publish("one", "two");
    const [first] = await before.frames(2);
    await s.restart();
    const after = await s.consumer("b", { rdy: 2 });
    const [again] = await after.framesInAnyOrder(2);
    s.note(`same id: ${again?.id === first?.id}, same timestamp: ${again?.timestampNs === first?.timestampNs}`);
  });
  scenario("what was requeued waits in its channel", async (s) => {
    const before = await s.consumer("a", { rdy: 1 });
    await s.publish("one");
    const message = await before.frame();
    before.send("RDY 0");
    before.send(`REQ ${message.id} 0`);
    await before.settle();
    await s.restart();
    const after = await s.consumer("b", { rdy: 1 });
    await after.frame();
  });
  scenario("what a paused topic and a paused channel withhold comes back, still withheld", async (s) => {
    const before = await s.consumer("a");
    await s.publish("one");
    await s.stats((topic) => topic.channels[0]?.depth === 1);
    await s.http("POST", `/channel/pause?topic=${s.topic}&channel=ch`);
    await s.http("POST", `/topic/pause?topic=${s.topic}`);
    await s.publish("two");
    await before.end();
    await s.restart();
    const after = await s.consumer("b", { rdy: 5 });
    await after.quiet();
    await s.http("POST", `/channel/unpause?topic=${s.topic}&channel=ch`);
    await after.frame();
    await after.quiet();
    await s.http("POST", `/topic/unpause?topic=${s.topic}`);
    await after.frame();
  });
  scenario(
    "a deferred message comes back",
    async (s) => {
      await s.http("POST", `/topic/create?topic=${s.topic}`);
      await s.http("POST", `/channel/create?topic=${s.topic}&channel=ch`);
      const publisher = await s.peer("p");
      // Before it is sent: on a busy machine the answer may be read long after the broker has set the due time.
      const publishedMs = performance.now();
      publisher.send(`DPUB ${s.topic} 4000`, "later");
      await publisher.frames(1);
      await s.stats((topic) => topic.channels[0]?.deferred_count === 1);
      await s.restart();
      const after = await s.consumer("b", { rdy: 1 });
      await after.frame();
      s.note(`came ${performance.now() - publishedMs < 3900 ? "before it was due" : "when it was due"}`);
    },
    [deferredOverRestart],
  );
  scenario("what was emptied stays gone, and publishing goes on", async (s) => {
    await s.http("POST", `/topic/create?topic=${s.topic}`);
    await s.http("POST", `/channel/create?topic=${s.topic}&channel=ch`);
    await s.publish("one", "two");
    await s.stats((topic) => topic.channels[0]?.depth === 2);
    await s.http("POST", `/channel/empty?topic=${s.topic}&channel=ch`);
    await s.restart();
    const peer = await s.consumer("a", { rdy: 5 });
    await peer.quiet();
    await s.publish("three");
    await peer.frame();
  });
  scenario("a batch comes back whole and in order", async (s) => {
    await s.http("POST", `/topic/create?topic=${s.topic}`);
    await s.http("POST", `/channel/create?topic=${s.topic}&channel=ch`);
    const publisher = await s.peer("p");
    publisher.send(`MPUB ${s.topic}`, batch(...Array.from({ length: 50 }, (_, i) => `number ${i}`)));
    await publisher.frames(1);
    await publisher.end();
    await s.stats((topic) => topic.channels[0]?.depth === 50);
    await s.restart();
    const peer = await s.consumer("a", { rdy: 100 });
    await peer.frames(50);
  });
}
