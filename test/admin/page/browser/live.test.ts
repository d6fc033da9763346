import { afterAll, beforeAll, expect } from "bun:test";
import type { Browser, Locator, Page } from "playwright-core";
import type { Session } from "../../../../src/admin/console-api.ts";
import { testUnless } from "../../../support/needs.ts";
import type { RawClient } from "../../../support/raw-client.ts";
import { until } from "../../../support/server.ts";
import { violations } from "../support/axe.ts";
import { launchBrowser, noBrowser, openPage } from "../support/browser.ts";
import { LiveCluster, noGo } from "../support/live-cluster.ts";

// The page, the console, and real servers: nothing between the button and the broker is made up.

const LONG_MS = 120_000;
/** Until a figure of a broker is on the page. */
const PATIENCE_MS = 15_000;
const GO = 2;

let browser: Browser;
let cluster: LiveCluster;
let slow: RawClient;

beforeAll(async () => {
  if (noBrowser !== undefined) return;
  [cluster, browser] = await Promise.all([LiveCluster.start(), launchBrowser()]);
  for (const at of cluster.brokers.keys()) {
    await topic(at, "orders", "billing", "archive");
    for (let i = 0; i < 20; i++) await cluster.publish(at, "orders", order(at, i));
  }
  for (const at of [0, 1]) await topic(at, "refunds", "mail");
  await cluster.publish(0, "orders", JSON.stringify({ order: { id: "later" } }), "&defer=3600000");
  // One that holds what it has got, and one that takes nothing.
  slow = await cluster.consumer(0, "orders", "billing", 3, "slow-worker");
  const first = await slow.message();
  slow.command("RDY 0");
  slow.command(`REQ ${first.id} 3600000`);
  slow.command("RDY 3");
  await cluster.consumer(1, "orders", "billing", 0, "ready-zero");
}, LONG_MS);

afterAll(async () => {
  await browser?.close();
  await cluster?.[Symbol.asyncDispose]();
}, LONG_MS);

async function topic(at: number, name: string, ...channels: string[]): Promise<void> {
  await cluster.call(at, `/topic/create?topic=${name}`);
  for (const channel of channels) await cluster.call(at, `/channel/create?topic=${name}&channel=${channel}`);
}

function order(at: number, number: number): string {
  return JSON.stringify({ order: { id: `a-${at}-${number}`, total: number * 3 }, lines: ["x", "y"] });
}

/** A test with a page of its own, on which no error may be logged but those that it allows. */
function liveTest(name: string, play: (page: Page) => Promise<void>, reason = noBrowser): void {
  testUnless(reason)(
    name,
    async () => {
      const { page, errors } = await openPage(browser, new URL(cluster.url).host);
      page.setDefaultTimeout(PATIENCE_MS);
      await withSession(page);
      await play(page);
      expect(errors).toEqual([]);
      await page.context().close();
    },
    LONG_MS,
  );
}

const SESSION: Session = {
  user: "",
  needs_login: false,
  can_login: false,
  roles: { "*": "admin" },
  version: "test",
  graphite_url: "",
  statsd: { prefix: "nsq.%s", counter_format: "stats.counters.%s.count", gauge_format: "stats.gauges.%s", interval_s: 60 },
  poll_ms: 200,
};

/** A console without sessions has none to answer with: anybody may do anything there. */
async function withSession(page: Page): Promise<void> {
  await page.route("**/api/v1/session", async (route) => {
    const response = await route.fetch();
    await (response.status() === 404 ? route.fulfill({ json: SESSION }) : route.fulfill({ response }));
  });
}

/** Does what a button offers in its dialog. @param confirm the name that has to be typed */
async function act(page: Page, button: Locator | string, verb: string, confirm?: string, fill?: (dialog: Locator) => Promise<void>) {
  await (typeof button === "string" ? page.getByRole("button", { name: button, exact: true }) : button).click();
  const dialog = page.getByRole("dialog").last();
  await fill?.(dialog);
  const does = dialog.getByRole("button", { name: verb, exact: true });
  if (confirm !== undefined) {
    expect(await does.isDisabled()).toBe(true);
    await dialog.getByLabel(`Type ${confirm} to confirm`).fill(confirm);
  }
  await does.click();
  await dialog.waitFor({ state: "detached" });
}

// biome-ignore lint/suspicious/noExplicitAny: an answer is what the test says it is
async function stats(at: number, name: string): Promise<any> {
  const answer = await cluster.broker(at).http("GET", `/stats?format=json&topic=${name}`);
  return ((await answer.json()) as { topics: unknown[] | null }).topics?.[0];
}

const depthOf = async (at: number, name: string, channel: number) => (await stats(at, name))?.channels[channel]?.depth;

liveTest("every view shows what the servers have, and axe finds nothing serious", async (page) => {
  const views: [path: string, ...shows: string[]][] = [
    ["/", "Worst channels", "orders / billing", cluster.address(0), `${cluster.brokers.length} brokers, all up`],
    ["/topics", "2 topics", "refunds"],
    ["/topics/orders", "archive", cluster.address(1), "Retention"],
    ["/topics/orders/billing", "slow-worker", "ready-zero", "RDY 0"],
    ["/nodes", `${cluster.brokers.length} brokers`, cluster.address(0)],
    [`/nodes/${cluster.address(0)}`, "2 topics", "Listed by"],
    ["/clients", "2 clients", "slow-worker"],
    ["/producers", "Producers"],
    ["/lookup", `${cluster.lookups.length} lookup server`],
    ["/messages?topic=orders", "40 messages", "a-0-3"],
    ["/messages?topic=orders&channel=billing&state=waiting", "a-1-0"],
    ["/messages?topic=orders&channel=billing&state=in_flight", "3 messages", "slow-worker"],
    ["/messages?topic=orders&channel=billing&state=deferred", "2 messages", "later", "not yet"],
    ["/activity", "Activity"],
    ["/counter", "Counter"],
  ];
  for (const [path, ...shows] of views) {
    await page.goto(cluster.url + path);
    for (const text of shows) await page.getByText(text).first().waitFor();
    expect([path, await violations(page)]).toEqual([path, []]);
  }
});

liveTest(
  "Go's broker is shown, and it is said that nobody can look into its queues",
  async (page) => {
    await page.goto(`${cluster.url}/nodes/${cluster.address(GO)}`);
    await page.getByText("nsq 1.").first().waitFor();
    await page.getByRole("link", { name: "orders", exact: true }).waitFor();
    await page.goto(`${cluster.url}/messages?topic=orders`);
    await page.getByText(`Without the messages of ${cluster.address(GO)}`).waitFor();
    await page.goto(`${cluster.url}/topics/orders`);
    await act(page, "Pause …", "Pause");
    await until("Go's broker has paused it", async () => (await stats(GO, "orders")).paused);
    await act(page, "Resume …", "Resume");
    await until("it goes on", async () => !(await stats(GO, "orders")).paused);
  },
  noBrowser ?? noGo,
);

liveTest("a topic and a channel are created, get a message that is typed, and are deleted by their names", async (page) => {
  await page.goto(`${cluster.url}/topics`);
  await act(page, "New topic …", "Create", undefined, async (dialog) => {
    await dialog.getByLabel("Topic").fill("fresh");
    await dialog.getByLabel("Channel, if").fill("first");
  });
  await page.goto(`${cluster.url}/topics/fresh`);
  await act(page, "Publish …", "Publish", undefined, (dialog) => dialog.getByLabel("Body").fill("typed here"));
  await page.getByRole("link", { name: "first", exact: true }).waitFor();
  await act(page, "New channel …", "Create", undefined, (dialog) => dialog.getByLabel("Channel").fill("second"));
  await page.getByRole("link", { name: "second", exact: true }).click();
  await page.getByRole("heading", { name: "second" }).waitFor();
  await act(page, "Delete …", "Delete", "second");
  await page.getByRole("link", { name: "second", exact: true }).waitFor({ state: "detached" });
  await act(page, "Delete …", "Delete", "fresh");
  await until("no broker has it", async () => {
    const having = await Promise.all([...cluster.brokers.keys()].map((at) => stats(at, "fresh")));
    return having.every((one) => one === undefined);
  });
});

liveTest("a topic's settings are set and shown, and a topic and a channel are paused and go on", async (page) => {
  await page.goto(`${cluster.url}/topics/refunds`);
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
  await act(page, "Pause …", "Pause");
  await page.getByText("paused", { exact: true }).first().waitFor();
  await act(page, "Resume …", "Resume");
  await page.goto(`${cluster.url}/topics/refunds/mail`);
  await act(page, "Pause …", "Pause");
  await page.getByText("paused", { exact: true }).first().waitFor();
  expect((await stats(1, "refunds")).channels[0].paused).toBe(true);
  await act(page, "Resume …", "Resume");
  await page.getByText("paused", { exact: true }).first().waitFor({ state: "detached" });
});

liveTest("a channel is emptied, and replayed from the beginning after a preview", async (page) => {
  await cluster.call(0, "/topic/create?topic=replayed");
  await cluster.call(0, "/topic/retention?topic=replayed&time=48h");
  await cluster.call(0, "/channel/create?topic=replayed&channel=mail");
  for (let i = 0; i < 7; i++) await cluster.publish(0, "replayed", `message ${i}`);
  await until("it is registered", async () => (await fetch(`${cluster.url}/api/v1/topics/replayed/mail`)).ok);
  await page.goto(`${cluster.url}/topics/replayed/mail`);
  await act(page, "Empty …", "Empty", "mail");
  expect(await depthOf(0, "replayed", 0)).toBe(0);
  await act(page, "Replay …", "Replay", "mail", async (dialog) => {
    await dialog.getByLabel("From").selectOption("beginning");
    await dialog.getByRole("button", { name: "Preview" }).click();
    await dialog.getByText("7 messages would wait; 0 do now.").waitFor();
  });
  expect(await depthOf(0, "replayed", 0)).toBe(7);
});

liveTest("a tombstone takes the topic from one broker, and from no other", async (page) => {
  for (const at of [0, 1]) await topic(at, "moving", "mail");
  await until("it is registered", async () => {
    const answer = await fetch(`${cluster.url}/api/v1/topics/moving`);
    return answer.ok && ((await answer.json()) as { brokers: number }).brokers === 2;
  });
  await page.goto(`${cluster.url}/topics/moving`);
  await act(page, page.getByRole("button", { name: `Tombstone moving on ${cluster.address(0)}` }), "Tombstone", "moving");
  await page.getByRole("button", { name: `Tombstone moving on ${cluster.address(0)}` }).waitFor({ state: "detached" });
  expect(await stats(0, "moving")).toBeUndefined();
  expect(await stats(1, "moving")).toBeDefined();
});

liveTest("messages are found by text, regular expression and JSON path, and shown in full", async (page) => {
  await page.goto(`${cluster.url}/messages?topic=orders`);
  const search = async (by: string, text: string) => {
    await page.getByLabel("Search by").selectOption(by);
    await page.getByLabel("For").fill(text);
    await page.getByRole("button", { name: "Search", exact: true }).click();
    await page.getByText("1 message of 40 looked at").waitFor();
  };
  await search("text", "a-1-17");
  await page.getByText("a-1-17").first().waitFor();
  await search("regexp", "a-0-1[78].*total.:51");
  await page.getByText("a-0-17").first().waitFor();
  await search("json", '$.order.id = "a-1-9"');
  await page.locator("tbody button.row-link").click();
  const drawer = page.getByRole("dialog");
  await drawer.getByLabel("Body", { exact: true }).getByText('"a-1-9"').waitFor();
  await drawer.getByText("archive").waitFor();
  expect(await violations(page)).toEqual([]);
});

liveTest("messages are finished, requeued, copied and moved, each after it was said how many", async (page) => {
  for (const at of [0, 1]) {
    await topic(at, "work", "main");
    for (let i = 0; i < 5; i++) await cluster.publish(at, "work", order(at, i));
  }
  await until("it is registered", async () => (await fetch(`${cluster.url}/api/v1/messages?topic=work&channel=main&state=waiting`)).ok);
  const waiting = `${cluster.url}/messages?topic=work&channel=main&state=waiting`;
  await page.goto(waiting);
  await page.getByText("10 messages").waitFor();
  await page.getByLabel("Choose message 0", { exact: true }).first().check();
  await page.getByLabel("Choose message 1", { exact: true }).first().check();
  await act(page, "Finish …", "Finish 2");
  await page.getByText("8 messages").waitFor();
  await act(page, "Requeue …", "Requeue 8", undefined, (dialog) => dialog.getByLabel("Deliver after, s").fill("3600"));
  await page.getByText("No message fits.").waitFor();
  await page.getByRole("button", { name: "Deferred" }).click();
  await page.getByText("8 messages").waitFor();
  await act(page, "Copy …", "Copy 8", undefined, (dialog) => dialog.getByLabel("To topic").fill("copies"));
  await act(page, "Move …", "Move 8", undefined, (dialog) => dialog.getByLabel("To topic").fill("copies"));
  await page.getByText("No message fits.").waitFor();
  const counts = await Promise.all([0, 1].map(async (at) => (await stats(at, "copies"))?.message_count ?? 0));
  expect(counts.reduce((sum, count) => sum + count, 0)).toBe(16);
});

liveTest("a tail shows what is published from now on, and consumes nothing", async (page) => {
  await page.goto(`${cluster.url}/messages?topic=refunds&tail=on`);
  await page.getByText("0 messages since the tail began; nothing is consumed").waitFor();
  await until("the tail has begun", async () => {
    await cluster.publish(1, "refunds", "just now");
    return (await page.getByText("just now").count()) > 0;
  });
  const before = await depthOf(1, "refunds", 0);
  await cluster.publish(1, "refunds", "and then");
  await page.getByText("and then").waitFor();
  expect(await depthOf(1, "refunds", 0)).toBe(before + 1);
});

liveTest("a message is known by its body alone, and its life is followed from its publish to its end", async (page) => {
  await topic(0, "traced", "billing");
  await cluster.call(0, "/topic/retention?topic=traced&time=48h");
  await cluster.call(0, "/topic/trace?topic=traced&on=true");
  for (let i = 0; i < 30; i++) await cluster.publish(0, "traced", order(9, i));
  await cluster.publish(0, "traced", JSON.stringify({ order: { id: "b-4812" }, note: "where did it go?" }));
  const worker = await cluster.consumer(0, "traced", "billing", 1, "worker", 1000);
  for (let i = 0; i < 30; i++) worker.command(`FIN ${(await worker.message()).id}`);
  // Twice requeued, then not answered in time, then finished.
  for (const delay of [0, 20]) worker.command(`REQ ${(await worker.message()).id} ${delay}`);
  await worker.message();
  const last = await worker.message();
  expect(last.attempts).toBe(4);
  worker.command(`FIN ${last.id}`);
  await until("all is finished", async () => (await stats(0, "traced")).channels[0].in_flight_count === 0);

  await page.goto(`${cluster.url}/messages`);
  const topicField = page.getByRole("combobox", { name: "Topic", exact: true });
  await topicField.fill("traced");
  await topicField.press("Enter");
  await page.getByLabel("For").fill("where did it go?");
  await page.keyboard.press("Enter");
  await page.getByText("1 message of 31 looked at").waitFor();
  await page.locator("tbody button.row-link").click();
  const drawer = page.getByRole("dialog");
  await drawer.getByText('"b-4812"').waitFor();
  await drawer.locator(".life li").first().waitFor();
  const life = await drawer.locator(".life .what").allTextContents();
  const by = /worker on host-of-worker \(127\.0\.0\.1:\d+\)/;
  expect(life.map((event) => event.replace(by, "WORKER").replace(/ by HTTP 127\.0\.0\.1/, " by HTTP"))).toEqual([
    "published by HTTP",
    "delivered in billing, attempt 1 by WORKER",
    "requeued in billing, attempt 1 by WORKER, delay 0 ms",
    "delivered in billing, attempt 2 by WORKER",
    "requeued in billing, attempt 2 by WORKER, delay 20 ms",
    "delivered in billing, attempt 3 by WORKER",
    "timed out in billing, attempt 3 by WORKER",
    "delivered in billing, attempt 4 by WORKER",
    "finished in billing, attempt 4 by WORKER",
  ]);
  expect(await violations(page)).toEqual([]);
});

liveTest("what was done is in the activity, and what somebody does now comes by itself", async (page) => {
  await page.goto(`${cluster.url}/activity`);
  const table = page.getByRole("region", { name: "Activity" });
  const before = ["create channel", "delete channel", "delete topic", "pause topic", "unpause topic", "pause channel", "unpause channel"];
  const more = ["empty channel", "seek channel", "retention topic", "durability topic", "trace topic", "tombstone topic producer"];
  for (const action of [...before, ...more]) {
    await page.getByLabel("Filter activity").fill(action.replaceAll(" ", "_"));
    await table.getByText(action, { exact: true }).first().waitFor();
  }
  await page.getByLabel("Filter activity").fill("live-activity");
  await page.getByText("live", { exact: true }).waitFor();
  const created = await fetch(`${cluster.url}/api/v1/actions`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ action: "create", topic: "live-activity" }),
  });
  expect(created.status).toBe(200);
  await table.getByText("create topic").first().waitFor();
});

liveTest("a broker that is killed is down, with the reason, and is up again when it is back", async (page) => {
  await page.goto(`${cluster.url}/nodes`);
  const row = page.getByRole("row").filter({ hasText: cluster.address(1) });
  await row.getByText("up", { exact: true }).waitFor();
  await cluster.kill(1);
  await row.getByText("down", { exact: true }).waitFor();
  await row.getByText("connection refused").waitFor();
  await page.goto(`${cluster.url}/`);
  await page.getByText("orders / billing").first().waitFor();
  expect(await violations(page)).toEqual([]);
  await page.goto(`${cluster.url}/nodes/${cluster.address(1)}`);
  await page.getByText("It does not answer").waitFor();
  await cluster.revive(1);
  await page.getByText("up", { exact: true }).waitFor({ timeout: 60_000 });
  await page.getByRole("link", { name: "orders", exact: true }).waitFor();
});
