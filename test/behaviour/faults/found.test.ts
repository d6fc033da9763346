import { expect, test } from "bun:test";
import { Site } from "../../support/site.ts";

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
  expect(site.broker.registry.topic("t").number).toBe(1);
});
