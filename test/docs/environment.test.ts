import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "../..");
/** How TypeScript, Go, Python and the shell read a variable of the environment. */
const READS = [/process\.env\.(\w+)/g, /os\.Getenv\("(\w+)"\)/g, /os\.environ\.get\("(\w+)"/g, /\$\{([A-Z]\w+):-/g];

test("CONTRIBUTING.md has each environment variable that tests, benchmarks and CI read", () => {
  const table = readFileSync(join(ROOT, "CONTRIBUTING.md"), "utf8");
  const missing = new Set<string>();
  const files = [".ci/run", ...new Bun.Glob("{test,bench,scripts}/**/*.{ts,mjs,go,py}").scanSync(ROOT)];
  for (const path of files) {
    const text = readFileSync(join(ROOT, path), "utf8");
    for (const read of READS) for (const [, name = ""] of text.matchAll(read)) if (!table.includes(`\`${name}\``)) missing.add(name);
  }
  expect([...missing]).toEqual([]);
});
