import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";

const ROOT = join(import.meta.dir, "../..");
const PAGES = ["*.md", "docs/**/*.md", "bench/**/*.md"].flatMap((pages) => [...new Bun.Glob(pages).scanSync(ROOT)]).sort();

/** A link's target: `[text](target)`, pictures among them. */
const LINK = /\]\(([^)\s]+)\)/g;
/** A path of ours where it is written out, in code or not; what has a placeholder counts up to there. */
const PATH = /(?<![\w./-])(?:src|test|bench|scripts|contrib)\/[\w./@-]*\w/g;

function read(page: string): string {
  return readFileSync(join(ROOT, page), "utf8");
}

/** The anchors that GitHub gives a page's headings. */
function anchorsOf(page: string): Set<string> {
  const anchors = new Set<string>();
  for (const [, heading = ""] of read(page).matchAll(/^#+ (.+)$/gm)) {
    const plain = heading.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1").toLowerCase();
    anchors.add(plain.replaceAll(/[^\p{L}\p{N}\s_-]/gu, "").replaceAll(" ", "-"));
  }
  return anchors;
}

/** What is wrong with a link of a page; undefined: nothing, or it leads elsewhere. */
function problemOf(page: string, target: string): string | undefined {
  if (/^[a-z]+:/.test(target)) return undefined;
  const [path = "", anchor] = target.split("#");
  const file = path === "" ? page : relative(ROOT, join(ROOT, dirname(page), path));
  if (!existsSync(join(ROOT, file))) return "no such file";
  if (anchor === undefined) return undefined;
  return anchorsOf(file).has(anchor) ? undefined : "no such heading";
}

test("every relative link in the documents leads somewhere", () => {
  expect(PAGES).toContain("docs/architecture.md");
  const broken = PAGES.flatMap((page) =>
    [...read(page).matchAll(LINK)].flatMap(([, target = ""]) => {
      const problem = problemOf(page, target);
      return problem === undefined ? [] : `${page}: ${target}: ${problem}`;
    }),
  );
  expect(broken).toEqual([]);
});

test("every file and folder that the documents name is there", () => {
  const missing = PAGES.flatMap((page) =>
    [...new Set(read(page).match(PATH))].filter((path) => !existsSync(join(ROOT, path))).map((path) => `${page}: ${path}`),
  );
  expect(missing).toEqual([]);
});

test("every page of docs/ can be reached from README.md", () => {
  const reached = new Set(["README.md"]);
  for (const page of reached) {
    for (const [, target = ""] of read(page).matchAll(LINK)) {
      const file = relative(ROOT, join(ROOT, dirname(page), target.split("#")[0] ?? ""));
      if (PAGES.includes(file)) reached.add(file);
      else if (PAGES.includes(join(file, "README.md"))) reached.add(join(file, "README.md"));
    }
  }
  expect(PAGES.filter((page) => !reached.has(page))).toEqual([]);
});
