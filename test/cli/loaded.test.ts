import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";

const SRC = join(import.meta.dir, "../../src");

/** Each loads node's streams or native code: some hundred kilobytes to some megabytes of an idle process. */
const HEAVY = /^(node:)?(net|tls|zlib|crypto|inspector|readline|stream|dns)(\/promises)?$|^bun:ffi$|^(snappy|@node-rs\/crc32)$/;

/** What the program loads before it knows what to run: files below src/, and other modules by their names. */
function loadedAtStart(): string[] {
  const transpiler = new Bun.Transpiler({ loader: "ts" });
  const found = new Set<string>();
  const visit = (path: string) => {
    if (found.has(path)) return;
    found.add(path);
    // Imports of types alone are not among them.
    for (const { path: to, kind } of transpiler.scanImports(readFileSync(path, "utf8"))) {
      if (kind !== "import-statement") continue;
      if (to.endsWith(".ts")) visit(join(dirname(path), to));
      else found.add(to);
    }
  };
  visit(join(SRC, "main.ts"));
  return [...found].map((name) => (name.startsWith("/") ? relative(SRC, name) : name));
}

test("a server's process loads neither commands nor tools nor the client nor the console, and no heavy module before it is needed", () => {
  const loaded = loadedAtStart();
  expect(loaded).toContain("broker/broker.ts");
  expect(loaded).toContain("tools/tools.ts");
  const wrong = loaded.filter((name) => /^(admin|client|cli\/commands|tools\/(?!tools\.ts))/.test(name) || HEAVY.test(name));
  expect(wrong).toEqual([]);
});
