import { expect, test } from "bun:test";
import { dirname } from "node:path";
import { FailingDatabase } from "../../support/failing-database.ts";
import { numbers, temporaryFolder } from "../../support/in-process.ts";
import { Random } from "../../support/random.ts";
import { Site } from "../../support/site.ts";
import { ImmediateDisk } from "../power-cut/support/immediate-disk.ts";

// What the table of faults has found, each as the shortest run that shows it.

test("a topic is opened again although the folder of an earlier try to make it is there", async () => {
  await using site = Site.empty();
  site.fail({ path: /-t$/, calls: ["list"], code: "EIO", times: 1 });
  expect(() => site.broker.registry.topic("t")).toThrow("EIO");
  // It takes the number of that try.
  site.broker.registry.topic("other");
  site.broker.registry.topic("t").channel("c");
  await site.publish("t", "m");
  await site.close();
  site.open();
  site.consume("t");
  await site.until(() => site.delivered.get("t")?.length === 1);
  expect(site.broker.registry.topic("t").partitions[0].number).toBe(1);
});

test("a backup that begins while the metadata store cannot be read is given up", async () => {
  await using site = Site.empty();
  let failed = 0;
  {
    using _ = new FailingDatabase((call) => {
      if (call !== "read") return;
      failed++;
      throw Object.assign(new Error("disk I/O error"), { code: "SQLITE_IOERR" });
    });
    // A rejection that nobody handles would end the process, and fails the test.
    await site.broker.metadataBackup.renew(0);
  }
  expect(failed).toBe(1);
  expect(site.log.matching(/cannot renew the metadata backup .*: disk I\/O error/)).toHaveLength(1);
});

test("a deferred publish that the log refused is delivered after a kill, although another message has its sequence", async () => {
  await using first = Site.empty();
  first.broker.registry.topic("t").channel("c");
  await first.publish("t", "before");
  await first.publish("t", "deferred", 300);
  // Behind the file's head, that it is about to join is written, and that it did not join is not.
  first.fail({ path: /\.log$/, calls: ["write"], code: "ENOSPC", times: 1 });
  first.fail({ path: /\.done$/, calls: ["write"], code: "ENOSPC", times: Number.POSITIVE_INFINITY, after: 2 });
  await first.until(() => first.disk.scripted >= 2);
  await first.publish("t", "after");
  await using site = first.killed();
  site.open();
  site.consume("t");
  await site.until(() => site.delivered.get("t")?.length === 3);
  expect(site.delivered.get("t")).toEqual(["before", "after", "deferred"]);
});

test("a stop ends although the journal cannot be removed, and the next start has all messages", async () => {
  await using site = Site.empty();
  const topics = ["a", "b", "c", "d", "e"];
  for (const topic of topics) site.broker.registry.topic(topic).channel("c");
  site.fail({ path: /journal$/, calls: ["remove"], code: "EIO", times: Number.POSITIVE_INFINITY });
  // In one turn, so that they go to the journal.
  const published = topics.map((topic) =>
    site.broker.publishing.publish(site.broker.registry.topic(topic).partitions[0], "", Buffer.from("m"), 0),
  );
  site.clock.endTurn();
  await Promise.all(published);
  await site.close();
  site.heal();
  site.open();
  for (const topic of topics) site.consume(topic);
  await site.until(() => topics.every((topic) => site.delivered.get(topic)?.length === 1));
});

test("a stop ends although the metadata store cannot be written", async () => {
  await using site = Site.empty();
  site.broker.registry.topic("t").channel("c");
  await site.publish("t", "m");
  {
    using _ = new FailingDatabase((call) => {
      if (call === "write") throw Object.assign(new Error("disk I/O error"), { code: "SQLITE_IOERR" });
    });
    await site.close();
  }
  site.open();
  site.consume("t");
  await site.until(() => site.delivered.get("t")?.length === 1);
});

test("publishes go on where a recycled segment cannot be renamed, and a start does where its folder cannot be made", async () => {
  await using first = Site.empty();
  first.consume("t");
  const body = "x".repeat(1000);
  for (let i = 0; i < 20; i++) await first.publish("t", body);
  await first.until(() => first.delivered.get("t")?.length === 20);
  first.fail({ path: /recycled\/\d+$/, calls: ["rename"], code: "EROFS", times: Number.POSITIVE_INFINITY });
  for (let i = 0; i < 20; i++) await first.publish("t", body);
  expect(first.disk.scripted).toBeGreaterThan(0);
  await first.until(() => first.delivered.get("t")?.length === 40);
  await using site = Site.unopened();
  site.fail({ path: /recycled$/, calls: ["makeFolder"], code: "ENOSPC", times: 5 });
  site.open();
  site.consume("t");
  for (let i = 0; i < 20; i++) await site.publish("t", body);
  await site.until(() => site.delivered.get("t")?.length === 20);
});

test("a start whose keys cannot be written refuses publishes with a key until they can, and knows them then", async () => {
  await using first = Site.empty({ idempotencyWindowMs: 60_000 });
  first.broker.registry.topic("t").channel("c");
  await first.publish("t", "m", 0, "key");
  await using site = first.killed();
  for (const call of ["create", "write", "truncate"] as const) {
    site.fail({ path: /\.keys$/, calls: [call], code: "ENOSPC", times: Number.POSITIVE_INFINITY });
  }
  site.open();
  site.consume("t");
  await site.publish("t", "without a key");
  await expect(site.publish("t", "with a key", 0, "key 2")).rejects.toThrow("ENOSPC");
  await site.pass(2000);
  site.heal();
  await site.until(() => site.health === "OK");
  await site.publish("t", "repeated", 0, "key");
  await site.publish("t", "with a key", 0, "key 2");
  await site.until(() => site.delivered.get("t")?.length === 3);
  expect(site.delivered.get("t")).toEqual(["m", "without a key", "with a key"]);
  expect(site.setAside).toEqual([]);
});

test("keys of an earlier run that cannot be removed end neither a sync nor a stop", async () => {
  await using first = Site.empty({ idempotencyWindowMs: 60_000 });
  first.broker.registry.topic("t").channel("c");
  await first.publish("t", "m", 0, "key");
  await using site = first.killed();
  site.fail({ path: /\.keys$/, calls: ["remove"], code: "EROFS", times: Number.POSITIVE_INFINITY });
  site.open();
  await site.pass(5000);
  expect(site.disk.scripted).toBeGreaterThan(0);
  await site.close();
});

for (const calls of [["remove"], ["rename", "remove"]] as const) {
  test(`finished segments stay in order where ${calls.join(" and ")} fail, and nothing counts as damaged then`, async () => {
    await using site = Site.empty();
    site.consume("t");
    const publish = async () => {
      for (let i = 0; i < 20; i++) await site.publish("t", "x".repeat(1000));
      await site.pass(100);
    };
    await publish();
    site.fail({ path: /\.idx$|recycled/, calls, code: "EIO", times: 3 });
    await publish();
    expect(site.disk.scripted).toBeGreaterThan(0);
    site.heal();
    await publish();
    await site.close();
    site.open();
    expect([site.broker.registry.corruptRegions, site.setAside]).toEqual([0, []]);
    // Those that could not be removed are removed later.
    site.consume("t");
    await publish();
    expect(site.broker.registry.topic("t").partitions[0].log.startSequence).toBeGreaterThan(60);
  });
}

test("publishes are accepted while status records cannot be written and deferred messages are due", async () => {
  await using site = Site.empty();
  site.consume("t");
  for (let i = 0; i < 5; i++) await site.publish("t", `deferred ${i}`, 300 + 100 * i);
  site.fail({ path: /\.done$/, calls: ["create", "write"], code: "EROFS", times: Number.POSITIVE_INFINITY });
  await site.until(() => site.disk.scripted > 0);
  // Deferred messages are tried again meanwhile, in the turns of these publishes.
  const topic = site.broker.registry.topic("t");
  const published: Promise<void>[] = [];
  site.clock.onPoll = () => {
    if (published.length < 100)
      published.push(site.broker.publishing.publish(topic.partitions[0], "", Buffer.from(`${published.length}`), 0));
  };
  await site.until(() => published.length === 100);
  expect((await Promise.allSettled(published)).filter(({ status }) => status === "rejected")).toEqual([]);
  site.heal();
  await site.until(() => site.delivered.get("t")?.length === 105);
});

for (const [name, path, call] of [
  ["a bucket", /\.msg$/, "open"],
  ["their folder", /deferred$/, "list"],
] as const) {
  test(`deferred messages that a channel was emptied of do not come, although ${name} could not be read then`, async () => {
    await using first = Site.empty();
    first.broker.registry.topic("t").channel("c");
    for (const body of ["1", "2", "3"]) await first.publish("t", body, 5000);
    await using site = first.killed();
    site.fail({ path, calls: [call], code: "EIO", times: Number.POSITIVE_INFINITY });
    site.open();
    site.broker.registry.topic("t").channel("c").empty();
    site.heal();
    site.consume("t");
    await site.until(() => site.health === "OK");
    await site.publish("t", "4", 300);
    await site.pass(8000);
    expect(site.delivered.get("t")).toEqual(["4"]);
  });
}

test("deferred messages that cannot join their log in time have their own bodies, though others were loaded meanwhile", async () => {
  await using first = Site.empty();
  first.broker.registry.topic("t").channel("c");
  const bodies = numbers(40).map((number) => `${number} ${number.repeat(50)}`);
  for (const [i, body] of bodies.entries()) await first.publish("t", body, i < 20 ? 3000 : 8500);
  await using site = first.killed();
  site.open();
  site.consume("t");
  site.fail({ path: /\.done$/, calls: ["create", "write"], code: "EIO", times: Number.POSITIVE_INFINITY });
  await site.pass(9000);
  site.heal();
  await site.until(() => site.delivered.get("t")?.length === 40);
  expect(site.delivered.get("t")?.sort()).toEqual(bodies.sort());
});

test("a topic that was deleted does not come back after a power cut", async () => {
  for (let seed = 0; seed < 8; seed++) {
    const dataPath = temporaryFolder();
    const before = new ImmediateDisk();
    before.makeDirectory(dataPath);
    for (let path = dataPath; path !== "/"; path = dirname(path)) before.syncDirectoryNow(dirname(path));
    const site = Site.on(before, dataPath, {}, undefined, "boot");
    site.open();
    site.broker.registry.topic("t").channel("c");
    await site.publish("t", "m");
    await site.pass(3000);
    site.broker.registry.deleteTopic("t");
    site.kill();
    const after = new ImmediateDisk();
    before.afterCut(before.moment, new Random(seed), after);
    await using again = Site.on(after, dataPath, {}, undefined, "another boot");
    again.open();
    expect([...again.broker.registry.topics.keys()]).toEqual([]);
  }
}, 30_000);

test("the broker is well again soon after the disk is, though nobody publishes", async () => {
  let storeFails = false;
  using _ = new FailingDatabase((call) => {
    if (storeFails && call === "write") throw Object.assign(new Error("disk I/O error"), { code: "SQLITE_IOERR" });
  });
  await using site = Site.empty();
  site.broker.registry.topic("t").channel("c");
  const failure = { calls: ["write"] as const, code: "EIO", times: Number.POSITIVE_INFINITY };
  site.fail({ ...failure, path: /./ });
  await expect(site.publish("t", "m")).rejects.toThrow("EIO");
  await expect(site.publish("t", "m", 1000)).rejects.toThrow("EIO");
  await site.pass(10_000);
  expect(site.health).toStartWith("NOK - EIO");
  site.heal();
  await site.pass(3000);
  expect(site.health).toBe("OK");
  storeFails = true;
  expect(() => site.broker.registry.topic("t").pause()).toThrow("NOT_STORED");
  await site.pass(3000);
  expect(site.health).toBe("NOK - disk I/O error");
  storeFails = false;
  await site.pass(3000);
  expect(site.health).toBe("OK");
});
