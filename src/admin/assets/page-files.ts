import { join } from "node:path";
import { buildPage } from "./build-page.ts";
import type { PageFile } from "./page-file.ts";

/**
 * The files of the page. From source they are built here, when the console is opened for the first time. In the binary and in the npm
 * package a module that has them takes the place of this one (scripts/build/page.ts).
 */
export function pageFiles(): Promise<PageFile[]> {
  return buildPage(join(import.meta.dir, "../../.."));
}
