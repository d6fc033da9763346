import { expect, test } from "bun:test";
import { InProcess } from "../../support/in-process.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";

test("a topic is found by the bytes of its name, at any offset, from its creation to its deletion", async () => {
  const seed = seedFromEnvironment();
  console.log(`seed ${seed} (BUNSQ_SEED=${seed} to repeat)`);
  const random = new Random(seed);
  await using server = InProcess.start();
  const { broker } = server;
  // There are more names than the table begins with. They have all lengths, and many begin or end alike.
  const names = Array.from({ length: 300 }, (_, n) => `${"t".repeat(n % 40)}${n % 2 === 0 ? n : `.${n}`}#ephemeral`);
  for (let step = 0; step < 2000; step++) {
    const name = names[random.int(0, names.length - 1)];
    const before = random.int(0, 5);
    const bytes = Buffer.from(`${"x".repeat(before)}${name}x`);
    const to = before + name.length;
    const known = broker.registry.knownTopic(bytes, before, to);
    expect(known, name).toBe(broker.registry.topics.get(name));
    expect(broker.registry.knownTopic(bytes, before, to + 1), name).toBeUndefined();
    if (known === undefined) broker.registry.topic(name);
    else if (random.int(0, 2) === 0) broker.registry.deleteTopic(name);
  }
  expect(broker.registry.knownTopic(Buffer.alloc(100_000, "t"), 0, 100_000)).toBeUndefined();
  for (const topic of [...broker.registry.topics.values()]) {
    expect(broker.registry.knownTopic(topic.nameBytes, 0, topic.nameBytes.length)).toBe(topic);
    broker.registry.deleteTopic(topic.name);
    expect(broker.registry.knownTopic(topic.nameBytes, 0, topic.nameBytes.length)).toBeUndefined();
  }
});

test("PUBs that alternate between topics reach each of them, also after some were deleted, and are counted by topic", async () => {
  await using server = InProcess.start();
  const { broker } = server;
  const client = await server.client();
  for (let round = 0; round < 4; round++) {
    for (const name of ["a", "b", "a", "c"]) await client.call(`PUB ${name}`, `${round}`);
    expect([broker.registry.topic("a").messageCount, broker.registry.topic("b").messageCount]).toEqual([2 * (1 + round), 1]);
    broker.registry.deleteTopic("b");
  }
  expect(broker.registry.topic("c").messageCount).toBe(4);
  const [{ publisher }] = broker.listener.connections.values();
  expect(Object.fromEntries(publisher.counts)).toEqual({ a: 8, b: 4, c: 4 });
  expect(broker.registry.topics.has("b")).toBeFalse();
});
