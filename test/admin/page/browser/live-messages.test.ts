import { expect } from "bun:test";
import { encode } from "@msgpack/msgpack";
import type { Page } from "playwright-core";
import { until } from "../../../support/server.ts";
import { violations } from "../support/axe.ts";
import { act, liveSite, order } from "../support/live-site.ts";

// What is in real brokers' queues, looked at and acted on by the page.

const site = liveSite(async ({ cluster, topic }) => {
  for (const at of cluster.brokers.keys()) {
    await topic(at, "orders", "billing", "archive");
    for (let i = 0; i < 20; i++) await cluster.publish(at, "orders", order(at, i));
  }
  for (const at of [0, 1]) await topic(at, "refunds", "mail");
});
const { liveTest, stats, depthOf, topic } = site;

liveTest("a channel is emptied, and replayed from the beginning after a preview", async (page) => {
  await site.cluster.call(0, "/topic/create?topic=replayed");
  await site.cluster.call(0, "/topic/retention?topic=replayed&time=48h");
  await site.cluster.call(0, "/channel/create?topic=replayed&channel=mail");
  for (let i = 0; i < 7; i++) await site.cluster.publish(0, "replayed", `message ${i}`);
  await until("it is registered", async () => (await fetch(`${site.cluster.url}/api/v1/topics/replayed/mail`)).ok);
  await page.goto(`${site.cluster.url}/topics/replayed/mail`);
  await act(page, "Empty …", "Empty", "mail");
  expect(await depthOf(0, "replayed", 0)).toBe(0);
  await act(page, "Replay …", "Replay", "mail", async (dialog) => {
    await dialog.getByLabel("From").selectOption("beginning");
    await dialog.getByRole("button", { name: "Preview" }).click();
    await dialog.getByText("7 messages would wait; 0 do now.").waitFor();
  });
  expect(await depthOf(0, "replayed", 0)).toBe(7);
});

liveTest("messages are found by text, regular expression and JSON path, and shown in full", async (page) => {
  await page.goto(`${site.cluster.url}/messages?topic=orders`);
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
    for (let i = 0; i < 5; i++) await site.cluster.publish(at, "work", order(at, i));
  }
  await until(
    "it is registered",
    async () => (await fetch(`${site.cluster.url}/api/v1/messages?topic=work&channel=main&state=waiting`)).ok,
  );
  const waiting = `${site.cluster.url}/messages?topic=work&channel=main&state=waiting`;
  await page.goto(waiting);
  await page.getByText("10 messages", { exact: true }).waitFor();
  await page.getByLabel("Choose message 0", { exact: true }).first().check();
  await page.getByLabel("Choose message 1", { exact: true }).first().check();
  await act(page, "Finish …", "Finish 2");
  await page.getByText("8 messages", { exact: true }).waitFor();
  await act(page, "Requeue …", "Requeue 8", undefined, (dialog) => dialog.getByLabel("Deliver after, s").fill("3600"));
  await page.getByText("No message fits.").waitFor();
  await page.getByRole("button", { name: "Deferred" }).click();
  await page.getByText("8 messages", { exact: true }).waitFor();
  await act(page, "Copy …", "Copy 8", undefined, (dialog) => dialog.getByLabel("To topic").fill("copies"));
  await act(page, "Move …", "Move 8", undefined, (dialog) => dialog.getByLabel("To topic").fill("copies"));
  await page.getByText("No message fits.").waitFor();
  const counts = await Promise.all([0, 1].map(async (at) => (await stats(at, "copies"))?.message_count ?? 0));
  expect(counts.reduce((sum, count) => sum + count, 0)).toBe(16);
});

liveTest("a tail shows what is published from now on, and consumes nothing", async (page) => {
  await page.goto(`${site.cluster.url}/messages?topic=refunds&tail=on`);
  await page.getByText("0 messages since the tail began; nothing is consumed").waitFor();
  await until("the tail has begun", async () => {
    await site.cluster.publish(1, "refunds", "just now");
    return (await page.getByText("just now").count()) > 0;
  });
  const before = (await depthOf(1, "refunds", 0)) ?? 0;
  await site.cluster.publish(1, "refunds", "and then");
  await page.getByText("and then").waitFor();
  expect(await depthOf(1, "refunds", 0)).toBe(before + 1);
});

liveTest("a channel is replayed from a time, after a preview says how many messages that is", async (page) => {
  await topic(0, "timed", "mail");
  await site.cluster.call(0, "/topic/retention?topic=timed&time=48h");
  for (let i = 0; i < 3; i++) await site.cluster.publish(0, "timed", `before ${i}`);
  // The field takes whole seconds.
  const from = (Math.floor(Date.now() / 1000) + 1) * 1000;
  await until("the next second has begun", () => Date.now() >= from + 20);
  for (let i = 0; i < 4; i++) await site.cluster.publish(0, "timed", `after ${i}`);
  await site.cluster.call(0, "/channel/empty?topic=timed&channel=mail");
  await site.untilKnown("timed");
  await page.goto(`${site.cluster.url}/topics/timed/mail`);
  await act(page, "Replay …", "Replay", "mail", async (dialog) => {
    const local = new Date(from - new Date(from).getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
    await dialog.getByLabel("Time, in your zone").fill(local);
    await dialog.getByRole("button", { name: "Preview" }).click();
    await dialog.getByText("4 messages would wait; 0 do now.").waitFor();
  });
  expect(await depthOf(0, "timed", 0)).toBe(4);
});

liveTest("gzip and MessagePack bodies are shown as the JSON that is in them, and others as text or hex", async (page) => {
  await topic(0, "packed", "mail");
  const value = { order: { id: "p-1", total: 9 } };
  await site.cluster.publish(0, "packed", Bun.gzipSync(JSON.stringify(value)));
  await site.cluster.publish(0, "packed", new Uint8Array(encode(value)));
  await site.cluster.publish(0, "packed", "plain words");
  await site.cluster.publish(0, "packed", new Uint8Array([0, 255, 254, 1]));
  await site.untilKnown("packed");
  await page.goto(`${site.cluster.url}/messages?topic=packed`);
  await page.getByText("4 messages").waitFor();
  await page.getByText("gzip", { exact: true }).waitFor();
  await page.getByText("MessagePack", { exact: true }).waitFor();
  const open = async (index: number, label: string | RegExp, text: string) => {
    await page.locator("tbody button.row-link").nth(index).click();
    await page.getByRole("dialog").getByLabel(label).getByText(text).first().waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
  };
  await open(0, /^Unpacked/, '"p-1"');
  await open(1, "Body", '"p-1"');
  await open(2, "Body", "plain words");
  await open(3, "Body", "00000000  00 ff fe 01");
});

/** What a person does who has a piece of a message's body, and nothing else. */
async function findByBody(page: Page, text: string): Promise<void> {
  await page.goto(`${site.cluster.url}/`);
  await page.getByText("Worst channels").waitFor();
  await page.getByRole("link", { name: "Messages", exact: true }).click();
  await page.getByLabel("For").fill(text);
  await page.keyboard.press("Enter");
  await page.getByText(/^1 message of \d+ looked at, in \d+ topics$/).waitFor();
  await page.locator("tbody button.row-link").click();
  await page.locator(".life li").first().waitFor();
}

async function lifeOn(page: Page): Promise<string[]> {
  const life = await page.locator(".life .what").allTextContents();
  return life.map((event) => event.replace(/ on host-of-(\S+) \(127\.0\.0\.1:\d+\)/, ""));
}

liveTest(
  "a message is followed by its body alone: from its publish, while it happens, to its end, and again when all is over",
  async (page) => {
    await topic(0, "traced", "billing");
    await site.cluster.call(0, "/topic/trace?topic=traced&on=true");
    const api = await site.cluster.client(0, "api-7");
    for (let i = 0; i < 30; i++) await api.call("PUB traced", order(9, i));
    await api.call("PUB traced", JSON.stringify({ order: { id: "b-4812" }, note: "where did it go?" }));
    const worker = await site.cluster.consumer(0, "traced", "billing", 1, "worker", 2000);
    for (let i = 0; i < 30; i++) worker.command(`FIN ${(await worker.message()).id}`);
    // Nobody answers for it while it is looked for, so it is shown as it lives on.
    const first = await worker.message();
    worker.command("RDY 0");
    worker.command(`REQ ${first.id} 0`);
    await site.untilKnown("traced");
    await findByBody(page, "where did it go?");
    await page.getByRole("dialog").getByText('"b-4812"').waitFor();
    const begun = [
      "published by api-7",
      "delivered in billing, attempt 1 by worker",
      "requeued in billing, attempt 1 by worker, delay 0 ms",
    ];
    expect(await lifeOn(page)).toEqual(begun);
    // The dialog stays open, and shows what comes.
    worker.command("RDY 1");
    worker.command(`REQ ${(await worker.message()).id} 20`);
    await worker.message();
    const last = await worker.message();
    expect(last.attempts).toBe(4);
    worker.command(`FIN ${last.id}`);
    await page.locator(".life").getByText("finished").waitFor();
    const life = [
      ...begun,
      "delivered in billing, attempt 2 by worker",
      "requeued in billing, attempt 2 by worker, delay 20 ms",
      "delivered in billing, attempt 3 by worker",
      "timed out in billing, attempt 3 by worker",
      "delivered in billing, attempt 4 by worker",
      "finished in billing, attempt 4 by worker",
    ];
    expect(await lifeOn(page)).toEqual(life);
    expect(await violations(page)).toEqual([]);
    // Somebody else looks for it when all is over.
    const later = await page.context().newPage();
    await findByBody(later, "where did it go?");
    expect(await lifeOn(later)).toEqual(life);
    // The address is enough for a colleague.
    await page.goto(later.url());
    await page.locator(".life li").first().waitFor();
    expect(await lifeOn(page)).toEqual(life);
  },
);

liveTest("a channel that is traced alone has the life of its messages, and no other", async (page) => {
  await topic(0, "half-traced", "seen", "unseen");
  await site.untilKnown("half-traced");
  await page.goto(`${site.cluster.url}/topics/half-traced/seen`);
  await act(page, "Trace …", "Trace");
  await page.getByText("traced", { exact: true }).waitFor();
  await site.cluster.publish(0, "half-traced", "one of two channels");
  for (const channel of ["seen", "unseen"]) {
    const worker = await site.cluster.consumer(0, "half-traced", channel, 1, `worker-${channel}`);
    worker.command(`FIN ${(await worker.message()).id}`);
  }
  await until("all is finished", async () =>
    (await stats(0, "half-traced")).channels.every(
      (one: { depth: number; in_flight_count: number }) => one.depth + one.in_flight_count === 0,
    ),
  );
  await findByBody(page, "one of two channels");
  expect((await lifeOn(page)).slice(1)).toEqual([
    "delivered in seen, attempt 1 by worker-seen",
    "finished in seen, attempt 1 by worker-seen",
  ]);
});
