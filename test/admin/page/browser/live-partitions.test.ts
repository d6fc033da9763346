import { expect } from "bun:test";
import { until } from "../../../support/server.ts";
import { violations } from "../support/axe.ts";
import { act, liveSite } from "../support/live-site.ts";

// Partitions, keys, order and dead letters of real brokers, by the page.

const site = liveSite(async ({ cluster }) => {
  // Spread by hand, with a partition that nobody has.
  await cluster.call(0, "/topic/create?topic=spread&partition_num=5&partitions=0,1");
  await cluster.call(1, "/topic/create?topic=spread&partition_num=5&partitions=2,4");
  for (const at of [0, 1]) await cluster.call(at, "/channel/create?topic=spread&channel=main");
  const producer = await cluster.client(0, "producer", { extend_support: true });
  const header = Buffer.from(JSON.stringify({ "##key": "user-7", "##trace_id": "4711", region: "eu" }));
  for (const body of ["first", "second", "third"]) {
    const length = Buffer.alloc(2);
    length.writeUInt16BE(header.length);
    await producer.call("PUB_EXT spread 1", Buffer.concat([length, header, Buffer.from(body)]));
  }
  await cluster.publish(1, "spread", "plain");
});
const { liveTest } = site;

liveTest("a topic that is spread over brokers is shown as one, and the partition that nobody has is named", async (page) => {
  await site.untilKnown("spread", 2);
  await page.goto(`${site.cluster.url}/topics/spread`);
  await page.getByText("No broker that answers has partition 3").waitFor();
  const table = page.getByRole("region", { name: "Partitions" });
  await until("each is a row", async () => (await table.locator("tbody tr").count()) === 5);
  expect(await table.getByText("nobody", { exact: true }).count()).toBe(1);
  expect(await violations(page)).toEqual([]);
  await page.goto(`${site.cluster.url}/topics`);
  await page.getByText("1 missing").waitFor();
});

liveTest("messages have their partition, key and header, and are found by them", async (page) => {
  await page.goto(`${site.cluster.url}/messages?topic=spread`);
  await page.getByText("4 messages", { exact: true }).waitFor();
  await page.getByLabel("Search by").selectOption("key");
  await page.getByLabel("For").fill("user-7");
  await page.getByRole("button", { name: "Search", exact: true }).click();
  await page.getByText("3 messages of 4 looked at").waitFor();
  await page.locator("tbody button.row-link").first().click();
  const drawer = page.getByRole("dialog");
  await drawer.getByText("4711", { exact: true }).waitFor();
  await drawer.getByText('"eu"').waitFor();
  await drawer.getByText(`${site.cluster.address(0)}, partition 1`).waitFor();
  expect(await violations(page)).toEqual([]);
  await page.keyboard.press("Escape");
  await page.goto(`${site.cluster.url}/messages?topic=spread`);
  await page.getByLabel("Partition").fill("1");
  await page.getByLabel("Partition").press("Enter");
  await page.getByText("3 messages", { exact: true }).waitFor();
});

liveTest("the partition that is being typed stays while messages come in", async (page) => {
  await site.cluster.call(0, "/topic/create?topic=tailed&partition_num=5");
  await site.untilKnown("tailed");
  await page.goto(`${site.cluster.url}/messages?topic=tailed&tail=on`);
  await page.getByText("0 messages since the tail began").waitFor();
  const field = page.getByLabel("Partition");
  await field.fill("4");
  await until("a message came", async () => {
    await site.cluster.publish(0, "tailed", "of a tail");
    return (await page.locator("tbody button.row-link").count()) > 0;
  });
  expect(await field.inputValue()).toBe("4");
  await field.press("Enter");
  await page.waitForURL(/partition=4/);
});

liveTest("a message is published with a key and headers, and a wrong header is told", async (page) => {
  await site.cluster.call(0, "/topic/create?topic=typed&partition_num=3");
  await site.untilKnown("typed");
  await page.goto(`${site.cluster.url}/topics/typed`);
  await act(page, "Publish …", "Publish", undefined, async (dialog) => {
    await dialog.getByLabel("Body").fill("by hand");
    await dialog.getByLabel("Key").fill("ada");
    await dialog.getByLabel("Headers").fill("region: eu");
    await dialog.getByRole("button", { name: "Publish", exact: true }).click();
    await dialog.getByText("The headers are no JSON object").waitFor();
    expect(await violations(page)).toEqual([]);
    await dialog.getByLabel("Headers").fill('{"region":"eu"}');
  });
  const answer = await site.cluster.broker(0).http("GET", "/topic/messages?topic=typed&partition=2");
  expect(((await answer.json()) as { messages: unknown[] }).messages).toMatchObject([
    { body: "by hand", key: "ada", headers: { region: "eu", "##key": "ada" } },
  ]);
});

liveTest("what holds a channel back is shown, with brokers that differ", async (page) => {
  await site.untilKnown("spread", 2);
  for (const at of [0, 1]) await site.cluster.call(at, "/channel/create?topic=spread&channel=slow");
  const channel = "topic=spread&channel=slow";
  for (const at of [0, 1]) await site.cluster.call(at, `/channel/ratelimit?${channel}&ratemessages=500&ratekilobytes=64`);
  for (const at of [0, 1]) await site.cluster.call(at, `/channel/setclientlimit?${channel}&ready=10&client_prefix=10.1.`);
  await site.cluster.call(0, `/channel/skip?${channel}`);
  await page.goto(`${site.cluster.url}/topics/spread/slow`);
  await page.getByText("at most 500 messages and 64 KiB per second").waitFor();
  await page.getByText("at most 10 in flight at clients whose address or id begins with 10.1.").waitFor();
  await page.getByText("all messages are skipped: finished without being delivered").waitFor();
  await page.getByText("brokers differ").waitFor();
  expect(await violations(page)).toEqual([]);
});

liveTest("a topic gets partitions when it is made and later, and a channel its order, which is shown and changed", async (page) => {
  await page.goto(`${site.cluster.url}/topics`);
  await act(page, "New topic …", "Create", undefined, async (dialog) => {
    await dialog.getByLabel("Topic").fill("parts");
    await dialog.getByLabel("Partitions").fill("4");
  });
  await site.untilKnown("parts", 2);
  await page.goto(`${site.cluster.url}/topics/parts`);
  await page.getByText("4 partitions", { exact: true }).first().waitFor();
  await act(page, "Partitions …", "Expand", "parts", async (dialog) => {
    await dialog.getByText("Keys move:").waitFor();
    await dialog.getByLabel("Partitions").fill("6");
  });
  await page.getByText("6 partitions", { exact: true }).first().waitFor();
  await act(page, "New channel …", "Create", undefined, async (dialog) => {
    await dialog.getByLabel("Channel").fill("inorder");
    await dialog.getByRole("button", { name: "by key" }).click();
  });
  await page.getByRole("link", { name: "inorder", exact: true }).click();
  await page.getByText("ordered by key").first().waitFor();
  await act(page, "Delivery …", "Set", undefined, async (dialog) => {
    await dialog.getByRole("button", { name: "by partition" }).click();
    await dialog.getByLabel("Filter of headers").fill('{"type":1,"filter_ext_key":"region","filter_data":"eu"}');
    await dialog.getByLabel("Attempts").fill("3");
    await dialog.getByLabel("Dead letter topic").fill("parts.dead");
  });
  await page.getByText("at most 3, then to the dead letters").waitFor();
  await page.getByText("ordered by partition").first().waitFor();
  for (const at of [0, 1]) {
    const answer = await site.cluster.broker(at).http("GET", "/channel/settings?topic=parts&channel=inorder");
    expect(await answer.json()).toMatchObject({ order: "partition", max_attempts: 3, dead_letter_topic: "parts.dead" });
  }
  expect(await violations(page)).toEqual([]);
  await page.setViewportSize({ width: 390, height: 844 });
  // Charts follow a frame later.
  await until("all fits into the narrow page", async () => (await page.evaluate("document.documentElement.scrollWidth")) === 390);
});

liveTest("what a broker refuses stays in the dialog", async (page) => {
  await site.untilKnown("spread", 2);
  await page.goto(`${site.cluster.url}/topics/spread/main`);
  await page.getByRole("button", { name: "Delivery …" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Filter of headers").fill("no JSON");
  await dialog.getByRole("button", { name: "Set", exact: true }).click();
  await dialog.getByText("INVALID_ARG_FILTER").first().waitFor();
  expect(await violations(page)).toEqual([]);
});

liveTest("a message that fails again and again is a finding that leads to it, and then a dead letter", async (page) => {
  await site.cluster.call(0, "/topic/create?topic=poisoned");
  await site.cluster.call(0, "/channel/create?topic=poisoned&channel=work&max_attempts=7&dead_letter_topic=poisoned.dead");
  await site.cluster.publish(0, "poisoned", "cannot be handled");
  const worker = await site.cluster.consumer(0, "poisoned", "work", 1, "failing-worker");
  for (let attempt = 1; attempt <= 5; attempt++) {
    const { id } = await worker.message();
    if (attempt === 5) worker.command("RDY 0");
    worker.command(`REQ ${id} 0`);
  }
  await site.untilKnown("poisoned");
  await page.goto(`${site.cluster.url}/topics/poisoned/work`);
  await page.getByText("A message was delivered 5 times").waitFor();
  await page
    .getByLabel("Findings")
    .getByRole("link", { name: /^message/ })
    .click();
  const drawer = page.getByRole("dialog");
  await drawer.getByText("cannot be handled").first().waitFor();
  expect(await violations(page)).toEqual([]);
  worker.command("RDY 1");
  for (let attempt = 6; attempt <= 7; attempt++) worker.command(`REQ ${(await worker.message()).id} 0`);
  await page.goto(`${site.cluster.url}/topics/poisoned/work`);
  await page.getByText("1 message was given up and moved to poisoned.dead").waitFor();
  // Another topic may have a channel of this name, and the same dead letter topic.
  const other = JSON.stringify({ "bunsq-dead-letter-topic": "other", "bunsq-dead-letter-channel": "work" });
  await site.cluster.publish(0, "poisoned.dead", "of another channel", `&ext=${encodeURIComponent(other)}`);
  await page.getByRole("region", { name: "Delivery" }).getByRole("link", { name: "messages of this channel" }).click();
  await page.getByText("1 message of 2 looked at").waitFor();
  await page.getByText("cannot be handled").waitFor();
});
