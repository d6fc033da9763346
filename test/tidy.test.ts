import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** Rules about the source that neither the compiler nor the linter checks. Each list of exceptions only gets shorter. */

const ROOT = join(import.meta.dir, "..");
/** This file names what it forbids. */
const OWN_PATH = "test/tidy.test.ts";

/** The one place where tests are skipped, and the test of what is said about it. */
const NEEDS_PATH = "test/support/needs.ts";
const SKIPPING_TEST = "test/scripts/test-summary.test.ts";

const MAX_LINES = 450;
/** A table of flags is one long list that is read entry by entry. */
const FLAG_TABLE = /-flags\.ts$/;
const LONGER_FILES: string[] = [];

/** The program, the client library for each runtime, and the console's page. */
const ENTRY_POINTS = ["src/main.ts", "src/client/bun.ts", "src/client/node.ts", "src/admin/page/main.tsx"];

/** Phrases that say less than a plain sentence would. */
const BANNED_PHRASES = ["now and then", "becomes of", "is told of", "so many", "be it"];
/** A comment must not need the one above it. */
const BANNED_BEGINNINGS = /^(?:Of|The same|And|But)\b/;

/** All TypeScript files, by their paths from the root. */
const sources = new Map(
  ["bench", "examples", "scripts", "src", "test"].flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
      .filter((path) => path.endsWith(".ts") || path.endsWith(".tsx"))
      .map((path): [string, string] => [join(folder, path), readFileSync(join(ROOT, folder, path), "utf8")]),
  ),
);

function sourcesIn(...prefixes: string[]): [path: string, text: string][] {
  return [...sources].filter(([path]) => prefixes.some((prefix) => path.startsWith(prefix)));
}

interface Import {
  /** The imported file. */
  path: string;
  /** The imported names, as they are exported; undefined if all may be used. */
  names: string[] | undefined;
}

/** The imports of other files of ours, with and without types, and re-exports. */
function importsOf(path: string, text: string): Import[] {
  const statements = text.matchAll(/^(?:import|export)\s+(?:type\s+)?(\{[^}]*\}|\*(?: as \w+)?|\w+)\s+from\s+"(\.[^"]+)"/gm);
  const calls = text.matchAll(/\b(?:import|require)\(\s*"(\.[^"]+)"\s*\)/g);
  return [
    ...[...statements].map(([, what = "", target = ""]) => ({ path: join(dirname(path), target), names: namesIn(what) })),
    ...[...calls].map(([, target = ""]) => ({ path: join(dirname(path), target), names: undefined })),
  ];
}

/** The names in `{ a, type B, c as d }`. */
function namesIn(braces: string): string[] | undefined {
  if (!braces.startsWith("{")) return undefined;
  return [...braces.matchAll(/(?:type\s+)?(\w+)(?:\s+as\s+\w+)?/g)].map(([, name = ""]) => name);
}

/** The names of exported values. Types are left out: those in the signatures of a file belong to what it exports. */
function exportsOf(text: string): string[] {
  const declaration = /^export\s+(?:declare\s+|abstract\s+|async\s+)*(?:class|const|enum|function\*?|let)\s+(\w+)/gm;
  return [...text.matchAll(declaration)].map(([, name = ""]) => name);
}

/** The texts of the comments, each in one line. A run of lines with // is one comment. */
function commentsOf(text: string): string[] {
  const blocks = [...text.matchAll(/\/\*\*?([\s\S]*?)\*\//g)].map(([, inside = ""]) => inside.replace(/\n\s*\*( |$)/gm, " "));
  const runs = [...text.matchAll(/(?:^|[\s;{])\/\/ .*(?:\n\s*\/\/ .*)*/g)].map(([run]) => run.replace(/(?:^|\n|[\s;{])\s*\/\/ /g, " "));
  return [...blocks, ...runs].map((comment) => comment.replace(/\s+/g, " ").trim());
}

test("no file is too long", () => {
  const long = sourcesIn("src/").filter(([path, text]) => !FLAG_TABLE.test(path) && text.split("\n").length - 1 > MAX_LINES);
  // An exception that is not needed any more has to be removed from the list.
  expect(long.map(([path]) => path).sort()).toEqual(LONGER_FILES);
});

test("no test is skipped or runs alone, and no work is left to do in a comment", () => {
  const findings = [...sources].flatMap(([path, text]) => {
    const marks = text.matchAll(/\b(?:test|describe|it)\.(?:only|skip|todo)\b|\b(?:TODO|FIXME|XXX)\b/g);
    return path === OWN_PATH ? [] : [...marks].map(([mark]) => `${path}: ${mark}`);
  });
  expect(findings).toEqual([]);
});

test("a test that cannot run everywhere says why it is skipped", () => {
  const findings = sourcesIn("test/").flatMap(([path, text]) => {
    const unexplained = path === NEEDS_PATH ? [] : [...text.matchAll(/\b(?:test|describe|it)\.(?:skipIf|if|todoIf)\(/g)];
    // A program that is called by its name is looked for before: missing("ip").
    const called = [...text.matchAll(/\bspawn(?:Sync)?\(\s*\[\s*"([\w-]+)"/g)].filter(
      ([, program]) => !new RegExp(`\\bmissing\\([^)]*"${program}"`).test(text),
    );
    return path === OWN_PATH || path === SKIPPING_TEST ? [] : [...unexplained, ...called].map(([mark]) => `${path}: ${mark}`);
  });
  expect(findings).toEqual([]);
});

test("the program uses every file in src/", () => {
  const used = new Set<string>();
  const pending = [...ENTRY_POINTS];
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    if (used.has(path)) continue;
    used.add(path);
    pending.push(...importsOf(path, sources.get(path) ?? "").map((imported) => imported.path));
  }
  expect(sourcesIn("src/").flatMap(([path]) => (used.has(path) ? [] : path))).toEqual([]);
});

test("every exported value is imported somewhere", () => {
  const imported = new Map<string, Set<string>>();
  const wholly = new Set<string>();
  for (const { path, names } of [...sources].flatMap(([path, text]) => importsOf(path, text))) {
    if (names === undefined) wholly.add(path);
    else imported.set(path, new Set([...(imported.get(path) ?? []), ...names]));
  }
  const unused = sourcesIn("bench/", "scripts/", "src/").flatMap(([path, text]) =>
    wholly.has(path)
      ? []
      : exportsOf(text)
          .filter((name) => !imported.get(path)?.has(name))
          .map((name) => `${path}: ${name}`),
  );
  expect(unused).toEqual([]);
});

test("comments are plain sentences", () => {
  const findings = [...sources].flatMap(([path, text]) => {
    if (path === OWN_PATH) return [];
    const bad = commentsOf(text).filter(
      (comment) => BANNED_BEGINNINGS.test(comment) || BANNED_PHRASES.some((phrase) => ` ${comment} `.includes(` ${phrase} `)),
    );
    return bad.map((comment) => `${path}: ${comment}`);
  });
  expect(findings).toEqual([]);
});

test("these rules find what they forbid", () => {
  expect(
    commentsOf('/** Of the first. */\nlet a = 1; // But not\n// this.\nconst url = "https://x";\n  /*\n   * And so\n   * on.\n   */'),
  ).toEqual(["Of the first.", "And so on.", "But not this."]);
  const text =
    'import type { A, B as C } from "./a.ts";\nimport { type D } from "../d.ts";\nexport * from "./e.ts";\nawait import("./f.ts");';
  expect(importsOf("src/x/y.ts", text)).toEqual([
    { path: "src/x/a.ts", names: ["A", "B"] },
    { path: "src/d.ts", names: ["D"] },
    { path: "src/x/e.ts", names: undefined },
    { path: "src/x/f.ts", names: undefined },
  ]);
  expect(exportsOf("export async function a() {}\nexport abstract class B {}\nexport type C = 1;\nconst d = 2;")).toEqual(["a", "B"]);
});
