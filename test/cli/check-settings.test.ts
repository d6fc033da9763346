import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { join } from "node:path";
import { runCheck } from "../../src/cli/check.ts";
import { InProcess } from "../support/in-process.ts";

/** Stops a broker that has settings, changes its metadata store, and checks it. @returns what a check, a repair and a check after it say */
async function checked(sql: string) {
  await using server = InProcess.start();
  server.broker.registry
    .topicWith("orders", 4, { held: [1, 3], ordered: true })
    .channel("a")
    .changeSettings({ order: "key" });
  server.broker.registry.topicWith("ext", 1, { extended: true }).channel("a");
  await server.publish("orders", "0", "1");
  await server.close();
  const store = new Database(join(server.dataPath, "bunsq-data", "catalogue.sqlite"), { readwrite: true, create: false });
  store.run(sql);
  store.close(true);
  const run = async (...flags: string[]) => {
    let text = "";
    const code = await runCheck([server.dataPath, ...flags], (part) => {
      text += part;
    });
    return { code, text };
  };
  const before = await run();
  const repaired = await run("--repair");
  const after = await run();
  server.reopen();
  return { before, repaired, after };
}

test("settings that are whole are nothing to tell", async () => {
  const { before } = await checked("SELECT 1");
  expect(before.text).toStartWith("store: sound; 2 topics, 2 channels\n");
  expect(before).toMatchObject({ code: 0, text: expect.not.stringMatching(/settings|WARNING/) });
});

test.each([
  ["UPDATE topic_settings SET seal = seal + 1 WHERE name = 'ext'", "the settings of topic ext are damaged; a start goes on with"],
  ["UPDATE topic_settings SET settings = replace(settings, '4', '8')", "the settings of topic orders are damaged; a start goes on with"],
  ["DELETE FROM topic_settings WHERE name = 'orders'", "topic orders has lost its settings; a start goes on with its partitions 1, 3"],
  [
    "UPDATE channel_settings SET settings = replace(settings, 'key', 'none')",
    "the settings of channel a of orders are damaged; it delivers",
  ],
])("damage is told, and is gone after a repair: %s", async (sql, says) => {
  const { before, repaired, after } = await checked(sql);
  expect(before).toMatchObject({ code: 1, text: expect.stringContaining(`  ERROR: ${says}`) });
  expect(repaired.code).toBe(1);
  expect(after.text).toContain("\nsound\n");
  expect(after.text).toContain("topic orders, partition 3:\n");
  expect(after.text).not.toContain("topic orders:\n");
});

test("settings of channels that this release cannot use are told, and stay", async () => {
  const text = '{"order":"by-moonlight"}';
  const seal = Bun.hash.crc32(JSON.stringify(["orders", "a", text]));
  const { before, after } = await checked(`UPDATE channel_settings SET settings = '${text}', seal = ${seal}`);
  const says = "  ERROR: the settings of channel a of orders cannot be used (order: it must be none, key or partition); it delivers";
  for (const { text, code } of [before, after]) expect([code, text]).toEqual([1, expect.stringContaining(says)]);
});

test.each([
  ["DELETE FROM channels", "there are settings of channel a of orders, and no row of it; a start removes them"],
  [
    `INSERT INTO topic_settings VALUES ('gone', '{"partitions":2}', ${Bun.hash.crc32(JSON.stringify(["gone", '{"partitions":2}']))})`,
    "there are settings of topic gone, and no row of it",
  ],
])("settings of what is not there are no damage, and are told: %s", async (sql, says) => {
  const { before, after } = await checked(sql);
  expect(before).toMatchObject({ code: 0, text: expect.stringContaining(`  WARNING: ${says}\n`) });
  expect(after.text).not.toContain("WARNING");
});
