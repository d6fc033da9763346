import { afterAll, beforeAll, expect } from "bun:test";
import type { Browser, Locator, Page } from "playwright-core";
import { testUnless } from "../../../support/needs.ts";
import { until } from "../../../support/server.ts";
import { launchBrowser, noBrowser, openPage } from "./browser.ts";
import { LiveCluster } from "./live-cluster.ts";

const LONG_MS = 120_000;
/** Until a figure of a broker is on the page. */
const PATIENCE_MS = 15_000;

/** A cluster of real servers with a browser, for the tests of one file. */
export interface LiveSite {
  readonly cluster: LiveCluster;
  readonly browser: Browser;
  /** Creates a topic and its channels at one broker. */
  topic(at: number, name: string, ...channels: string[]): Promise<void>;
  /** What a broker's /stats says of a topic; undefined if it does not have it. */
  // biome-ignore lint/suspicious/noExplicitAny: an answer is what the test says it is
  stats(at: number, name: string): Promise<any>;
  depthOf(at: number, name: string, channel: number): Promise<number | undefined>;
  /** Waits until the console shows a topic, of all brokers that have it. */
  untilKnown(name: string, brokers?: number): Promise<void>;
  /** A test with a page of its own, on which no error may be logged but those that it allows. */
  liveTest(name: string, play: (page: Page) => Promise<void>, options?: LiveTestOptions): void;
}

interface LiveTestOptions {
  /** Why it is skipped. */
  reason?: string | undefined;
  /** Errors that may be logged. */
  allowed?: RegExp;
  /** The console that it opens, if that is not the cluster's. */
  url?: () => string;
}

/** @param fill puts what the tests need into the cluster */
export function liveSite(fill: (site: LiveSite) => Promise<void>): LiveSite {
  let browser: Browser | undefined;
  let cluster: LiveCluster | undefined;
  const started = <T>(value: T | undefined): T => {
    if (value === undefined) throw new Error("the site has not been started");
    return value;
  };
  const site: LiveSite = {
    get cluster() {
      return started(cluster);
    },
    get browser() {
      return started(browser);
    },
    topic: async (at, name, ...channels) => {
      await site.cluster.call(at, `/topic/create?topic=${name}`);
      for (const channel of channels) await site.cluster.call(at, `/channel/create?topic=${name}&channel=${channel}`);
    },
    stats: async (at, name) => {
      const answer = await site.cluster.broker(at).http("GET", `/stats?format=json&topic=${name}`);
      return ((await answer.json()) as { topics: unknown[] | null }).topics?.[0];
    },
    depthOf: async (at, name, channel) => (await site.stats(at, name))?.channels[channel]?.depth,
    untilKnown: (name, brokers = 1) =>
      until("the console shows it", async () => {
        const answer = await fetch(`${site.cluster.url}/api/v1/topics/${name}`);
        return answer.ok && ((await answer.json()) as { brokers: number }).brokers === brokers;
      }),
    liveTest: (name, play, { reason = noBrowser, allowed = /^$/, url = () => site.cluster.url } = {}) =>
      testUnless(reason)(
        name,
        async () => {
          const { page, errors } = await openPage(site.browser, new URL(url()).host);
          page.setDefaultTimeout(PATIENCE_MS);
          await play(page);
          expect(errors.filter((error) => !allowed.test(error))).toEqual([]);
          await page.context().close();
        },
        LONG_MS,
      ),
  };

  beforeAll(async () => {
    if (noBrowser !== undefined) return;
    [cluster, browser] = await Promise.all([LiveCluster.start(), launchBrowser()]);
    await fill(site);
  }, LONG_MS);

  afterAll(async () => {
    await browser?.close();
    await cluster?.[Symbol.asyncDispose]();
  }, LONG_MS);

  return site;
}

/** The body of an order, as JSON. */
export function order(at: number, number: number): string {
  return JSON.stringify({ order: { id: `a-${at}-${number}`, total: number * 3 }, lines: ["x", "y"] });
}

/** Does what a button offers in its dialog. @param confirm the name that has to be typed */
export async function act(
  page: Page,
  button: Locator | string,
  verb: string,
  confirm?: string,
  fill?: (dialog: Locator) => Promise<unknown>,
): Promise<void> {
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
