import { expect, test } from "bun:test";
import { numbers } from "../../support/in-process.ts";
import { CHANNEL, Site } from "../../support/site.ts";

const BODIES = numbers(60).map((number) => `${number} ${"x".repeat(150)}`);
const FLAG = { startWithoutUnreadable: true };

async function killed(): Promise<Site> {
  await using first = Site.empty();
  for (const topic of ["t", "other"]) first.broker.registry.topic(topic).channel(CHANNEL);
  for (const body of BODIES) await first.publish("t", body);
  await first.publish("other", "of the other");
  await first.publish("t", "deferred", 60_000);
  return first.killed(FLAG);
}

test("--start-without-unreadable starts without a segment that cannot be read, and keeps it", async () => {
  await using site = await killed();
  site.fail({ path: /-t\/0000000000000000\.log$/, calls: ["open"], code: "EIO", times: Number.POSITIVE_INFINITY });
  site.open();
  for (const topic of ["t", "other"]) site.consume(topic);
  await site.until(() => (site.delivered.get("t")?.length ?? 0) > 20);
  const got = site.delivered.get("t") ?? [];
  expect(got.length).toBeLessThan(BODIES.length);
  expect(got).toEqual(BODIES.slice(BODIES.length - got.length));
  expect(site.delivered.get("other")).toEqual(["of the other"]);
  expect(site.setAside.map((name) => name.replace(/^.*\//, "")).sort()).toContain("0000000000000000.log.damaged");
  expect(site.log.matching(/ERROR: cannot read .*0000000000000000\.log: EIO.*starting without it, it is kept as/)).toHaveLength(1);
  expect(site.health).toBe("OK");
});

test("--start-without-unreadable starts without a bucket that cannot be read, and keeps both its files", async () => {
  await using site = await killed();
  site.fail({ path: /\.msg$/, calls: ["read"], code: "EIO", times: Number.POSITIVE_INFINITY });
  site.open();
  site.consume("t");
  await site.until(() => site.delivered.get("t")?.length === BODIES.length);
  expect(site.setAside.some((name) => name.endsWith(".msg.damaged"))).toBeTrue();
  expect(site.health).toBe("OK");
  await site.publish("t", "another", 60_000);
});

test("--start-without-unreadable sets nothing aside when the machine is short of file descriptors", async () => {
  await using site = await killed();
  site.fail({ path: /-t\/[0-9a-f]+\.(log|idx)$/, calls: ["open"], code: "EMFILE", times: 3 });
  site.open();
  expect(site.health).toContain("EMFILE");
  await expect(site.publish("t", "refused")).rejects.toThrow("topic t is not open: cannot read");
  await site.until(() => site.broker.registry.topics.has("t"));
  site.consume("t");
  await site.until(() => site.delivered.get("t")?.length === BODIES.length);
  expect([site.setAside, site.health]).toEqual([[], "OK"]);
});
