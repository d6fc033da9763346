import { expect, test } from "bun:test";
import { WithHttp } from "../../support/with-http.ts";

function indexes(server: WithHttp, topic = "t"): number[] {
  return server.broker.registry.topic(topic).partitions.map(({ index }) => index);
}

test("a broker that gets some partitions of a topic makes these, keeps them over a restart, and gets more", async () => {
  await using server = WithHttp.start();
  const create = (more: string) => server.call("POST", `/topic/create?topic=t&${more}`);
  expect(await create("partition_num=6&partitions=1,4")).toBe("200");
  expect(await create("partition_num=6&partitions=4,1")).toBe("200");
  expect(await create("partition_num=6")).toBe("200");
  expect(indexes(server)).toEqual([1, 4]);
  const topic = server.broker.registry.topic("t");
  topic.channel("c");
  await server.restart();
  expect(indexes(server)).toEqual([1, 4]);
  expect(server.broker.registry.topic("t").settings).toEqual({ partitions: 6, held: [1, 4] });
  expect(server.broker.registry.topic("t").channels.get("c")?.partitions).toHaveLength(2);
  expect(server.log.matching(/missing/)).toEqual([]);
  // A broker alone does not know who gets the others.
  expect(await create("partition_num=8")).toBe('400 {"message":"MISSING_ARG_PARTITIONS"}');
  expect(await create("partition_num=5&partitions=1")).toBe('400 {"message":"TOO_FEW_PARTITIONS"}');
  expect(await create("partition_num=8&partitions=1,4,6")).toBe("200");
  expect(indexes(server)).toEqual([1, 4, 6]);
  // Others got the rest: only the number changes.
  expect(await create("partition_num=9&partitions=1,4,6")).toBe("200");
  expect(server.broker.registry.topic("t").settings).toEqual({ partitions: 9, held: [1, 4, 6] });
  for (const bad of ["", "9", "x", "1,", "-1"]) {
    expect(await create(`partition_num=9&partitions=${bad}`)).toBe('400 {"message":"INVALID_ARG_PARTITIONS"}');
  }
});

test("the first partition may come later, and a topic without it can be deleted", async () => {
  await using server = WithHttp.start();
  expect(await server.call("POST", "/topic/create?topic=t&partition_num=3&partitions=2")).toBe("200");
  expect(await server.call("POST", "/pub?topic=t", "x")).toBe("200 OK");
  expect(await server.call("POST", "/topic/create?topic=t&partition_num=3&partitions=0")).toBe("200");
  expect(indexes(server)).toEqual([0, 2]);
  await server.restart();
  expect(server.broker.registry.topic("t").partitions.map(({ depth }) => depth)).toEqual([0, 1]);
  expect(await server.call("POST", "/topic/create?topic=u&partition_num=2&partitions=1")).toBe("200");
  for (const name of ["t", "u"]) expect(await server.call("POST", `/topic/delete?topic=${name}`)).toBe("200");
  await server.restart();
  expect(server.broker.registry.topics.size).toBe(0);
});

test("keys go by the number of all partitions, and to none where another broker has theirs", async () => {
  await using server = WithHttp.start();
  const topic = server.broker.registry.topicWith("t", 4, { held: [1, 3] });
  const whole = server.broker.registry.topicWith("whole", 4);
  for (let i = 0; i < 100; i++) {
    const key = Buffer.from(`key ${i}`);
    const index = whole.partitionOfKey(key)?.index ?? -1;
    expect(topic.partitionOfKey(key)?.index).toBe(index % 2 === 1 ? index : undefined);
  }
});

test("settings of a topic are kept, and taken back", async () => {
  await using server = WithHttp.start();
  const create = (more: string) => server.call("POST", `/topic/create?topic=t&partition_num=1&${more}`);
  expect(await create("orderedmulti=true&multipart=true&extend=false&disable_channel_auto_create=true")).toBe("200");
  await server.restart();
  const settings = { partitions: 1, ordered: true, multiPart: true, extended: false, fixedChannels: true };
  expect(server.broker.registry.topic("t").settings).toEqual(settings);
  expect(await create("orderedmulti=false&multipart=false&extend=true&disable_channel_auto_create=false")).toBe("200");
  await server.restart();
  expect(server.broker.registry.topic("t").settings).toEqual({ partitions: 1, extended: true });
  for (const flag of ["orderedmulti", "multipart", "extend", "disable_channel_auto_create"]) {
    expect(await create(`${flag}=1`)).toBe(`400 {"message":"INVALID_ARG_${flag.toUpperCase()}"}`);
  }
});
