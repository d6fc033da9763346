import { expect } from "bun:test";
import { until } from "../../../support/server.ts";
import { violations } from "../support/axe.ts";
import { noBrowser } from "../support/browser.ts";
import { noGo } from "../support/live-cluster.ts";
import { act, liveSite, order } from "../support/live-site.ts";

// The page, the console, and real servers: nothing between the button and the broker is made up.

const GO = 2;

const site = liveSite(async ({ cluster, topic }) => {
  for (const at of cluster.brokers.keys()) {
    await topic(at, "orders", "billing", "archive");
    for (let i = 0; i < 20; i++) await cluster.publish(at, "orders", order(at, i));
  }
  for (const at of [0, 1]) await topic(at, "refunds", "mail");
  await cluster.publish(0, "orders", JSON.stringify({ order: { id: "later" } }), "&defer=3600000");
  // One that holds what it has got, and one that takes nothing.
  const slow = await cluster.consumer(0, "orders", "billing", 3, "slow-worker");
  const first = await slow.message();
  slow.command("RDY 0");
  slow.command(`REQ ${first.id} 3600000`);
  slow.command("RDY 3");
  await cluster.consumer(1, "orders", "billing", 0, "ready-zero");
  const producer = await cluster.client(1, "api-3");
  await producer.call("PUB refunds", "of the API");
});
const { liveTest, stats, topic } = site;

liveTest("every view shows what the servers have, and axe finds nothing serious", async (page) => {
  const views: [path: string, ...shows: string[]][] = [
    ["/", "Worst channels", "orders / billing", site.cluster.address(0), `${site.cluster.brokers.length} brokers, all up`],
    ["/topics", "2 topics", "refunds"],
    ["/topics/orders", "archive", site.cluster.address(1), "Retention", "Publish to delivery", "depth"],
    ["/topics/orders/billing", "slow-worker", "ready-zero", "RDY 0"],
    ["/nodes", `${site.cluster.brokers.length} brokers`, site.cluster.address(0)],
    [`/nodes/${site.cluster.address(0)}`, "2 topics", "Listed by"],
    ["/clients", "2 clients", "slow-worker"],
    ["/producers", "1 producer", "api-3"],
    ["/lookup", `${site.cluster.lookups.length} lookup server`],
    ["/messages?topic=orders", "40 messages", "a-0-3"],
    ["/messages?topic=orders&channel=billing&state=waiting", "a-1-0"],
    ["/messages?topic=orders&channel=billing&state=in_flight", "3 messages", "slow-worker"],
    ["/messages?topic=orders&channel=billing&state=deferred", "2 messages", "later", "not yet"],
    ["/activity", "Activity"],
    ["/counter", "Counter"],
  ];
  for (const [path, ...shows] of views) {
    await page.goto(site.cluster.url + path);
    for (const text of shows) await page.getByText(text).first().waitFor();
    expect([path, await violations(page)]).toEqual([path, []]);
  }
});

liveTest(
  "Go's broker is shown, and it is said that nobody can look into its queues",
  async (page) => {
    await page.goto(`${site.cluster.url}/nodes/${site.cluster.address(GO)}`);
    await page.getByText("nsq 1.").first().waitFor();
    await page.getByRole("link", { name: "orders", exact: true }).waitFor();
    await page.goto(`${site.cluster.url}/messages?topic=orders`);
    await page.getByText(`Without the messages of ${site.cluster.address(GO)}`).waitFor();
    await page.goto(`${site.cluster.url}/topics/orders`);
    await act(page, "Pause …", "Pause");
    await until("Go's broker has paused it", async () => (await stats(GO, "orders")).paused);
    await act(page, "Resume …", "Resume");
    await until("it goes on", async () => !(await stats(GO, "orders")).paused);
  },
  { reason: noBrowser ?? noGo },
);

liveTest("a topic and a channel are created, get a message that is typed, and are deleted by their names", async (page) => {
  await page.goto(`${site.cluster.url}/topics`);
  await act(page, "New topic …", "Create", undefined, async (dialog) => {
    await dialog.getByLabel("Topic").fill("fresh");
    await dialog.getByLabel("Channel, if").fill("first");
  });
  await page.goto(`${site.cluster.url}/topics/fresh`);
  await act(page, "Publish …", "Publish", undefined, (dialog) => dialog.getByLabel("Body").fill("typed here"));
  await page.getByRole("link", { name: "first", exact: true }).waitFor();
  await act(page, "New channel …", "Create", undefined, (dialog) => dialog.getByLabel("Channel").fill("second"));
  await page.getByRole("link", { name: "second", exact: true }).click();
  await page.getByRole("heading", { name: "second" }).waitFor();
  await act(page, "Delete …", "Delete", "second");
  await page.getByRole("link", { name: "second", exact: true }).waitFor({ state: "detached" });
  await act(page, "Delete …", "Delete", "fresh");
  await until("no broker has it", async () => {
    const having = await Promise.all([...site.cluster.brokers.keys()].map((at) => stats(at, "fresh")));
    return having.every((one) => one === undefined);
  });
});

liveTest("keys lead from view to view and through lists, and an address shows somebody else the same", async (page) => {
  await page.goto(`${site.cluster.url}/`);
  await page.getByText("Worst channels").waitFor();
  await page.keyboard.press("g");
  await page.keyboard.press("t");
  await page.getByText(/^\d+ topics$/).waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type("r");
  await page.getByRole("columnheader", { name: "Depth", exact: true }).getByRole("button").press("Enter");
  await until("sort and filter are in the address", () => /\/topics\?.*sort=-depth/.test(page.url()) && page.url().includes("filter=r"));
  await page.reload();
  await page.getByRole("link", { name: "refunds", exact: true }).waitFor();
  expect(await page.getByRole("searchbox").inputValue()).toBe("r");
  const links = page.getByRole("region", { name: "Topics" }).locator(".row-link");
  await links.first().focus();
  await page.keyboard.press("ArrowDown");
  const second = await links.nth(1).textContent();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: second ?? "", exact: true }).waitFor();
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keyboard shortcuts" }).waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
});

liveTest("a topic's settings are set and shown, and a topic and a channel are paused and go on", async (page) => {
  await page.goto(`${site.cluster.url}/topics/refunds`);
  await act(page, "Retention …", "Set", undefined, async (dialog) => {
    await dialog.getByRole("button", { name: "Its own" }).click();
    await dialog.getByLabel("Time, such as").fill("48h");
  });
  await page.getByText("48h").first().waitFor();
  await act(page, "Durability …", "Set", undefined, (dialog) => dialog.getByRole("button", { name: "After the sync" }).click());
  await page.getByRole("definition").filter({ hasText: "fsync" }).waitFor();
  await act(page, "Trace …", "Trace");
  await page.getByText("traced", { exact: true }).waitFor();
  await act(page, "Stop tracing …", "Stop");
  await page.getByText("traced", { exact: true }).waitFor({ state: "detached" });
  await act(page, "Pause …", "Pause", undefined, (dialog) => dialog.getByLabel("Where").selectOption(site.cluster.address(1)));
  await page.getByText("paused on 1 of 2").first().waitFor();
  await act(page, "Resume …", "Resume");
  await act(page, "Pause …", "Pause");
  await page.getByText("paused", { exact: true }).first().waitFor();
  await act(page, "Resume …", "Resume");
  await page.goto(`${site.cluster.url}/topics/refunds/mail`);
  await act(page, "Trace …", "Trace");
  await page.getByText("traced", { exact: true }).waitFor();
  await page.goto(`${site.cluster.url}/topics/refunds`);
  await page.getByText("off; only by itself: mail").waitFor();
  await page.goto(`${site.cluster.url}/topics/refunds/mail`);
  await act(page, "Stop tracing …", "Stop", undefined, (dialog) => dialog.getByLabel("Where").selectOption(site.cluster.address(1)));
  await page.getByText("traced on 1 of 2").waitFor();
  await act(page, "Stop tracing …", "Stop");
  await page.getByText("traced on 1 of 2").waitFor({ state: "detached" });
  await act(page, "Pause …", "Pause");
  await page.getByText("paused", { exact: true }).first().waitFor();
  expect((await stats(1, "refunds")).channels[0].paused).toBe(true);
  await act(page, "Resume …", "Resume");
  await page.getByText("paused", { exact: true }).first().waitFor({ state: "detached" });
});

liveTest("a topic without channels is emptied by its name", async (page) => {
  await site.cluster.call(0, "/topic/create?topic=unread");
  for (let i = 0; i < 3; i++) await site.cluster.publish(0, "unread", "nobody has a channel");
  await site.untilKnown("unread");
  await page.goto(`${site.cluster.url}/topics/unread`);
  await act(page, "Empty …", "Empty", "unread");
  expect((await stats(0, "unread")).depth).toBe(0);
});

liveTest("a tombstone takes the topic from one broker, and from no other", async (page) => {
  for (const at of [0, 1]) await topic(at, "moving", "mail");
  await until("it is registered", async () => {
    const answer = await fetch(`${site.cluster.url}/api/v1/topics/moving`);
    return answer.ok && ((await answer.json()) as { brokers: number }).brokers === 2;
  });
  await page.goto(`${site.cluster.url}/topics/moving`);
  await act(page, page.getByRole("button", { name: `Tombstone moving on ${site.cluster.address(0)}` }), "Tombstone", "moving");
  await page.getByRole("button", { name: `Tombstone moving on ${site.cluster.address(0)}` }).waitFor({ state: "detached" });
  expect(await stats(0, "moving")).toBeUndefined();
  expect(await stats(1, "moving")).toBeDefined();
});

liveTest("what was done is in the activity, and what somebody does now comes by itself", async (page) => {
  await page.goto(`${site.cluster.url}/activity`);
  const table = page.getByRole("region", { name: "Activity" });
  const before = ["create channel", "delete channel", "delete topic", "pause topic", "unpause topic", "pause channel", "unpause channel"];
  const more = ["empty topic", "retention topic", "durability topic", "trace topic", "trace channel", "tombstone topic producer"];
  for (const action of [...before, ...more]) {
    await page.getByLabel("Filter activity").fill(action.replaceAll(" ", "_"));
    await table.getByText(action, { exact: true }).first().waitFor();
  }
  await page.getByLabel("Filter activity").fill("live-activity");
  await page.getByText("live", { exact: true }).waitFor();
  const created = await fetch(`${site.cluster.url}/api/v1/actions`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ action: "create", topic: "live-activity" }),
  });
  expect(created.status).toBe(200);
  await table.getByText("create topic").first().waitFor();
});

liveTest(
  "a broker is drained when its name was typed: it is shown draining, then down because of that, and the page goes on",
  async (page) => {
    const at = await site.cluster.addBroker();
    const address = site.cluster.address(at);
    await topic(at, "leaving", "mail");
    await site.cluster.publish(at, "leaving", "the last one");
    const worker = await site.cluster.consumer(at, "leaving", "mail", 1, "last-worker");
    const held = await worker.message();
    await page.goto(`${site.cluster.url}/nodes/${address}`);
    await act(page, "Drain …", "Drain", address);
    await page.getByText("draining", { exact: true }).waitFor();
    await page.getByText("1 message now").waitFor();
    expect(await page.getByRole("button", { name: "Drain …" }).count()).toBe(0);
    await page.goto(`${site.cluster.url}/nodes`);
    const row = page.getByRole("row").filter({ hasText: address });
    await row.getByText("draining", { exact: true }).waitFor();
    expect(await violations(page)).toEqual([]);
    worker.command(`FIN ${held.id}`);
    await row.getByText("down", { exact: true }).waitFor();
    await row.getByText("it was drained").waitFor();
    expect(await site.cluster.broker(at).process.exited).toBe(0);
    await page.goto(`${site.cluster.url}/nodes/${address}`);
    await page.getByText("It does not answer: it was drained").waitFor();
    await page.goto(`${site.cluster.url}/`);
    await page.getByText("orders / billing").first().waitFor();
    await page.goto(`${site.cluster.url}/activity`);
    await page.getByRole("region", { name: "Activity" }).getByText("drain node").first().waitFor();
  },
);

liveTest("a broker that is killed is down, with the reason, and is up again when it is back", async (page) => {
  await page.goto(`${site.cluster.url}/nodes`);
  const row = page.getByRole("row").filter({ hasText: site.cluster.address(1) });
  await row.getByText("up", { exact: true }).waitFor();
  await site.cluster.kill(1);
  await row.getByText("down", { exact: true }).waitFor();
  await row.getByText("connection refused").waitFor();
  await page.goto(`${site.cluster.url}/`);
  await page.getByText("orders / billing").first().waitFor();
  expect(await violations(page)).toEqual([]);
  await page.goto(`${site.cluster.url}/nodes/${site.cluster.address(1)}`);
  await page.getByText("It does not answer").waitFor();
  await site.cluster.revive(1);
  await page.getByText("up", { exact: true }).waitFor({ timeout: 60_000 });
  await page.getByRole("link", { name: "orders", exact: true }).waitFor();
});

liveTest(
  "a lookup server that is killed is down, with the reason, and the other one is enough",
  async (page) => {
    await page.goto(`${site.cluster.url}/lookup`);
    const gone = site.cluster.lookups.at(-1);
    const row = page.getByRole("row").filter({ hasText: `127.0.0.1:${gone?.httpPort}` });
    await row.getByText("up", { exact: true }).waitFor();
    await gone?.stop("SIGKILL");
    await row.getByText("down", { exact: true }).waitFor({ timeout: 60_000 });
    await row.getByText("connection refused").waitFor();
    await page.goto(`${site.cluster.url}/topics/orders`);
    await page.getByText("archive").first().waitFor();
  },
  { reason: noBrowser ?? noGo },
);
