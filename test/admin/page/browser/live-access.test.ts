import { afterAll, beforeAll, expect } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { Console } from "../../support/console.ts";
import { violations } from "../support/axe.ts";
import { noBrowser } from "../support/browser.ts";
import { act, liveSite } from "../support/live-site.ts";

// A console that asks everybody who they are, over real servers.

const folder = mkdtempSync(join(tmpdir(), "bunsq-test-"));
let guarded: Console;

const site = liveSite(async ({ topic }) => {
  await topic(0, "orders", "billing");
  await topic(0, "secret", "vault");
});
const { liveTest, stats } = site;

beforeAll(async () => {
  if (noBrowser !== undefined) return;
  const accessFile = join(folder, "access.toml");
  const password = await Bun.password.hash("right", { algorithm: "argon2id", memoryCost: 64, timeCost: 1 });
  const user = (name: string, roles: string) => `[users.${name}]\npassword = "${password}"\nroles = { ${roles} }\n`;
  writeFileSync(accessFile, user("vera", '"orders*" = "viewer"') + user("otto", '"orders*" = "operator"') + user("ada", '"*" = "admin"'));
  const lookupdHttpAddresses = site.cluster.lookups.map(({ httpPort }) => `127.0.0.1:${httpPort}`);
  guarded = new Console({ lookupdHttpAddresses, pollIntervalMs: 200, accessFile, graphiteUrl: "http://graphite.example" });
});

afterAll(async () => {
  await guarded?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

async function logIn(page: Page, user: string, password = "right"): Promise<void> {
  await page.getByLabel("User").fill(user);
  await page.getByLabel("Password").last().fill(password);
  await page.getByRole("button", { name: "Log in", exact: true }).click();
}

/** The browser logs each call that is refused. */
const OPTIONS = { allowed: /Failed to load resource: .* 40[13]/, url: () => guarded.origin };

liveTest(
  "who logs in sees the view that was asked for, and after the logout nothing",
  async (page) => {
    await page.goto(`${guarded.origin}/topics/orders`);
    await page.getByLabel("User").waitFor();
    expect(await violations(page)).toEqual([]);
    await logIn(page, "ada", "wrong");
    await page.getByText("LOGIN_FAILED").waitFor();
    await logIn(page, "ada");
    await page.getByRole("heading", { name: "orders", exact: true }).waitFor();
    await page.getByRole("link", { name: "billing", exact: true }).waitFor();
    expect(await page.getByRole("link", { name: "Graphite ↗" }).getAttribute("href")).toStartWith("http://graphite.example/");
    await page.reload();
    await page.getByRole("link", { name: "billing", exact: true }).waitFor();
    await act(page, "Pause …", "Pause");
    await page.goto(`${guarded.origin}/activity`);
    await page.getByRole("region", { name: "Activity" }).getByText("ada").first().waitFor();
    await page.getByRole("button", { name: "Log out" }).click();
    await page.getByLabel("User").waitFor();
    await page.goto(`${guarded.origin}/topics/orders`);
    await page.getByLabel("User").waitFor();
    expect(await page.getByRole("link", { name: "billing", exact: true }).count()).toBe(0);
    expect((await stats(0, "orders")).paused).toBe(true);
  },
  OPTIONS,
);

liveTest(
  "a viewer is offered no action in any view, and sees the topics of the role only",
  async (page) => {
    await page.goto(`${guarded.origin}/topics`);
    await logIn(page, "vera");
    await page.getByText("1 topic", { exact: true }).waitFor();
    expect(await page.getByText("secret").count()).toBe(0);
    const views: [path: string, shows: string][] = [
      ["/topics", "1 topic"],
      ["/topics/orders", "By broker"],
      ["/topics/orders/billing", "By broker"],
      ["/nodes", "Disk free"],
      [`/nodes/${site.cluster.address(0)}`, "Listed by"],
      ["/messages?topic=orders&channel=billing&state=waiting", "No message fits."],
    ];
    for (const [path, shows] of views) {
      await page.goto(guarded.origin + path);
      await page.getByText(shows).first().waitFor();
      expect([path, await page.getByRole("button", { name: /…$/ }).count()]).toEqual([path, 0]);
    }
  },
  OPTIONS,
);

liveTest(
  "an operator pauses and resumes, and is not offered what only an admin may do",
  async (page) => {
    await page.goto(`${guarded.origin}/topics/orders/billing`);
    await logIn(page, "otto");
    await act(page, "Pause …", "Pause");
    await page.getByText("paused", { exact: true }).first().waitFor();
    for (const name of ["Delete …", "Trace …"]) expect([name, await page.getByRole("button", { name }).count()]).toEqual([name, 0]);
    await act(page, "Resume …", "Resume");
    expect((await stats(0, "orders")).channels[0].paused).toBe(false);
  },
  OPTIONS,
);
