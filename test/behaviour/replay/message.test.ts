import { expect, test } from "bun:test";
import { expectNothing, messages, numbers, removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { RawClient } from "../../support/raw-client.ts";
import { startServer, until } from "../../support/server.ts";
import { SteppedClock } from "../../support/stepped-clock.ts";
import { WithHttp } from "../../support/with-http.ts";

const CHANNEL = "topic=t&channel=ch";

/** Waits until the deferred store has `count` of the channel's messages. */
function stored(server: WithHttp, count: number): Promise<void> {
  return until(
    `${count} are in the deferred store`,
    () => server.broker.registry.topic("t").channel("ch").partitions[0].deferrals.storedCount === count,
  );
}

test("a message is finished by its id: in flight, requeued, waiting, deferred for a moment and for long", async () => {
  const clock = new SteppedClock();
  await using server = WithHttp.start({}, {}, { clock });
  const channel = () => server.broker.registry.topic("t").channel("ch");
  await server.started.publish("t", ...numbers(8));
  const consumer = await server.started.consumer("t", "ch", 4);
  const [held, again, soon, late] = await messages(consumer, 4);
  channel().pause();
  consumer.command(`REQ ${again.id} 0`);
  consumer.command(`REQ ${soon.id} 200`);
  consumer.command(`REQ ${late.id} 60000`);
  await stored(server, 1);
  const waiting = (await server.json("GET", "/topic/messages?topic=t&from=5&limit=1")).messages[0];
  for (const { id } of [held, again, soon, late, waiting])
    expect(await server.call("POST", `/message/finish?${CHANNEL}&id=${id}`)).toBe("200");
  expect([channel().inFlightCount, channel().deferredCount, channel().depth]).toEqual([0, 0, 3]);
  // Who had it is told as with any message that is not in flight, and takes others in its place.
  consumer.command(`FIN ${held.id}`);
  expect((await consumer.next()).text).toBe(`E_FIN_FAILED FIN ${held.id} failed ID not in flight`);
  channel().unpause();
  expect((await messages(consumer, 3)).map(({ text }) => text)).toEqual(["4", "6", "7"]);
  await expectNothing(consumer);
  for (const { id } of [held, late, waiting]) {
    expect(await server.call("POST", `/message/finish?${CHANNEL}&id=${id}`)).toBe('409 {"message":"MESSAGE_FINISHED"}');
  }
  await server.restart();
  const after = await server.started.consumer("t", "ch", 10);
  expect((await messages(after, 3)).map(({ text }) => text)).toEqual(["4", "6", "7"]);
  await expectNothing(after);
});

test("a message is requeued by its id: at once or after a delay, from wherever it is", async () => {
  const clock = new SteppedClock();
  await using server = WithHttp.start({}, {}, { clock });
  const channel = () => server.broker.registry.topic("t").channel("ch");
  await server.started.publish("t", ...numbers(6));
  const consumer = await server.started.consumer("t", "ch", 4);
  const [now, soon, late] = await messages(consumer, 4);
  consumer.command("RDY 0");
  consumer.command(`REQ ${late.id} 60000`);
  await stored(server, 1);
  const waiting = (await server.json("GET", "/topic/messages?topic=t&from=4&limit=1")).messages[0];
  const requeue = (id: string, more = "") => server.call("POST", `/message/requeue?${CHANNEL}&id=${id}${more}`);
  expect(await requeue(now.id)).toBe("200");
  expect(await requeue(soon.id, "&defer=300")).toBe("200");
  expect(await requeue(waiting.id, "&defer=300")).toBe("200");
  // In its turn it is already.
  expect(await requeue(`${waiting.id.slice(0, -1)}5`)).toBe("200");
  await stored(server, 3);
  expect([channel().inFlightCount, channel().depth, channel().deferredCount]).toEqual([1, 2, 3]);
  expect(await requeue(late.id, "&defer=400")).toBe("200");
  expect(channel().deferredCount).toBe(3);
  consumer.command("RDY 100");
  const got = await messages(consumer, 2);
  await expectNothing(consumer);
  await clock.pass(410);
  got.push(...(await messages(consumer, 3)));
  expect(got.map(({ text }) => text).toSorted()).toEqual(["0", "1", "2", "4", "5"]);
  const attempts = new Map(got.map((frame) => [frame.text, frame.attempts]));
  expect(["0", "1", "2", "4", "5"].map((text) => attempts.get(text))).toEqual([2, 2, 2, 1, 1]);
  expect(["0", "5"]).toContain(got[0].text);
  await expectNothing(consumer);
  expect(channel().deferredCount).toBe(0);
});

test("a deferred message that is on disk only is found there, finished, and brought forward", async () => {
  await using server = WithHttp.start();
  await server.started.publish("t", ...numbers(40));
  const other = await server.started.consumer("t", "other", 100);
  await server.started.publish("t", ...numbers(40, 40));
  const consumer = await server.started.consumer("t", "ch", 100);
  const mine = await messages(consumer, 0);
  expect(mine).toBeEmpty();
  for (const { id } of await messages(other, 80)) other.command(`REQ ${id} 3000000`);
  await server.json("POST", `/channel/seek?${CHANNEL}&to=beginning`);
  const frames = await messages(consumer, 80);
  for (const { id } of frames) consumer.command(`REQ ${id} ${1_000_000 + 30_000 * Number.parseInt(id.slice(-2), 16)}`);
  await stored(server, 80);
  await server.restart();

  const listed: { id: string; due: string; state: string; body: string }[] = [];
  for (let from = ""; ; ) {
    const page = await server.json("GET", `/channel/messages?${CHANNEL}&state=deferred&limit=7${from}`);
    listed.push(...page.messages);
    if (page.next === null) break;
    from = `&from=${page.next}`;
  }
  expect(listed.map(({ body }) => Number(body)).toSorted((a, b) => a - b)).toEqual(numbers(80).map(Number));
  expect(listed.every(({ state, due }) => state === "deferred" && Date.parse(due) > Date.now() + 900_000)).toBeTrue();

  expect(await server.call("POST", `/message/finish?${CHANNEL}&id=${frames[70].id}`)).toBe("200");
  expect(await server.call("POST", `/message/finish?${CHANNEL}&id=${frames[70].id}`)).toBe('409 {"message":"MESSAGE_FINISHED"}');
  expect(await server.call("POST", `/message/requeue?${CHANNEL}&id=${frames[3].id}`)).toBe("200");
  const after = await server.started.consumer("t", "ch", 100);
  const brought = await after.message();
  expect([brought.id, brought.attempts]).toEqual([frames[3].id, 2]);
  after.command(`FIN ${brought.id}`);
  await expectNothing(after);
  expect(server.broker.registry.topic("t").channel("ch").deferredCount).toBe(78);
  await server.restart();
  expect(server.broker.registry.topic("t").channel("ch").deferredCount).toBe(78);
  expect(server.broker.registry.topic("t").channel("other").deferredCount).toBe(80);
});

test("deferred publishes are listed too: they have a due time, and no id before they join", async () => {
  await using server = WithHttp.start();
  await server.started.consumer("t", "ch");
  await server.call("POST", "/pub?topic=t&defer=500000", "later");
  await server.call("POST", "/pub?topic=t&defer=1200", "soon");
  const { messages: listed } = await server.json("GET", `/channel/messages?${CHANNEL}&state=deferred`);
  expect(listed).toHaveLength(2);
  expect(listed).toContainEqual(expect.objectContaining({ id: null, sequence: null, body: "later", state: "deferred" }));
  expect(await server.call("GET", `/channel/messages?${CHANNEL}&state=deferred&from=disk-x`)).toBe('400 {"message":"INVALID_ARG_FROM"}');
});

test("what is deferred for a moment is listed before what is in the store, page by page", async () => {
  await using server = WithHttp.start();
  await server.started.publish("t", ...numbers(6));
  const consumer = await server.started.consumer("t", "ch#ephemeral", 6);
  for (const { id } of await messages(consumer, 6)) consumer.command(`REQ ${id} 60000`);
  await until("all are deferred", () => server.broker.registry.topic("t").channel("ch#ephemeral").deferredCount === 6);
  const bodies: string[] = [];
  for (let from = ""; ; ) {
    const page = await server.json("GET", `/channel/messages?topic=t&channel=ch%23ephemeral&state=deferred&limit=2${from}`);
    bodies.push(...page.messages.map(({ body }: { body: string }) => body));
    if (page.next === null) break;
    from = `&from=${page.next}`;
  }
  expect(bodies).toEqual(numbers(6));
});

test("holes in the backlog are bounded", async () => {
  await using server = WithHttp.start();
  await server.started.publish("t", ...numbers(4));
  const channel = server.broker.registry.topic("t").channel("ch");
  const { messages: page } = await server.json("GET", "/topic/messages?topic=t");
  // As after ten thousand calls.
  channel.partitions[0].backlog.skips = Array.from({ length: 10_000 }, (_, i) => ({ from: 100 + 2 * i, to: 101 + 2 * i }));
  for (const call of ["finish?", "requeue?defer=1000&"]) {
    expect(await server.call("POST", `/message/${call}${CHANNEL}&id=${page[2].id}`)).toBe('503 {"message":"TOO_MANY_HOLES"}');
  }
  channel.partitions[0].backlog.skips = [];
  expect(await server.call("POST", `/message/finish?${CHANNEL}&id=${page[2].id}`)).toBe("200");
});

test("bad arguments, and messages that are not there, are refused", async () => {
  await using server = WithHttp.start();
  await server.started.publish("t", "a");
  const consumer = await server.started.consumer("t", "ch", 1);
  const { id } = await consumer.message();
  server.broker.registry.topic("t").pause();
  await server.started.publish("t", "held back");
  const next = `${id.slice(0, -1)}1`;
  for (const call of ["finish", "requeue"]) {
    for (const [query, answer] of [
      [`${CHANNEL}`, "400 MISSING_ARG_ID"],
      [`${CHANNEL}&id=1`, "400 INVALID_ARG_ID"],
      [`${CHANNEL}&id=ffffffffffffffff`, "400 INVALID_ARG_ID"],
      [`${CHANNEL}&id=${id.slice(0, -1)}9`, "404 MESSAGE_NOT_FOUND"],
      [`${CHANNEL}&id=${next}`, "409 MESSAGE_NOT_IN_CHANNEL"],
      [`topic=t&channel=none&id=${id}`, "404 CHANNEL_NOT_FOUND"],
    ]) {
      const [status, code] = answer.split(" ");
      expect([query, await server.call("POST", `/message/${call}?${query}`)]).toEqual([query, `${status} {"message":"${code}"}`]);
    }
  }
  expect(await server.call("POST", `/message/requeue?${CHANNEL}&id=${id}&defer=-1`)).toBe('400 {"message":"INVALID_DEFER"}');
  expect(server.broker.registry.topic("t").channel("ch").inFlightCount).toBe(1);
});

test("what was finished by its id stays finished, whatever kills the broker right after the answer", async () => {
  const dataPath = temporaryFolder();
  let server = await startServer({ dataPath });
  await server.http("POST", "/topic/create?topic=t");
  await server.http("POST", `/channel/create?${CHANNEL}`);
  await server.http("POST", "/mpub?topic=t", numbers(5).join("\n"));
  let consumer = await RawClient.connect(server.tcpPort);
  await consumer.call("SUB t ch");
  consumer.command("RDY 4");
  const frames = await messages(consumer, 4);
  consumer.command(`REQ ${frames[2].id} 60000`);
  for (const { id } of [frames[0], frames[2]]) {
    expect((await server.http("POST", `/message/finish?${CHANNEL}&id=${id}`)).status).toBe(200);
  }
  expect((await server.http("POST", `/message/requeue?${CHANNEL}&id=${frames[3].id}&defer=60000`)).status).toBe(200);
  await server.stop("SIGKILL");
  server = await startServer({ dataPath });
  consumer = await RawClient.connect(server.tcpPort);
  await consumer.call("SUB t ch");
  consumer.command("RDY 10");
  const texts = new Set((await messages(consumer, 2)).map(({ text }) => text));
  for (const text of ["1", "4"]) expect(texts).toContain(text);
  await server.stop();
  removeFolder(dataPath);
});
