import { afterAll, beforeAll, expect } from "bun:test";
import type { Browser } from "playwright-core";
import { testUnless } from "../../../support/needs.ts";
import { violations } from "../support/axe.ts";
import { launchBrowser, noBrowser, openPage } from "../support/browser.ts";
import { FakeConsole } from "../support/fake-console.ts";
import { CLUSTER_VIEWS, SHOWN_VIEWS, show } from "../support/views.ts";

/** Each view is opened, and looked at by axe, which takes half a second. */
const LONG_MS = 120_000;

let browser: Browser;
let fake: Awaited<ReturnType<typeof FakeConsole.start>>;
/** One whose brokers are those of a replicated cluster. */
let replicated: Awaited<ReturnType<typeof FakeConsole.start>>;

beforeAll(async () => {
  if (noBrowser !== undefined) return;
  fake = await FakeConsole.start();
  replicated = await FakeConsole.start({ topics: 120, clients: 400, partitions: 1_000 });
  browser = await launchBrowser();
});

afterAll(async () => {
  await browser?.close();
  await fake?.stop();
  await replicated?.stop();
});

for (const colorScheme of ["light", "dark"] as const) {
  testUnless(noBrowser)(
    `axe finds nothing serious in any view, and nothing is logged as an error: ${colorScheme}`,
    async () => {
      const { page, errors } = await openPage(browser, new URL(fake.url).host, { colorScheme });
      for (const view of SHOWN_VIEWS) {
        await show(page, fake.url, view);
        expect([view.name, await violations(page)]).toEqual([view.name, []]);
        expect([view.name, errors]).toEqual([view.name, []]);
      }
      await page.context().close();
      const cluster = await openPage(browser, new URL(replicated.url).host, { colorScheme });
      for (const view of CLUSTER_VIEWS) {
        await show(cluster.page, replicated.url, view);
        expect([view.name, await violations(cluster.page)]).toEqual([view.name, []]);
        expect([view.name, cluster.errors]).toEqual([view.name, []]);
      }
      await cluster.page.context().close();
    },
    LONG_MS,
  );
}

testUnless(noBrowser)(
  "at 390 px no view scrolls sideways, and the menu leads everywhere",
  async () => {
    const { page, errors } = await openPage(browser, new URL(fake.url).host, { width: 390, height: 844 });
    for (const view of SHOWN_VIEWS) {
      await show(page, fake.url, view);
      const width = await page.evaluate("document.documentElement.scrollWidth");
      expect([view.name, width]).toEqual([view.name, 390]);
    }
    const cluster = await openPage(browser, new URL(replicated.url).host, { width: 390, height: 844 });
    for (const view of CLUSTER_VIEWS.filter(({ isWide }) => isWide !== true)) {
      await show(cluster.page, replicated.url, view);
      const width = await cluster.page.evaluate("document.documentElement.scrollWidth");
      expect([view.name, width]).toEqual([view.name, 390]);
    }
    await cluster.page.context().close();
    await page.goto(fake.url);
    await page.getByRole("button", { name: "Menu" }).click();
    await page.getByRole("link", { name: "Clients" }).click();
    await page.getByText("400 clients").waitFor();
    expect(await page.getByRole("link", { name: "Clients" }).isVisible()).toBe(false);
    expect(await violations(page)).toEqual([]);
    expect(errors).toEqual([]);
    await page.context().close();
  },
  LONG_MS,
);

testUnless(noBrowser)(
  "the login takes the place of every view, and leads back to the one that was asked for",
  async () => {
    const { page } = await openPage(browser, new URL(fake.url).host);
    const before = fake.session;
    fake.session = { ...before, needs_login: true };
    await page.goto(`${fake.url}/topics/orders`);
    await page.getByLabel("User").fill("ada");
    await page.getByLabel("Password").fill("wrong");
    expect(await violations(page)).toEqual([]);
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByText("WRONG_CREDENTIALS").waitFor();
    await page.getByLabel("Password").fill("right");
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByRole("heading", { name: "orders" }).waitFor();
    await page.getByText("ada").first().waitFor();
    fake.session = before;
    await page.context().close();
  },
  LONG_MS,
);
