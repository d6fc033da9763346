import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { launchBrowser, openPage } from "../test/admin/page/support/browser.ts";
import { FakeConsole } from "../test/admin/page/support/fake-console.ts";
import { CLUSTER_VIEWS, SHOWN_VIEWS, show } from "../test/admin/page/support/views.ts";
import { withPalette } from "./pictures/palette-png.ts";

// Takes a picture of each view of the console, light, dark and narrow, into docs/console/. The cluster is made up and always the
// same. With the names of views only these are taken: `bun scripts/console-pictures.ts overview topic`.

const TARGET = join(import.meta.dir, "../docs/console");

const LOOKS = [
  { name: "light", colorScheme: "light", width: 1280, height: 800 },
  { name: "dark", colorScheme: "dark", width: 1280, height: 800 },
  { name: "narrow", colorScheme: "light", width: 390, height: 844 },
] as const;

const PARTITIONS = 1_000;

const wanted = process.argv.slice(2);
const isWanted = ({ name }: { name: string }) => wanted.length === 0 || wanted.includes(name);
const fake = await FakeConsole.start();
const browser = await launchBrowser();
if (wanted.length === 0) rmSync(TARGET, { recursive: true, force: true });
mkdirSync(TARGET, { recursive: true });
for (const look of LOOKS) {
  const { page, errors } = await openPage(browser, new URL(fake.url).host, look);
  for (const view of SHOWN_VIEWS.filter(isWanted)) {
    await show(page, fake.url, view);
    writeFileSync(join(TARGET, `${view.name}-${look.name}.png`), withPalette(await page.screenshot()));
  }
  if (errors.length > 0) throw new Error(errors.join("\n"));
  await page.context().close();
}
for (const look of CLUSTER_VIEWS.some(isWanted) ? LOOKS : []) {
  fake.replicate(PARTITIONS);
  const { page, errors } = await openPage(browser, new URL(fake.url).host, look);
  for (const view of CLUSTER_VIEWS.filter((view) => isWanted(view) && (look.name !== "narrow" || view.isWide !== true))) {
    await show(page, fake.url, view);
    writeFileSync(join(TARGET, `${view.name}-${look.name}.png`), withPalette(await page.screenshot()));
  }
  if (errors.length > 0) throw new Error(errors.join("\n"));
  await page.context().close();
}
// The login takes the place of every view, so it comes last.
fake.session = { ...fake.session, needs_login: true, cluster: false };
for (const look of wanted.length === 0 ? LOOKS : []) {
  const { page } = await openPage(browser, new URL(fake.url).host, look);
  await page.goto(`${fake.url}/`);
  await page.getByLabel("User").waitFor();
  writeFileSync(join(TARGET, `login-${look.name}.png`), withPalette(await page.screenshot()));
  await page.context().close();
}
await browser.close();
await fake.stop();
