import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { buildPage } from "../../src/admin/assets/build-page.ts";

/** The module that builds the page when bunsq runs from source. */
const FROM_SOURCE = /src[\\/]admin[\\/]assets[\\/]page-files\.ts$/;

/**
 * Builds the console's page once, and puts its files, compressed already, into a bundle.
 *
 * @param root the source, with its packages
 * @param folder receives the files, and has to stay until the bundle is made
 */
export async function embedPage(root: string, folder: string): Promise<Bun.BunPlugin> {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const imports: string[] = [];
  const entries: string[] = [];
  const embed = (name: string, bytes: Uint8Array | undefined): string => {
    if (bytes === undefined) return "undefined";
    const path = join(folder, name);
    writeFileSync(path, bytes);
    const variable = `file${imports.length}`;
    imports.push(`import ${variable} from ${JSON.stringify(path)} with { type: "file" };`);
    return `await read(${variable})`;
  };
  for (const { name, type, plain, br, gzip } of await buildPage(root)) {
    const bodies = [`plain: ${embed(name, plain)}`, `br: ${embed(`${name}.br`, br)}`, `gzip: ${embed(`${name}.gz`, gzip)}`];
    entries.push(`{ name: ${JSON.stringify(name)}, type: ${JSON.stringify(type)}, ${bodies.join(", ")} }`);
  }
  const contents = [
    ...imports,
    // In the binary the path of a file is absolute, and in the package it is relative to the bundle.
    "const read = (path) => Bun.file(path.startsWith('.') ? new URL(path, import.meta.url) : path).bytes();",
    `export async function pageFiles() { return [${entries.join(", ")}]; }`,
  ].join("\n");
  return {
    name: "console's page",
    setup: (build) => {
      build.onLoad({ filter: FROM_SOURCE }, () => ({ contents, loader: "js" }));
    },
  };
}
