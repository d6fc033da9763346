import { afterAll, beforeAll, expect } from "bun:test";
import type { Browser } from "playwright-core";
import { testUnless } from "../../../support/needs.ts";
import { until } from "../../../support/server.ts";
import { launchBrowser, noBrowser, openPage, type WatchedPage } from "../support/browser.ts";
import { FakeConsole } from "../support/fake-console.ts";

const CLIENTS = 50_000;
const BASE_PATH = "/nsq";

let browser: Browser;
let fake: Awaited<ReturnType<typeof FakeConsole.start>>;

beforeAll(async () => {
  if (noBrowser !== undefined) return;
  fake = await FakeConsole.start({ topics: 2000, clients: CLIENTS }, BASE_PATH);
  browser = await launchBrowser();
});

afterAll(async () => {
  await browser?.close();
  await fake?.stop();
});

/** A test with a page of its own, on which no error may be logged but those that it allows. */
function browserTest(name: string, play: (watched: WatchedPage) => Promise<void>, allowed = /^$/): void {
  testUnless(noBrowser)(
    name,
    async () => {
      const watched = await openPage(browser, new URL(fake.url).host);
      watched.page.setDefaultTimeout(10_000);
      await play(watched);
      expect(watched.errors.filter((error) => !allowed.test(error))).toEqual([]);
      await watched.page.context().close();
    },
    60_000,
  );
}

browserTest("50,000 rows are a hundred in the document, wherever the list is scrolled to", async ({ page }) => {
  await page.goto(`${fake.url}/clients`);
  await page.getByText("50,000 clients").waitFor();
  const table = page.getByRole("region", { name: "Clients" });
  const rows = table.locator("tbody tr:not(.space)");
  for (const [top, shown] of [
    [0, "worker-00000"],
    [800_000, "worker-25000"],
    [1_600_000, "worker-49999"],
  ] as const) {
    await table.evaluate((box, to) => box.scrollTo(0, to), top);
    await page.getByText(shown).waitFor();
    await until("no row is loading", async () => (await table.locator(".loading").count()) === 0);
    expect(await rows.count()).toBeLessThan(100);
  }
  expect(await table.locator("table").getAttribute("aria-rowcount")).toBe("50001");
  // Only windows were asked for, never the whole.
  const asked = fake.streams.flat().filter((view) => view.startsWith("/clients"));
  expect(asked.length).toBeGreaterThan(1);
  expect(asked.filter((view) => !view.includes("limit=120"))).toEqual([]);
});

browserTest("a filter keeps what is typed while the page takes over what was typed before", async ({ page }) => {
  await page.goto(`${fake.url}/topics`);
  const field = page.getByRole("searchbox").first();
  await field.waitFor();
  // A letter is typed in the very moment in which those before it come into the address, and one more once the page has been drawn.
  await page.evaluate(`(async () => {
    const input = document.querySelector("input.filter");
    const type = (text) => {
      input.value += text;
      input.dispatchEvent(new InputEvent("input", { bubbles: true }));
    };
    const replace = window.history.replaceState.bind(window.history);
    const replaced = new Promise((resolve) => {
      window.history.replaceState = (...parameters) => {
        replace(...parameters);
        window.history.replaceState = replace;
        type("d");
        resolve();
      };
    });
    type("or");
    await replaced;
    for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame);
    type("e");
  })()`);
  await until("the address has all", () => page.url().includes("filter=orde"));
  expect(await field.inputValue()).toBe("orde");
});

browserTest("sorting and filtering are the server's, and stay in the address", async ({ page }) => {
  await page.goto(`${fake.url}/topics`);
  await page.getByText("2,000 topics").waitFor();
  const depth = page.getByRole("columnheader", { name: "Depth", exact: true });
  expect(await depth.getAttribute("aria-sort")).toBe("none");
  await depth.getByRole("button").click();
  await until("the address has the sort", () => page.url().endsWith("/topics?sort=-depth"));
  expect(await depth.getAttribute("aria-sort")).toBe("descending");
  await page.keyboard.press("/");
  await page.keyboard.type("orders.1");
  await until("the address has the filter", () => page.url().includes("filter=orders.1"));
  await page.getByText("111 topics").waitFor();
  await page.reload();
  await page.getByText("111 topics").waitFor();
  expect(await page.getByRole("searchbox").inputValue()).toBe("orders.1");
});

browserTest("keys lead from view to view and from row to row, and can be switched off", async ({ page }) => {
  await page.goto(`${fake.url}/`);
  await page.getByText("Worst channels").waitFor();
  await page.keyboard.press("g");
  await page.keyboard.press("t");
  await page.getByText("2,000 topics").waitFor();
  await page.getByRole("link", { name: "audit", exact: true }).focus();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "audit.1", exact: true }).waitFor();
  await page.keyboard.press("?");
  await page.getByLabel("Single keys do something").uncheck();
  await page.keyboard.press("Escape");
  await page.keyboard.press("?");
  expect(await page.getByRole("dialog").count()).toBe(0);
});

browserTest("a topic is deleted only when its name is typed, and Esc gives the focus back", async ({ page }) => {
  await page.goto(`${fake.url}/topics/orders`);
  const button = page.getByRole("button", { name: "Delete …" });
  await button.click();
  await page.getByRole("dialog").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  expect(await button.evaluate((element) => element.matches(":focus"))).toBe(true);
  await button.click();
  const confirm = page.getByRole("dialog").getByRole("button", { name: "Delete" });
  expect(await confirm.isDisabled()).toBe(true);
  await page.getByLabel("Type orders to confirm").fill("order");
  expect(await confirm.isDisabled()).toBe(true);
  const before = fake.actions.length;
  await page.getByLabel("Type orders to confirm").fill("orders");
  await page.getByLabel("Where").selectOption("nsq-b:4151");
  await confirm.click();
  await page.getByText("2,000 topics").waitFor();
  expect(fake.actions.slice(before)).toEqual([{ action: "delete", topic: "orders", broker: "nsq-b:4151", confirm: "orders" }]);
  await page.getByText("Delete orders: done").waitFor();
});

browserTest("what a server refused is said, server by server, and the dialog stays", async ({ page }) => {
  await page.goto(`${fake.url}/topics/orders`);
  await page.getByRole("button", { name: "Tombstone orders on nsq-a:4151" }).click();
  const confirm = page.getByRole("dialog").getByRole("button", { name: "Tombstone" });
  expect(await confirm.isDisabled()).toBe(true);
  await page.getByLabel("Type orders to confirm").fill("orders");
  await confirm.click();
  await page.getByText("nsq-a:4151: TOPIC_NOT_FOUND").waitFor();
});

browserTest("a channel is replayed from a time after a preview", async ({ page }) => {
  await page.goto(`${fake.url}/topics/orders/billing`);
  await page.getByRole("button", { name: "Replay …" }).click();
  await page.getByLabel("Time, in your zone").fill("2026-11-28T01:00:00");
  await page.getByRole("button", { name: "Preview" }).click();
  await page.getByText("14,322 messages would wait; 8,122 do now.").waitFor();
  await page.getByLabel("Type billing to confirm").fill("billing");
  const before = fake.actions.length;
  await page.getByRole("dialog").getByRole("button", { name: "Replay" }).click();
  await page.getByText("Replay orders / billing: done").waitFor();
  const to = new Date("2026-11-28T01:00:00").toISOString();
  expect(fake.actions.slice(before)).toEqual([{ action: "seek", topic: "orders", channel: "billing", to, confirm: "billing" }]);
});

browserTest("messages are found, chosen, counted and requeued", async ({ page }) => {
  await page.goto(`${fake.url}/messages?topic=orders&channel=billing&state=in_flight`);
  await page.getByText("40 messages").waitFor();
  await page.getByLabel("Choose message 3", { exact: true }).check();
  await page.getByLabel("Choose message 5", { exact: true }).check();
  await page.getByText("2 chosen messages").waitFor();
  await page.getByRole("button", { name: "Requeue …" }).click();
  await page.getByRole("dialog").getByText("2 messages").waitFor();
  await page.getByLabel("Deliver after, s").fill("1.5");
  const before = fake.requests.length;
  await page.getByRole("button", { name: "Requeue 2" }).click();
  await page.getByText("requeue: 2 messages done").waitFor();
  const ids = ["0000000000000003", "0000000000000005"];
  expect(fake.requests.slice(before)).toEqual([
    { action: "requeue", topic: "orders", channel: "billing", broker: "nsq-a:4151", ids, delay_ms: 1500, preview: false },
  ]);
});

browserTest("one message is finished where its body and its life are seen, and Esc closes one dialog after the other", async ({ page }) => {
  await page.goto(`${fake.url}/messages?topic=orders&channel=billing&state=in_flight&id=0000000000000007&at=nsq-a:4151`);
  const drawer = page.getByRole("dialog", { name: "Message 7" });
  await drawer.getByRole("button", { name: "Finish …" }).click();
  await page.getByRole("dialog", { name: "Finish messages" }).waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog", { name: "Finish messages" }).waitFor({ state: "detached" });
  expect(await drawer.isVisible()).toBe(true);
  await drawer.getByRole("button", { name: "Finish …" }).click();
  const before = fake.requests.length;
  await page.getByRole("button", { name: "Finish 1", exact: true }).click();
  await page.getByText("finish: 1 message done").waitFor();
  const finish = { action: "finish" as const, topic: "orders", channel: "billing", broker: "nsq-a:4151", ids: ["0000000000000007"] };
  expect(fake.requests.slice(before).filter(({ preview }) => !preview)).toEqual([{ ...finish, preview: false }]);
  await page.keyboard.press("Escape");
  await drawer.waitFor({ state: "detached" });
});

browserTest("a search is sent to the server, and the tail shows what comes without consuming", async ({ page }) => {
  await page.goto(`${fake.url}/messages?topic=orders`);
  await page.getByText("100 messages").waitFor();
  await page.getByLabel("For").fill("a-4812");
  await page.keyboard.press("Enter");
  await page.getByText(/1 message of [\d,]+ looked at/).waitFor();
  await page.getByLabel("For").fill("");
  await page.keyboard.press("Enter");
  await page.getByLabel("Live tail").check();
  await page.getByText(/[1-9]\d* messages since the tail began/).waitFor();
});

browserTest("bodies are shown as what they are: JSON, gzip opened, MessagePack, text and hex", async ({ page }) => {
  const open = (sequence: number) =>
    page.goto(`${fake.url}/messages?topic=orders&id=${sequence.toString(16).padStart(16, "0")}&at=nsq-a:4151`);
  const body = page.getByRole("dialog").getByLabel("Body", { exact: true });
  await open(6);
  await body.getByText('"a-6"').waitFor();
  await body.getByRole("button", { name: "Hex" }).click();
  await body.getByText("00000000  7b 22 6f 72").waitFor();
  await open(9);
  await page
    .getByLabel(/^Unpacked/)
    .getByText('"a-9"')
    .waitFor();
  await open(10);
  await body.getByText('"a-10"').waitFor();
  await open(11);
  await body.getByText("plain text of order 11").waitFor();
  await page.getByText("requeued in billing, attempt 1").waitFor();
  await page.keyboard.press("Escape");
  await until("the address has no message", () => !page.url().includes("id="));
});

browserTest("a delta changes the figures that it names", async ({ page }) => {
  await page.goto(`${fake.url}/`);
  await page.getByText("1.28M").waitFor();
  fake.send("delta", { view: "/overview", data: { set: { depth: 77_001 } } });
  await page.getByText("77,001").waitFor();
  await page.getByText("120 topics").count();
});

browserTest("what others do is shown at once", async ({ page }) => {
  await page.goto(`${fake.url}/activity`);
  await page.getByText("live", { exact: true }).waitFor();
  fake.send("activity", { data: { ...fake.cluster.action(Date.now(), 3), user: "somebody-else" } });
  await page.getByText("somebody-else").waitFor();
});

browserTest(
  "a lost stream says so, tries again, and is live when the console is back",
  async ({ page }) => {
    await page.goto(`${fake.url}/`);
    await page.getByText("live", { exact: true }).waitFor();
    fake.isDown = true;
    fake.cutStreams();
    await page.getByText("figures may be old").waitFor();
    // What was there stays in sight.
    expect(await page.getByText("Worst channels").isVisible()).toBe(true);
    fake.isDown = false;
    await page.getByRole("button", { name: "Try now" }).click();
    await page.getByText("live", { exact: true }).waitFor();
    expect(await page.getByText("figures may be old").count()).toBe(0);
  },
  // The browser logs each call that is refused.
  /Failed to load resource|MIME type|net::ERR/,
);

browserTest(
  "a topic that there is not is said to be missing",
  async ({ page }) => {
    await page.goto(`${fake.url}/topics/nowhere`);
    await page.getByText("nowhere: NOT_FOUND").waitFor();
  },
  /404/,
);

browserTest("a viewer is offered nothing that changes something", async ({ page }) => {
  const before = fake.session;
  fake.session = { ...before, roles: { "*": "viewer", "orders*": "operator" } };
  await page.goto(`${fake.url}/topics/payments`);
  await page.getByText("By broker").first().waitFor();
  expect(await page.getByRole("button", { name: /…$/ }).count()).toBe(0);
  await page.goto(`${fake.url}/topics/orders`);
  await page.getByRole("button", { name: "Pause …" }).waitFor();
  expect(await page.getByRole("button", { name: "Delete …" }).count()).toBe(0);
  fake.session = before;
});

browserTest("the colours can be chosen, and the choice is kept", async ({ page }) => {
  await page.goto(`${fake.url}/`);
  await page.getByLabel("Colours").selectOption("dark");
  await page.reload();
  await page.getByText("Worst channels").waitFor();
  expect(await page.locator("html").getAttribute("data-theme")).toBe("dark");
  expect(await page.getByLabel("Colours").inputValue()).toBe("dark");
});
