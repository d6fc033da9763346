import { join } from "node:path";
import { buildPage } from "./build-page.ts";
import type { PageFile } from "./page-file.ts";

let built: Promise<PageFile[]> | undefined;

/**
 * The files of the page. From source they are built here, when the console is opened for the first time. In the binary and in the npm
 * package a module that has them takes the place of this one (scripts/build/page.ts).
 */
export function pageFiles(): Promise<PageFile[]> {
  built ??= buildPage(join(import.meta.dir, "../../..")).catch((error) => {
    // What was wrong with the source may be mended by the next request.
    built = undefined;
    throw error;
  });
  return built;
}
