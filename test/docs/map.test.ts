import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "../..");
/** How far the map indents what is in a folder. */
const INDENT = 2;

/** The paths in the map: each line begins with the name of a file, or of a folder with a slash behind it. */
function mappedPaths(): string[] {
  const [, map = ""] = /^## Map of the code\n\n((?: {4}.*\n)+)/m.exec(readFileSync(join(ROOT, "docs/architecture.md"), "utf8")) ?? [];
  const parents: string[] = [];
  return [...map.matchAll(/^ {4}( *)(\S+)/gm)].map(([, indent = "", name = ""]) => {
    parents.length = indent.length / INDENT;
    parents.push(name);
    return parents.join("");
  });
}

test("the map in docs/architecture.md has every folder of src/, and nothing that is not there", () => {
  const paths = mappedPaths();
  expect(paths.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
  const folders = readdirSync(join(ROOT, "src"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => `${join(entry.parentPath, entry.name).slice(ROOT.length + 1)}/`);
  expect(paths.filter((path) => path.endsWith("/")).sort()).toEqual(["src/", ...folders].sort());
});
