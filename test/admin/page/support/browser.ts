import { type Browser, chromium, type Page } from "playwright-core";
import { findProgram, missing } from "../../../support/needs.ts";

/** Why pages cannot be opened here; undefined if they can. */
export const noBrowser = missing("chromium");

export function launchBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: findProgram("chromium") ?? "chromium",
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"],
  });
}

/** A page that notes what a developer would see in red. */
export interface WatchedPage {
  page: Page;
  /** Errors of the console, of scripts, and requests to other hosts. */
  errors: string[];
}

interface PageOptions {
  colorScheme?: "light" | "dark";
  width?: number;
  height?: number;
}

/** @param host the only one that may be asked for anything, such as `127.0.0.1:4171` */
export async function openPage(
  browser: Browser,
  host: string,
  { colorScheme = "light", width = 1280, height = 800 }: PageOptions = {},
): Promise<WatchedPage> {
  const context = await browser.newContext({ colorScheme, viewport: { width, height }, deviceScaleFactor: 1 });
  const page = await context.newPage();
  const errors: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") errors.push(`${message.text()} (${message.location().url})`);
  });
  page.on("pageerror", (error) => errors.push(`${error.name}: ${error.message}`));
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.host !== host && url.protocol !== "data:") errors.push(`request to ${url.host}`);
  });
  return { page, errors };
}
