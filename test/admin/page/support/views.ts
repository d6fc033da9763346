import type { Page } from "playwright-core";

/** A view of the page, and what has to be there before it is looked at. */
export interface ShownView {
  name: string;
  path: string;
  /** Text that only the loaded view has. */
  shows: string;
  /** It cannot be come to on a narrow screen. */
  isWide?: true;
  /** What a person does first. */
  prepare?: (page: Page) => Promise<void>;
}

/** Every view, with the cluster of FakeConsole. */
export const SHOWN_VIEWS: readonly ShownView[] = [
  { name: "overview", path: "/", shows: "Worst channels" },
  { name: "topics", path: "/topics?sort=-depth", shows: "120 topics" },
  { name: "topic", path: "/topics/orders.10", shows: "Retention" },
  { name: "channel", path: "/topics/orders/billing", shows: "RDY 0" },
  {
    name: "partitions",
    path: "/topics/payments",
    shows: "No broker that answers has partitions 6-7",
    prepare: (page) => page.locator("#partitions-title").scrollIntoViewIfNeeded(),
  },
  {
    name: "ordered",
    path: "/topics/payments/billing",
    shows: "at most 20, then to the dead letters",
    prepare: (page) => page.locator("#delivery-title").waitFor(),
  },
  { name: "brokers", path: "/nodes", shows: "3 brokers" },
  { name: "broker", path: "/nodes/nsq-a:4151", shows: "120 topics" },
  { name: "clients", path: "/clients", shows: "400 clients" },
  { name: "producers", path: "/producers", shows: "40 producers" },
  { name: "lookups", path: "/lookup", shows: "old.imports" },
  { name: "messages", path: "/messages?topic=orders&channel=billing&state=in_flight", shows: "40 messages" },
  { name: "message", path: "/messages?topic=orders&channel=billing&id=0000000000000007&at=nsq-a:4151", shows: "timed out" },
  { name: "keys", path: "/messages?topic=payments&channel=billing&state=waiting", shows: "100 messages" },
  { name: "header", path: "/messages?topic=payments&id=0000000000000006&at=nsq-a:4151", shows: "Trace id" },
  { name: "search", path: "/messages?q=a-48&from=4700", shows: "looked at, in 120 topics" },
  { name: "activity", path: "/activity", shows: "seek channel" },
  { name: "counter", path: "/counter", shows: "48,211,904" },
  {
    name: "delete",
    path: "/topics/orders",
    shows: "Type orders to confirm",
    prepare: (page) => page.getByRole("button", { name: "Delete …" }).click(),
  },
  {
    name: "expand",
    path: "/topics/payments",
    shows: "Type payments to confirm",
    prepare: (page) => page.getByRole("button", { name: "Partitions …" }).click(),
  },
  {
    name: "delivery",
    path: "/topics/payments/billing",
    shows: "Filter of headers",
    prepare: (page) => page.getByRole("button", { name: "Delivery …" }).click(),
  },
  {
    name: "publish",
    path: "/topics/payments",
    shows: "Messages of one key go to one partition",
    prepare: async (page) => {
      await page.getByRole("button", { name: "Publish …" }).click();
      await page.getByLabel("Body").fill('{"order":"a-48","total":7}');
      await page.getByLabel("Key").fill("customer-7");
      await page.getByLabel("Headers").fill('{"region":"eu"}');
    },
  },
  {
    name: "new-topic",
    path: "/topics",
    shows: "More than one are spread",
    prepare: (page) => page.getByRole("button", { name: "New topic …" }).click(),
  },
  {
    name: "new-channel",
    path: "/topics/payments",
    shows: "Dead letter topic",
    prepare: (page) => page.getByRole("button", { name: "New channel …" }).click(),
  },
  {
    name: "replay",
    path: "/topics/orders/billing",
    shows: "14,322 messages would wait",
    prepare: async (page) => {
      await page.getByRole("button", { name: "Replay …" }).click();
      await page.getByRole("button", { name: "Preview" }).click();
    },
  },
];

/** The views that there are with a replicated cluster only. */
export const CLUSTER_VIEWS: readonly ShownView[] = [
  { name: "cluster", path: "/cluster", shows: "1,000 partitions" },
  {
    name: "cluster-partitions",
    path: "/cluster",
    shows: "1,000 partitions",
    prepare: (page) => page.locator("#replicas-title").scrollIntoViewIfNeeded(),
  },
  {
    name: "replicas",
    path: "/topics/orders",
    shows: "a publish needs 2 in sync",
    prepare: (page) => page.locator("#replicas-title").scrollIntoViewIfNeeded(),
  },
  {
    name: "move",
    path: "/cluster?replica-sort=topic",
    shows: "copies the partition first",
    prepare: (page) =>
      page
        .getByRole("button", { name: /^Move / })
        .first()
        .click(),
  },
  {
    name: "remove-node",
    isWide: true,
    path: "/cluster",
    shows: "Type nsq-a:4151 to confirm",
    prepare: (page) => page.getByRole("button", { name: "Remove nsq-a:4151" }).click(),
  },
];

/** Opens a view, and waits until it is complete. */
export async function show(page: Page, url: string, { path, shows, prepare }: ShownView): Promise<void> {
  await page.goto(url + path);
  await prepare?.(page);
  await page.getByText(shows).first().waitFor();
  // The chart comes later than the figures around it.
  for (const chart of await page.locator(".chart").all()) await chart.locator("canvas").waitFor();
}
