import { afterAll, beforeAll, expect } from "bun:test";
import type { Browser, Page } from "playwright-core";
import { testUnless } from "../../../support/needs.ts";
import { launchBrowser, noBrowser, openPage } from "../support/browser.ts";
import { FakeConsole } from "../support/fake-console.ts";

let browser: Browser;

beforeAll(async () => {
  if (noBrowser === undefined) browser = await launchBrowser();
});

afterAll(async () => {
  await browser?.close();
});

type Console = Awaited<ReturnType<typeof FakeConsole.start>>;

/** A test with a console and a page of its own, on which no error may be logged. */
function clusterTest(name: string, partitions: number | undefined, play: (page: Page, fake: Console) => Promise<void>): void {
  testUnless(noBrowser)(
    name,
    async () => {
      const fake = await FakeConsole.start({ topics: 120, clients: 10, ...(partitions === undefined ? {} : { partitions }) });
      const { page, errors } = await openPage(browser, new URL(fake.url).host);
      page.setDefaultTimeout(10_000);
      await play(page, fake);
      expect(errors).toEqual([]);
      await page.context().close();
      await fake.stop();
    },
    60_000,
  );
}

clusterTest("brokers that are alone have no cluster in the menu, and no replicas at a topic", undefined, async (page, fake) => {
  await page.goto(`${fake.url}/topics/orders`);
  await page.getByText("By broker").waitFor();
  expect(await page.getByRole("link", { name: "Cluster" }).count()).toBe(0);
  expect(await page.getByText("Replicas").count()).toBe(0);
  expect(fake.streams.flat().filter((view) => /cluster|replicas/.test(view))).toEqual([]);
});

clusterTest("of 1,000 partitions those in sight are in the document, and risks come before all", 1_000, async (page, fake) => {
  await page.goto(fake.url);
  expect(await page.getByRole("list", { name: "Cluster" }).textContent()).toBe("The cluster is at risk: 2 critical, 2 warnings.");
  await page.getByRole("link", { name: "Cluster", exact: true }).click();
  await page.getByText("1,000 partitions").waitFor();
  const risks = page.getByRole("list", { name: "What is at risk" }).getByRole("listitem");
  expect(await risks.count()).toBe(4);
  expect(await risks.first().textContent()).toContain("have no leader");
  expect(await page.getByRole("region", { name: "Replicas" }).locator("tbody tr:not(.space)").count()).toBeLessThan(100);
});

clusterTest("what changes is shown as it comes, until all is well", 8, async (page, fake) => {
  await page.goto(`${fake.url}/cluster`);
  await page.getByText("away for 12m 34s").waitFor();
  fake.replicate(8, true);
  const view = "/cluster";
  fake.send("full", { view, data: fake.replication?.detail() });
  await page.getByText("Nothing is at risk").waitFor();
  expect(await page.getByText("away for").count()).toBe(0);
});

clusterTest("a replica is moved to a broker that has none, and the leader to one that is in sync", 40, async (page, fake) => {
  await page.goto(`${fake.url}/topics/orders`);
  await page.getByRole("button", { name: "Move orders/0" }).click();
  const dialog = page.getByRole("dialog");
  // The broker that is away is the one to be replaced.
  expect(await dialog.getByLabel("From").locator("option:checked").textContent()).toBe("3be13be1 · away");
  expect(await dialog.getByLabel("To").locator("option").allTextContents()).toEqual(["nsq-d:4151 · zone rack-1"]);
  await dialog.getByRole("button", { name: "Move", exact: true }).click();
  await dialog.waitFor({ state: "detached" });
  await page.getByRole("button", { name: "Change the leader of orders/1" }).click();
  await dialog.getByLabel("New leader").waitFor();
  expect(await dialog.getByLabel("New leader").locator("option").allTextContents()).toEqual(["nsq-d:4151", "nsq-a:4151"]);
  await dialog.getByRole("button", { name: "Hand over" }).click();
  await dialog.waitFor({ state: "detached" });
  expect(fake.actions).toEqual([
    { action: "move", topic: "orders", value: { partition: 0, from: "3be1".repeat(4), to: "4d90".repeat(4) } },
    { action: "lead", topic: "orders", value: { partition: 1, to: "4d90".repeat(4) } },
  ]);
});

clusterTest("a broker is removed once its name is typed, and kept after all; and the cluster is balanced", 40, async (page, fake) => {
  await page.goto(`${fake.url}/cluster`);
  await page.getByRole("button", { name: "Remove nsq-a:4151" }).click();
  const dialog = page.getByRole("dialog");
  const remove = dialog.getByRole("button", { name: "Remove", exact: true });
  expect(await remove.isDisabled()).toBe(true);
  await dialog.getByRole("textbox").fill("nsq-a:4151");
  await remove.click();
  await dialog.waitFor({ state: "detached" });
  await page.getByRole("button", { name: "Keep nsq-e:4151" }).click();
  await dialog.getByRole("button", { name: "Keep", exact: true }).click();
  await dialog.waitFor({ state: "detached" });
  await page.getByRole("button", { name: "Balance …" }).click();
  await dialog.getByRole("button", { name: "Balance", exact: true }).click();
  await dialog.waitFor({ state: "detached" });
  expect(fake.actions).toEqual([
    { action: "remove_node", broker: "nsq-a:4151", confirm: "nsq-a:4151" },
    { action: "keep_node", broker: "nsq-e:4151" },
    { action: "balance" },
  ]);
});

clusterTest("a topic gets another number of replicas, and more partitions without moving keys", 40, async (page, fake) => {
  await page.goto(`${fake.url}/topics/orders`);
  await page.getByRole("button", { name: "Replicas …" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Replicas").fill("2");
  await dialog.getByRole("button", { name: "Set" }).click();
  await dialog.waitFor({ state: "detached" });
  await page.getByRole("button", { name: "Partitions …" }).click();
  await dialog.getByText("Keys stay where they are").waitFor();
  await dialog.getByRole("textbox").fill("orders");
  await dialog.getByRole("button", { name: "Expand" }).click();
  await dialog.waitFor({ state: "detached" });
  expect(fake.actions).toEqual([
    { action: "replicas", topic: "orders", value: { replicas: 2 } },
    { action: "expand", topic: "orders", value: { partitions: 8 }, confirm: "orders" },
  ]);
});

clusterTest("a viewer sees the cluster and is offered no action", 40, async (page, fake) => {
  fake.session = { ...fake.session, roles: { "*": "viewer" } };
  for (const path of ["/cluster", "/topics/orders"]) {
    await page.goto(fake.url + path);
    await page.getByRole("region", { name: "Replicas" }).getByText("nsq-b:4151").first().waitFor();
    expect([path, await page.getByRole("button", { name: /…$/ }).count()]).toEqual([path, 0]);
  }
});
