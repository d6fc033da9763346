import { expect, test } from "bun:test";
import { InProcess, numbers } from "../../support/in-process.ts";
import { until } from "../../support/server.ts";
import { SteppedClock } from "../../support/stepped-clock.ts";
import { bodiesIn, DataPath } from "./support/data-path.ts";

const HOUR_MS = 3_600_000;

/** Publishes through the broker itself. */
function publish({ broker }: InProcess, topic: string, body: string, delayMs = 0, key = ""): Promise<void> {
  return broker.publishing.publish(broker.registry.topic(topic).partitions[0], key, Buffer.from(body), delayMs);
}

/** A broker whose store has one topic, and whose later topics are in its write-ahead log only. */
async function withLaterTopics(names: string[], clock: SteppedClock): Promise<InProcess> {
  const server = InProcess.start({}, { clock });
  await server.publish("first", "x");
  await server.restart();
  for (const name of names) {
    await publish(server, name, `deferred message of ${name}`, 700);
    if (!name.startsWith("only")) await publish(server, name, `message of ${name}`);
  }
  return server;
}

for (const [what, lose] of [
  ["lost its last changes", (data: DataPath) => data.loseStoreTail()],
  ["was replaced by its backup", (data: DataPath) => data.loseStore()],
  ["is lost, and its backup too", (data: DataPath) => data.loseStoreAndBackup()],
] as const) {
  test(`deferred publishes join their own topic after the store ${what}, also that of a topic which had nothing else`, async () => {
    const names = ["zeta", "alpha", "only-deferred", "mid", "kappa"];
    const clock = new SteppedClock();
    await using server = await withLaterTopics(names, clock);
    await using data = DataPath.copyOf(server.dataPath);
    lose(data);
    const broker = data.open({}, { clock });
    expect([...broker.registry.topics.keys()].toSorted()).toEqual([...names, "first"].toSorted());
    expect(data.log.matching(/ERROR: TOPIC\(only-deferred\): the metadata store has no row for it/)).toHaveLength(1);
    await clock.pass(1200);
    await until("all have joined", () => names.every((name) => bodiesIn(broker, name).length === (name === "only-deferred" ? 1 : 2)));
    for (const name of names) {
      const expected = name === "only-deferred" ? [] : [`message of ${name}`];
      expect(bodiesIn(broker, name)).toEqual([...expected, `deferred message of ${name}`]);
    }
    // They keep their ids over a further start.
    const before = names.map((name) => broker.registry.topic(name).partitions[0].id);
    await data.close();
    const again = data.open({}, { clock });
    expect(names.map((name) => again.registry.topic(name).partitions[0].id)).toEqual(before);
    expect(before).toEqual(names.map((name) => server.broker.registry.topic(name).partitions[0].id));
  });

  test(`requeued messages reach no other channel after the store ${what}`, async () => {
    const clock = new SteppedClock();
    await using server = InProcess.start({}, { clock });
    await server.publish("orders", "x");
    await server.publish("mails", "x");
    await server.restart();
    for (const topic of ["orders", "mails"]) {
      const consumer = await server.consumer(topic, "worker", 1);
      consumer.command(`FIN ${(await consumer.message()).id}`);
      await server.publish(topic, `a message of ${topic}`);
      consumer.command(`REQ ${(await consumer.message()).id} 700`);
      const channel = server.broker.registry.topic(topic).channel("worker");
      await until("it is stored", () => channel.partitions[0].deferrals.storedCount === 1);
      consumer.terminate();
    }
    await using data = DataPath.copyOf(server.dataPath);
    lose(data);
    const broker = data.open({}, { clock });
    expect(
      data.log.matching(/ERROR: 2 deferred messages belong to topics or channels that the metadata store does not know/).length,
    ).toBeLessThanOrEqual(1);
    // The consumers come back in the other order.
    const [mails, orders] = [await data.consumer("mails", "worker", 10), await data.consumer("orders", "worker", 10)];
    broker.registry.releaseAdopted();
    const channels = ["mails", "orders"].map((topic) => broker.registry.topic(topic).channel("worker"));
    // A backup that was made in the meantime may know the first channel.
    for (const { deferredCount } of channels) expect([0, 1]).toContain(deferredCount);
    await until("the logs are delivered", () => channels.every(({ depth }) => depth === 0));
    await clock.pass(1200);
    for (const [consumer, other] of [
      [mails, "orders"],
      [orders, "mails"],
    ] as const) {
      for (let next = consumer.frames.shift(); next !== undefined; next = consumer.frames.shift()) expect(next.text).not.toContain(other);
    }
    expect(channels.map(({ deferredCount }) => deferredCount)).toEqual([0, 0]);
  });

  test(`nothing of a deleted topic is in a topic that got its number after the store ${what}`, async () => {
    const clock = new SteppedClock();
    await using server = InProcess.start({}, { clock });
    const others = ["j1", "j2", "j3", "j4", "j5"];
    for (const name of ["secret", ...others]) await server.publish(name, "made");
    await server.restart();
    const client = await server.client();
    const toEach = (names: string[], body: string) => {
      client.write(
        Buffer.concat(
          names.map((name) => Buffer.concat([Buffer.from(`PUB ${name}\n`), Buffer.from([0, 0, 0, body.length]), Buffer.from(body)])),
        ),
      );
      return Promise.all(names.map(() => client.response()));
    };
    await toEach(["secret", ...others], "sEcReT");
    await publish(server, "secret", "deferred sEcReT", 500, "key");
    const consumer = await server.consumer("secret", "c", 1);
    consumer.command(`REQ ${(await consumer.message()).id} 500`);
    await until("it is stored", () => server.broker.registry.topic("secret").channel("c").partitions[0].deferrals.storedCount === 1);
    const before = server.broker.registry.topic("secret");
    server.broker.registry.deleteTopic("secret");
    await publish(server, "public", "later", HOUR_MS);
    await toEach(["public", ...others], "hello");
    expect(server.broker.registry.topic("public").partitions[0].number).toBe(before.partitions[0].number);
    await using data = DataPath.copyOf(server.dataPath);
    lose(data);
    const broker = data.open({}, { clock });
    expect([...broker.registry.topics.keys()]).not.toContain("secret");
    expect(bodiesIn(broker, "public")).toEqual(["hello"]);
    expect(broker.registry.topic("public").partitions[0].log.startSequence).toBeGreaterThanOrEqual(before.partitions[0].log.next);
    const channel = broker.registry.topic("public").channel("c");
    broker.registry.releaseAdopted();
    expect(channel.deferredCount).toBe(1);
    // The key is that of a publish to the deleted topic.
    const { length } = bodiesIn(broker, "public");
    await broker.publishing.publish(broker.registry.topic("public").partitions[0], "key", Buffer.from("another"), 0);
    expect(bodiesIn(broker, "public")).toHaveLength(length + 1);
    await clock.pass(700);
    expect(bodiesIn(broker, "public").join()).not.toContain("sEcReT");
  });

  test(`a topic that was made again after a deletion has nothing of the deleted one after the store ${what}`, async () => {
    await using server = InProcess.start();
    await server.publish("t", "old");
    server.broker.registry.topic("t").channel("old").pause();
    await publish(server, "t", "old, deferred", 500, "key");
    await server.restart();
    const old = server.broker.registry.topic("t");
    server.broker.registry.deleteTopic("t");
    await server.publish("t", "new");
    const made = server.broker.registry.topic("t");
    expect([made.partitions[0].number, made.partitions[0].id === old.partitions[0].id]).toEqual([old.partitions[0].number, false]);
    await using data = DataPath.copyOf(server.dataPath);
    lose(data);
    const broker = data.open();
    const topic = broker.registry.topic("t");
    expect([topic.partitions[0].id, [...topic.channels.keys()], bodiesIn(broker, "t")]).toEqual([made.partitions[0].id, [], ["new"]]);
    expect(topic.partitions[0].log.startSequence).toBeGreaterThanOrEqual(old.partitions[0].log.next);
    broker.registry.releaseAdopted();
    expect(topic.channel("c").deferredCount).toBe(0);
    await broker.publishing.publish(topic.partitions[0], "key", Buffer.from("not a repetition"), 0);
    expect(bodiesIn(broker, "t")).toEqual(["new", "not a repetition"]);
  });

  // Where the tail alone is lost, nothing is left that could tell. Deletions are synced, so that no power cut takes one with it.
  if (what === "lost its last changes") continue;

  test(`no id is given twice after the store ${what}, also where nothing is left of the topics that had them`, async () => {
    await using server = InProcess.start();
    await server.publish("kept", "x");
    await server.restart();
    const ids = new Set<string>();
    for (const name of ["a", "b", "c"]) {
      await server.publish(name, ...numbers(5));
      const consumer = await server.consumer(name, "c", 10);
      for (let i = 0; i < 5; i++) ids.add((await consumer.message()).id);
    }
    for (const name of ["a", "b", "c"]) server.broker.registry.deleteTopic(name);
    await using data = DataPath.copyOf(server.dataPath);
    lose(data);
    const broker = data.open();
    for (const name of ["d", "e", "f"]) {
      for (const body of numbers(5)) await broker.publishing.publish(broker.registry.topic(name).partitions[0], "", Buffer.from(body), 0);
      const consumer = await data.consumer(name, "c", 10);
      for (let i = 0; i < 5; i++) ids.add((await consumer.message()).id);
    }
    expect(ids.size).toBe(30);
  });
}
