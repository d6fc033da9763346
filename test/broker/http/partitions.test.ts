import { expect, test } from "bun:test";
import { messages, numbers } from "../../support/in-process.ts";
import { WithHttp } from "../../support/with-http.ts";

async function json(server: WithHttp, method: string, target: string): Promise<Record<string, unknown>> {
  const response = await server.fetch(method, target);
  expect(response.status).toBe(200);
  return (await response.json()) as Record<string, unknown>;
}

async function publish(server: WithHttp, ...bodies: string[]): Promise<void> {
  for (const body of bodies) expect(await server.call("POST", "/pub?topic=t", body)).toBe("200 OK");
}

test("/topic/create makes a topic with partitions, and gives one that exists more, never fewer", async () => {
  await using server = WithHttp.start();
  const create = (count: string) => server.call("POST", `/topic/create?topic=t&partition_num=${count}`);
  expect(await create("3")).toBe("200");
  expect(await create("3")).toBe("200");
  expect(await create("2")).toBe('400 {"message":"TOO_FEW_PARTITIONS"}');
  expect(await create("5")).toBe("200");
  expect(server.broker.registry.topic("t").partitions.length).toBe(5);
  for (const bad of ["0", "1025", "-1", "x", ""]) expect(await create(bad)).toBe('400 {"message":"INVALID_ARG_PARTITION_NUM"}');
  expect(await server.call("POST", "/topic/create?topic=t")).toBe("200");
  expect(await server.call("POST", "/topic/create?topic=a%40b&partition_num=2")).toBe('400 {"message":"INVALID_TOPIC"}');
  expect(server.log.matching(/TOPIC\(t\): (created|has)/)).toEqual([
    "INFO: TOPIC(t): created with 3 partitions",
    "INFO: TOPIC(t): has 5 partitions now",
  ]);
});

test("/topic/partition/expand gives a topic more partitions", async () => {
  await using server = WithHttp.start();
  expect(await server.call("POST", "/topic/partition/expand?topic=t&partition_num=2")).toBe('404 {"message":"TOPIC_NOT_FOUND"}');
  await publish(server, "0");
  expect(await server.call("POST", "/topic/partition/expand?topic=t")).toBe('400 {"message":"MISSING_ARG_PARTITION_NUM"}');
  expect(await server.call("POST", "/topic/partition/expand?topic=t&partition_num=2")).toBe("200");
  expect(server.broker.registry.topic("t").partitions.length).toBe(2);
});

test("publishes over HTTP go round the partitions, or to the one that is named", async () => {
  await using server = WithHttp.start();
  const topic = server.broker.registry.topicWith("t", 3);
  await publish(server, ...numbers(3));
  expect(await server.call("POST", "/mpub?topic=t", "1\n2\n3")).toBe("200 OK");
  expect(await server.call("POST", "/pub?topic=t&partition=2", "x")).toBe("200 OK");
  expect(await server.call("POST", "/mpub?topic=t&partition=2", "x\ny")).toBe("200 OK");
  expect(topic.partitions.map(({ depth }) => depth)).toEqual([4, 1, 4]);
  expect(await server.call("POST", "/pub?topic=t&partition=3", "x")).toBe('404 {"message":"PARTITION_NOT_FOUND"}');
  expect(await server.call("POST", "/pub?topic=t&partition=-1", "x")).toBe('400 {"message":"INVALID_ARG_PARTITION"}');
  // With two mistakes, the partition comes first.
  const longKey = "k".repeat(300);
  for (const call of ["pub", "mpub"]) {
    const response = await server.fetch("POST", `/${call}?topic=t&partition=-1`, "x", { "Idempotency-Key": longKey });
    expect(await response.text()).toBe('{"message":"INVALID_ARG_PARTITION"}');
  }
});

test("/stats has sums, and beside them each partition where there are several or one is asked for", async () => {
  await using server = WithHttp.start();
  server.broker.registry.topicWith("t", 2).channel("c");
  server.broker.registry.topic("u").channel("c");
  await publish(server, ...numbers(3));
  const stats = async (more = "") => (await json(server, "GET", `/stats?format=json${more}`)).topics as Record<string, unknown>[];
  const [t, u] = await stats();
  expect(t).toMatchObject({ topic_name: "t", message_count: 3, channels: [{ channel_name: "c", depth: 3 }] });
  expect(t?.partitions).toMatchObject([
    { partition: 0, message_count: 2, channels: [{ channel_name: "c", depth: 2, in_flight_count: 0 }] },
    { partition: 1, message_count: 1, channels: [{ channel_name: "c", depth: 1 }] },
  ]);
  expect(u).not.toHaveProperty("partitions");
  const [one, other] = await stats("&partition=1");
  expect(one?.partitions).toMatchObject([{ partition: 1 }]);
  expect(other?.partitions).toEqual([]);
  expect(await server.call("GET", "/stats?format=json&partition=x")).toBe('400 {"message":"INVALID_ARG_PARTITION"}');
});

test("/stats tells without partitions how many there are, and which are here if not all", async () => {
  await using server = WithHttp.start();
  const create = (more: string) => server.call("POST", `/topic/create?topic=${more}`);
  expect([await create("t&partition_num=2"), await create("u")]).toEqual(["200", "200"]);
  expect(await create("v&partition_num=9&partitions=0,1,2,5,7,8")).toBe("200");
  expect(await create("w&partition_num=3&partitions=1")).toBe("200");
  const stats = async (more: string) => (await json(server, "GET", `/stats?format=json${more}`)).topics as Record<string, unknown>[];
  const [t, u, v, w] = await stats("&include_partitions=false");
  for (const topic of [t, u, v, w]) expect(topic).not.toHaveProperty("partitions");
  expect([t?.partition_num, u?.partition_num, v?.partition_num, w?.partition_num]).toEqual([2, undefined, 9, 3]);
  expect([t?.partitions_here, u?.partitions_here, v?.partitions_here, w?.partitions_here]).toEqual([
    undefined,
    undefined,
    "0-2,5,7-8",
    "1",
  ]);
  // The only one that is here is still one of several.
  expect((await stats("&topic=w"))[0]?.partitions).toMatchObject([{ partition: 1, log_bytes: 0 }]);
});

test("a page of messages names its partition, and the others that have pages", async () => {
  await using server = WithHttp.start();
  expect(await server.call("POST", "/topic/create?topic=t&partition_num=6&partitions=1,4")).toBe("200");
  server.broker.registry.topic("t").channel("c");
  await publish(server, ...numbers(2));
  for (const call of ["/topic/messages?topic=t", "/channel/messages?topic=t&channel=c&state=waiting"]) {
    expect(await json(server, "GET", call)).toMatchObject({ partition: 1, partitions: [1, 4] });
    expect(await json(server, "GET", `${call}&partition=4`)).toMatchObject({ partition: 4, messages: [{ body: "1" }] });
  }
  server.broker.registry.topic("u");
  expect(await json(server, "GET", "/topic/messages?topic=u")).not.toHaveProperty("partitions");
});

test("a channel is moved in all partitions by time, at the beginning and at the end, and by sequence or id in one", async () => {
  await using server = WithHttp.start();
  const topic = server.broker.registry.topicWith("t", 2);
  const channel = topic.channel("c");
  await publish(server, ...numbers(6));
  const seek = (to: string) => json(server, "POST", `/channel/seek?topic=t&channel=c&to=${to}`);
  const both = (first: number, second: number) => [
    { partition: 0, sequence: first },
    { partition: 1, sequence: second },
  ];
  expect(await seek("end")).toMatchObject({ partitions: both(3, 3), depth: 0 });
  expect(await seek("ago:1h")).toMatchObject({ partitions: both(0, 0), depth: 6 });
  expect(await seek("end")).toMatchObject({ depth: 0 });
  expect(await json(server, "GET", "/channel/seek?topic=t&channel=c&to=beginning")).toMatchObject({ depth: 0, new_depth: 6 });
  expect(await server.call("POST", "/channel/seek?topic=t&channel=c&to=sequence:1")).toBe('400 {"message":"MISSING_ARG_PARTITION"}');
  expect(await seek("sequence:1&partition=1")).toMatchObject({ partitions: [{ partition: 1, sequence: 1 }], depth: 2 });
  expect(channel.depth).toBe(2);
  const page = await json(server, "GET", "/topic/messages?topic=t&from=2");
  expect(page).toMatchObject({ partition: 0, next: 3, messages: [{ body: "4" }] });
  const [{ id }] = page.messages as { id: string }[];
  expect(await seek(id)).toMatchObject({ partitions: [{ partition: 0, sequence: 2 }], depth: 1 });
  expect(channel.depth).toBe(3);
});

test("messages are shown, finished and requeued in whichever partition they are", async () => {
  await using server = WithHttp.start();
  const topic = server.broker.registry.topicWith("t", 2);
  const channel = topic.channel("c");
  await publish(server, ...numbers(4));
  const page = await json(server, "GET", "/topic/messages?topic=t&partition=1");
  expect(page).toMatchObject({ partition: 1, beginning: 0, end: 2, messages: [{ body: "1" }, { body: "3" }] });
  const [{ id }, { id: other }] = page.messages as { id: string }[];
  expect(await json(server, "GET", `/message?topic=t&id=${id}`)).toMatchObject({
    partition: 1,
    body: "1",
    channels: [{ channel_name: "c", state: "waiting" }],
  });
  expect(await server.call("POST", `/message/finish?topic=t&channel=c&id=${id}`)).toBe("200");
  expect(channel.depth).toBe(3);
  expect(await json(server, "GET", "/channel/messages?topic=t&channel=c&state=waiting&partition=1")).toMatchObject({
    messages: [{ body: "3" }],
  });
  const consumer = await server.started.consumer("t", "c", 10);
  expect((await messages(consumer, 3)).length).toBe(3);
  expect(await server.call("POST", `/message/requeue?topic=t&channel=c&id=${other}`)).toBe("200");
  expect(await consumer.message()).toMatchObject({ text: "3", attempts: 2 });
});

test("retention is shown for each partition", async () => {
  await using server = WithHttp.start();
  server.broker.registry.topicWith("t", 2);
  await publish(server, ...numbers(3));
  expect(await json(server, "GET", "/topic/retention?topic=t")).toMatchObject({
    log: { beginning: 0, end: 2 },
    partitions: [
      { partition: 0, end: 2 },
      { partition: 1, end: 1 },
    ],
  });
});
