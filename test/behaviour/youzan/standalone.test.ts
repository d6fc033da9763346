import { expect, test } from "bun:test";
import { InProcess } from "../../support/in-process.ts";
import { type Difference, Player } from "./support/player.ts";
import { makeTopic } from "./support/site.ts";
import { readTranscript } from "./support/transcript.ts";

const TAKES_HEADERS = "topics take headers unless they were made without";
const KEEPS_HEADERS = "a header is kept, and counts in the raw size";

function sectionsOf(...titles: string[]) {
  return titles.map((title) => {
    const section = readTranscript("a7").find((one) => one.title.startsWith(title));
    if (section === undefined) throw new Error(`no section ${title}`);
    return section;
  });
}

test("topics are made, published to and refused as by Youzan's nsqd without a cluster", async () => {
  await using started = InProcess.start();
  const differences: Difference[] = [
    {
      section: "PUB",
      at: 2,
      why: KEEPS_HEADERS,
      answers: ["OK id 3 trace 0000000000000007 (offset) size 63"],
    },
    { section: "PUB", at: 4, why: TAKES_HEADERS, answers: ["response OK"] },
  ];
  const negative: Difference = {
    section: "standalone: INTERNAL_CREATE_TOPIC",
    at: 5,
    why: "the record does not say whether the connection was closed; here it is, as for other partitions that cannot be",
    answers: ["error E_BAD_PARTITION partition should not less than 0", "closed"],
  };
  const player = new Player(started, { shift: 0n, differences: [negative] });
  for (const section of sectionsOf("standalone: INTERNAL_CREATE_TOPIC", "PUB to a topic that does not exist"))
    await player.section(section);
  expect([...player.met]).toEqual([negative]);
  const publisher = new Player(started, { shift: 0n, differences });
  for (const section of readTranscript("a7").filter(({ title }) => title === "PUB")) await publisher.section(section);
  expect([...publisher.met]).toEqual(differences);
  const { registry } = started.broker;
  expect(["s1", "s2", "s3"].map((name) => registry.topics.get(name)?.settings.extended)).toEqual([undefined, true, false]);
});

test("a partition is made with those before it, also of a topic that exists, but not of one that a lookup server has spread", async () => {
  await using started = InProcess.start();
  const { registry } = started.broker;
  const client = await started.client();
  const ask = async (line: string) => {
    client.command(`INTERNAL_CREATE_TOPIC ${line}`);
    return (await client.next()).text;
  };
  for (const line of ["t 1 false", "t 0 false", "t 1 true", "t 3"]) expect(await ask(line)).toBe("OK");
  const topic = registry.topics.get("t");
  expect(topic?.partitions.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
  expect(topic?.settings).toMatchObject({ partitions: 4, extended: false });
  registry.topicWith("spread", 4, { held: [1, 3] });
  expect(await ask("spread 1")).toBe("OK");
  expect(await ask("spread 2")).toStartWith("E_CREATE_TOPIC_FAILED a lookup server has spread topic spread over brokers");
  expect(registry.topics.get("spread")?.partitions.map(({ index }) => index)).toEqual([1, 3]);
  expect(await ask("huge 1024")).toBe("E_BAD_PARTITION partition should be less than 1024");
  await client.untilClosed();
  expect(registry.topics.has("huge")).toBeFalse();
});

test("a client that does not know headers gets messages of such topics without them, as with --allow-sub-ext-compatible", async () => {
  await using started = InProcess.start();
  await started.publish("s2", ..."abcdefghij");
  started.broker.registry.topic("s2").channel("y", ({ log }) => log.next);
  const player = new Player(started, { shift: 0n, differences: [] });
  for (const section of sectionsOf("allow-sub-ext-compatible")) await player.section(section);
});

test("a consumer may say where a channel begins without a cluster, too", async () => {
  await using started = InProcess.start();
  await started.publish("s2", "a", "b");
  started.broker.registry.topic("s2").channel("old");
  const differences: Difference[] = [
    { section: "SUB_ADVANCED with an offset", at: 0, why: "positions need no cluster", answers: ["response OK"] },
    {
      section: "SUB_ADVANCED with an offset",
      at: 1,
      why: "positions need no cluster",
      answers: [1, 2].map((id) => `message attempts 1 id ${id} trace 0000000000000000 (offset) size 31 body ${"ab"[id - 1]}`),
    },
  ];
  makeTopic(started.broker, "s1", {});
  const player = new Player(started, { shift: 0n, differences });
  for (const section of sectionsOf("SUB_ADVANCED with an offset")) await player.section(section);
  expect([...player.met]).toEqual(differences);
});

test("a message may be requeued without a delay as often as a consumer likes", async () => {
  await using started = InProcess.start();
  makeTopic(started.broker, "s1", {});
  const consumer = await started.client();
  await consumer.call("IDENTIFY", JSON.stringify({ multiplexing: true }));
  await consumer.call("SUB s1 rs");
  await started.publish("s1", "loop");
  consumer.command("RDY 1");
  // Youzan's nsqd answers the REQ of the 101st attempt with "Message too much requeue".
  for (let attempts = 1; attempts <= 150; attempts++) {
    const message = await consumer.message();
    expect(message.attempts).toBe(attempts);
    consumer.write(Buffer.concat([Buffer.from("REQ "), Buffer.from(message.id, "latin1"), Buffer.from(" 0\n")]));
  }
});
