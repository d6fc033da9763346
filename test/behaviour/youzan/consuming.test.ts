import { expect, test } from "bun:test";
import { InProcess } from "../../support/in-process.ts";
import { type Difference, Player, traced, withHeader } from "./support/player.ts";
import { makeTopic } from "./support/site.ts";
import { readTranscript } from "./support/transcript.ts";

const NO_EXTRA_WORDS = "words that no command has are refused, not ignored";
const PARTITION_OF_A_NODE = "this broker has all partitions";

test("consumers get and answer messages as those of Youzan's nsqd", async () => {
  await using started = InProcess.start();
  makeTopic(started.broker, "plain", { extended: false });
  await started.publish("plain", "x", "hello", "a", "b", "c");
  const topic = started.broker.registry.topic("plain");
  topic.channel("ch", ({ log }) => log.next);
  const producer = await started.client();
  for (const body of ["hello", "hello2"]) await producer.call("PUB plain", body);
  await producer.call("PUB_TRACE plain 0", traced(0x1122334455667788n, "traced"));
  for (const body of ["m1", "m22"]) await producer.call("PUB plain", body);
  await producer.call("PUB_TRACE plain", traced(7n, "a"));
  await producer.call("PUB_TRACE plain", traced(8n, "b"));
  for (const body of ["still works", "b1", "b2", "x", "x"]) await producer.call("PUB plain", body);
  const player = new Player(started, { shift: 1n, differences: [] });
  for (const section of readTranscript("a2")) {
    if (section.title.startsWith("SUB_ADVANCED plain ch2")) {
      topic.channel("ch2", ({ log }) => log.next);
      await producer.call("PUB_TRACE plain", traced(0x99n, "detail"));
    }
    await player.section(section);
  }
});

test("SUB is refused as by Youzan's nsqd", async () => {
  await using started = InProcess.start();
  const { broker } = started;
  makeTopic(broker, "plain", { extended: false });
  makeTopic(broker, "ext", { extended: true });
  makeTopic(broker, "ord", { ordered: true }, 2);
  makeTopic(broker, "reg", { fixedChannels: true });
  broker.registry.topic("reg").channel("regch");
  const differences: Difference[] = [
    { section: "not leader plain", at: 0, why: PARTITION_OF_A_NODE, answers: ["response OK"] },
    { section: "5 params on SUB", at: 0, why: NO_EXTRA_WORDS, answers: ["error E_INVALID SUB invalid number of parameters", "closed"] },
    { section: "SUB_ORDERED not leader", at: 0, why: PARTITION_OF_A_NODE, answers: ["response OK"] },
    {
      section: "SUB_ORDERED with 5 params",
      at: 0,
      why: NO_EXTRA_WORDS,
      answers: ["error E_INVALID SUB_ORDERED invalid number of parameters", "closed"],
    },
  ];
  const identities = {
    "plain topic with extend_support": { extend_support: true },
    "heartbeats off": { heartbeat_interval: -1 },
    "SUB_ORDERED sample rate": { sample_rate: 10 },
  };
  const player = new Player(started, { shift: 1n, differences, apart: true, identities });
  for (const section of readTranscript("a3")) await player.section(section);
  expect([...player.met]).toEqual(differences);
});

test("frames have version, header, offset and size for those who want them", async () => {
  await using started = InProcess.start();
  makeTopic(started.broker, "ext", { extended: true });
  const topic = started.broker.registry.topic("ext");
  await started.publish("ext", ..."abcdefghijkl");
  for (const name of ["e1", "e2"]) topic.channel(name, ({ log }) => log.next);
  const producer = await started.client();
  await producer.call("PUB_EXT ext", withHeader('{"a":"b"}', "X1"));
  await producer.call("PUB ext", "noext");
  await producer.call("PUB_TRACE ext", traced(77n, "traced"));
  await producer.call("PUB_EXT ext", withHeader('{"##trace_id":"4660","a":"1"}', "X2"));
  const identities = { "ext topic": { extend_support: true } };
  const player = new Player(started, { shift: 1n, differences: [], apart: true, identities });
  const [plain, advanced] = readTranscript("a5");
  if (plain === undefined || advanced === undefined) throw new Error("the transcript is not complete");
  await player.section(plain);
  topic.channels.get("e2")?.partitions[0]?.seek(16);
  await producer.call("PUB_EXT ext", withHeader('{"a":"b"}', "X3"));
  await producer.call("PUB ext", "noext2");
  await player.section(advanced);
});

test("a topic that gets headers later has its consumers understand them from then on", async () => {
  await using started = InProcess.start();
  makeTopic(started.broker, "plain", { extended: false });
  await started.publish("plain", ...Array.from({ length: 17 }, () => "x"));
  const topic = started.broker.registry.topic("plain");
  topic.channel("ch", ({ log }) => log.next);
  const producer = await started.client();
  await producer.call("PUB_TRACE plain", traced(0x99n, "detail"));
  for (const body of ["p1", "p2", "mark1", "mark2"]) await producer.call("PUB plain", body);
  makeTopic(started.broker, "plain", { extended: true });
  const player = new Player(started, { shift: 1n, differences: [], identities: { "with extend": { extend_support: true } } });
  for (const section of readTranscript("a8")) await player.section(section);
});
