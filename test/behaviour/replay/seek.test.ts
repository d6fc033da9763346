import { expect, test } from "bun:test";
import { cpSync } from "node:fs";
import { type Disk, systemDisk } from "../../../src/broker/storage/disk/disk.ts";
import { expectNothing, messages, numbers, removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { RawClient } from "../../support/raw-client.ts";
import { startServer, until } from "../../support/server.ts";
import { SteppedClock } from "../../support/stepped-clock.ts";
import { WithHttp } from "../../support/with-http.ts";

async function texts(client: RawClient, count: number): Promise<string[]> {
  return (await messages(client, count)).map(({ text }) => text);
}

/** Takes and finishes messages. */
async function finish(client: RawClient, count: number): Promise<string[]> {
  const frames = await messages(client, count);
  for (const { id } of frames) client.command(`FIN ${id}`);
  return frames.map(({ text }) => text);
}

test("a channel goes back to the beginning, a sequence, an id and a time, and ahead to the end", async () => {
  await using server = WithHttp.start();
  await server.started.publish("t", ...numbers(3));
  const between = Date.now() + 2;
  await until("a later moment", () => Date.now() > between + 2);
  await server.started.publish("t", ...numbers(3, 3));
  const consumer = await server.started.consumer("t", "ch", 100);
  const first = await messages(consumer, 6);
  for (const { id } of first) consumer.command(`FIN ${id}`);

  const places: [string, number][] = [
    ["beginning", 0],
    ["4", 4],
    ["sequence:2", 2],
    [first[5].id, 5],
    [`id:${first[1].id}`, 1],
    [`time:${between}`, 3],
    [new Date(between).toISOString(), 3],
    [`time:${between / 1000}`, 3],
    ["ago:1h", 0],
    ["time:1", 0],
    ["end", 6],
    ["sequence:999", 6],
    [new Date(Date.now() + 3_600_000).toISOString(), 6],
  ];
  for (const [place, sequence] of places) {
    const moved = await server.json("POST", `/channel/seek?topic=t&channel=ch&to=${place}`);
    expect([place, moved.sequence]).toEqual([place, sequence]);
    expect(await finish(consumer, 6 - sequence)).toEqual(numbers(6 - sequence, sequence));
    await expectNothing(consumer);
  }
});

test("what is in flight at a seek is disowned: a FIN for it fails, and it comes again if it is behind the place", async () => {
  await using server = WithHttp.start();
  await server.started.publish("t", ...numbers(4));
  const consumer = await server.started.consumer("t", "ch", 4);
  const before = await messages(consumer, 4);
  const moved = await server.json("POST", "/channel/seek?topic=t&channel=ch&to=end");
  expect(moved).toEqual({ sequence: 4, depth: 0, discarded: { in_flight: 4, requeued: 0, deferred: 0 } });
  for (const command of ["FIN", "TOUCH"]) {
    consumer.command(`${command} ${before[0].id}`);
    expect((await consumer.next()).text).toBe(`E_${command}_FAILED ${command} ${before[0].id} failed ID not in flight`);
  }
  expect(server.broker.registry.topic("t").channel("ch").inFlightCount).toBe(0);

  await server.json("POST", "/channel/seek?topic=t&channel=ch&to=2");
  const again = await messages(consumer, 2);
  expect(again.map(({ id, attempts }) => [id, attempts])).toEqual([
    [before[2].id, 1],
    [before[3].id, 1],
  ]);
  // Delivered anew, it is the same message: this FIN is for it.
  consumer.command(`FIN ${before[2].id}`);
  await expectNothing(consumer);
  expect(server.broker.registry.topic("t").channel("ch").inFlightCount).toBe(1);
});

test("a seek forgets what was requeued and deferred, and leaves deferred publishes alone", async () => {
  const clock = new SteppedClock();
  await using server = WithHttp.start({}, {}, { clock });
  await server.started.publish("t", ...numbers(4));
  const consumer = await server.started.consumer("t", "ch", 4);
  const [short, long, ready] = await messages(consumer, 4);
  consumer.command(`REQ ${short.id} 200`);
  consumer.command(`REQ ${long.id} 400`);
  server.broker.registry.topic("t").channel("ch").pause();
  consumer.command(`REQ ${ready.id} 0`);
  const producer = await server.started.client();
  await producer.call("DPUB t 500", "late");
  await until("the requeue is in the store", () => server.broker.registry.topic("t").channel("ch").deferredCount === 3);
  const { discarded } = await server.json("POST", "/channel/seek?topic=t&channel=ch&to=end");
  expect(discarded).toEqual({ in_flight: 1, requeued: 1, deferred: 2 });
  server.broker.registry.topic("t").channel("ch").unpause();
  await expectNothing(consumer);
  await clock.pass(510);
  expect((await consumer.message()).text).toBe("late");
  await server.restart();
  const after = await server.started.consumer("t", "ch", 4);
  expect((await after.message()).text).toBe("late");
  await expectNothing(after);
});

test("a channel whose topic is paused goes to the end of what was published, and what comes later comes", async () => {
  await using server = WithHttp.start();
  const consumer = await server.started.consumer("t", "ch", 10);
  server.broker.registry.topic("t").pause();
  await server.started.publish("t", "held back");
  expect((await server.json("POST", "/channel/seek?topic=t&channel=ch&to=end")).sequence).toBe(1);
  await server.json("POST", "/channel/create?topic=t&channel=new&start=end").catch(() => undefined);
  await server.started.publish("t", "wanted");
  server.broker.registry.topic("t").unpause();
  expect((await consumer.message()).text).toBe("wanted");
  const other = await server.started.consumer("t", "new", 10);
  expect((await other.message()).text).toBe("wanted");
  await expectNothing(other);
});

test("a new channel starts where it is told to; one that exists stays where it is", async () => {
  await using server = WithHttp.start();
  await server.started.consumer("t", "first", 0);
  await server.started.publish("t", ...numbers(4));
  for (const [channel, start, count] of [
    ["a", "beginning", 4],
    ["b", "3", 1],
    ["c", "end", 0],
    ["d", "ago:1h", 4],
    ["a", "end", 4],
  ] as const) {
    expect(await server.call("POST", `/channel/create?topic=t&channel=${channel}&start=${start}`)).toBe("200");
    expect([channel, server.broker.registry.topic("t").channel(channel).depth]).toEqual([channel, count]);
  }
  const consumer = await server.started.consumer("t", "b", 10);
  expect(await texts(consumer, 1)).toEqual(["3"]);
});

test("the first channel of a topic can leave the backlog, and have it later", async () => {
  await using server = WithHttp.start();
  await server.started.publish("t", ...numbers(3));
  expect(await server.call("POST", "/channel/create?topic=t&channel=ch&start=end")).toBe("200");
  const consumer = await server.started.consumer("t", "ch", 10);
  await expectNothing(consumer);
  await server.json("POST", "/channel/seek?topic=t&channel=ch&to=beginning");
  expect(await texts(consumer, 3)).toEqual(numbers(3));
});

test("youzan's setoffset takes its bodies", async () => {
  await using server = WithHttp.start();
  await server.started.publish("t", ...numbers(4));
  const consumer = await server.started.consumer("t", "ch", 10);
  await finish(consumer, 4);
  const frame = 34 + 1;
  for (const [body, sequence] of [
    ["msgcount:3", 2],
    ["virtual_queue:0", 0],
    [`virtual_queue:${2 * frame}`, 2],
    [`virtual_queue:${2 * frame + 5}`, 2],
    ["virtual_queue:99999", 4],
    ["timestamp:1000000000", 0],
    [`timestamp:${Math.ceil(Date.now() / 1000) + 100}`, 4],
    ["special:-1", 4],
  ] as const) {
    const { sequence: moved } = await server.json("POST", "/channel/setoffset?topic=t&channel=ch", body);
    expect([body, moved]).toEqual([body, sequence]);
    await finish(consumer, 4 - sequence);
  }
  expect(await server.call("POST", "/channel/setoffset?topic=t&channel=ch", "")).toBe('406 {"message":"MSG_EMPTY"}');
  expect(await server.call("POST", "/channel/setoffset?topic=t&channel=ch", "nowhere:1")).toBe(
    '400 {"message":"invalid consume offset:nowhere:1"}',
  );
  expect(await server.call("POST", "/channel/setoffset?topic=t&channel=ch", "special:0")).toStartWith("400");
  expect(await server.call("POST", "/channel/setoffset?topic=t&channel=ch", "x".repeat(65))).toBe('413 {"message":"INVALID_OFFSET"}');
});

test("bad places and names are refused", async () => {
  await using server = WithHttp.start();
  await server.started.publish("t", "a");
  await server.started.publish("other", "b");
  await server.started.consumer("t", "ch");
  const other = await server.started.consumer("other", "ch", 1);
  const foreign = await other.message();
  const bad = [
    ["", "MISSING_ARG_TO"],
    ["&to=", "INVALID_ARG_TO"],
    ["&to=soon", "INVALID_ARG_TO"],
    ["&to=-1", "INVALID_ARG_TO"],
    ["&to=time:tomorrow", "INVALID_ARG_TO"],
    ["&to=2026-99-99T00:00:00Z", "INVALID_ARG_TO"],
    ["&to=ago:-1h", "INVALID_ARG_TO"],
    ["&to=id:123", "INVALID_ARG_TO"],
    [`&to=${foreign.id}`, "INVALID_ARG_TO"],
  ];
  for (const [argument, code] of bad) {
    expect([argument, await server.call("POST", `/channel/seek?topic=t&channel=ch${argument}`)]).toEqual([
      argument,
      `400 {"message":"${code}"}`,
    ]);
  }
  expect(await server.call("POST", "/channel/seek?topic=t&channel=none&to=end")).toBe('404 {"message":"CHANNEL_NOT_FOUND"}');
  expect(await server.call("POST", "/channel/seek?topic=none&channel=ch&to=end")).toBe('404 {"message":"TOPIC_NOT_FOUND"}');
  expect(await server.call("POST", "/channel/create?topic=t&channel=new&start=never")).toBe('400 {"message":"INVALID_ARG_START"}');
  expect(server.broker.registry.topic("t").channels.has("new")).toBeFalse();
  expect(await server.call("PUT", "/channel/seek?topic=t&channel=ch&to=end")).toStartWith("405");
});

test("an ephemeral channel, and a channel of an ephemeral topic, go back as far as there is something", async () => {
  await using server = WithHttp.start();
  for (const [topic, channel] of [
    ["t", "ch#ephemeral"],
    ["t#ephemeral", "ch"],
  ]) {
    const query = `topic=${encodeURIComponent(topic)}&channel=${encodeURIComponent(channel)}`;
    const consumer = await server.started.consumer(topic, channel, 10);
    await server.started.publish(topic, ...numbers(4));
    const first = await finish(consumer, 4);
    expect(first).toEqual(numbers(4));
    const { sequence } = await server.json("POST", `/channel/seek?${query}&to=ago:1m`);
    expect(await texts(consumer, 4)).toEqual(numbers(4));
    await server.json("POST", `/channel/seek?${query}&to=sequence:${sequence + 2}`);
    expect(await texts(consumer, 2)).toEqual(numbers(2, 2));
  }
});

test("a channel is where it was moved to, whatever kills the broker right after the answer", async () => {
  const dataPath = temporaryFolder();
  const kept = { dataPath };
  let server = await startServer(kept);
  await server.http("POST", "/topic/create?topic=t");
  await server.http("POST", "/channel/create?topic=t&channel=ch");
  await server.http("POST", "/mpub?topic=t", numbers(20).join("\n"));
  let consumer = await RawClient.connect(server.tcpPort);
  await consumer.call("SUB t ch");
  consumer.command("RDY 20");
  for (const frame of await messages(consumer, 20))
    consumer.command(Number(frame.text) % 5 === 0 ? `REQ ${frame.id} 60000` : `FIN ${frame.id}`);
  for (const to of [15, 3, 12]) {
    const answer = await server.http("POST", `/channel/seek?topic=t&channel=ch&to=${to}`);
    expect(answer.status).toBe(200);
    await server.stop("SIGKILL");
    server = await startServer(kept);
    consumer = await RawClient.connect(server.tcpPort);
    await consumer.call("SUB t ch");
    consumer.command("RDY 20");
    expect(await texts(consumer, 20 - to)).toEqual(numbers(20 - to, to));
    await expectNothing(consumer);
  }
  await server.stop();
  removeFolder(dataPath);
});

test("a requeue whose way to the disk a seek overtakes does not take the message's new delivery for its own", async () => {
  let hold = false;
  const held: (() => void)[] = [];
  const disk: Disk = {
    ...systemDisk,
    sync: (fd, done) => {
      if (hold) held.push(() => systemDisk.sync(fd, done));
      else systemDisk.sync(fd, done);
    },
  };
  const copy = temporaryFolder();
  try {
    await using server = WithHttp.start({ durability: "fsync" }, {}, { disk });
    const channel = () => server.broker.registry.topic("t").channel("ch");
    await server.started.publish("t", "m");
    const consumer = await server.started.consumer("t", "ch", 1);
    const { id } = await consumer.message();
    hold = true;
    consumer.command(`REQ ${id} 60000`);
    await until("its entry waits for the disk", () => held.length > 0);
    await server.json("POST", "/channel/seek?topic=t&channel=ch&to=beginning");
    expect((await consumer.message()).id).toBe(id);
    hold = false;
    for (const sync of held.splice(0)) sync();
    await until("the sync is over and the channel saved", () => !server.broker.deferred.needsSyncNow && !channel().partitions[0].unsaved);
    await until("nothing is staged any more", () => !server.broker.deferred.hasWork);
    expect([channel().inFlightCount, channel().deferredCount]).toEqual([1, 0]);
    // As a crash would find it: the delivery is not finished, so the message comes again.
    cpSync(server.started.dataPath, copy, { recursive: true });
    const after = await startServer({ dataPath: copy });
    const second = await RawClient.connect(after.tcpPort);
    await second.call("SUB t ch");
    second.command("RDY 1");
    expect((await second.message()).id).toBe(id);
    await after.stop("SIGKILL");
  } finally {
    removeFolder(copy);
  }
});
