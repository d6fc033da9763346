import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { closingLines } from "../../scripts/test-summary.ts";

const ROOT = join(import.meta.dir, "../..");

/** Runs `npm test`'s script in a folder with one test file. @returns its exit code, and the lines that it printed */
function runTests(source: string, environment: Record<string, string> = {}): { code: number; lines: string[] } {
  const folder = mkdtempSync(join(tmpdir(), "bunsq-summary-"));
  try {
    writeFileSync(join(folder, "sample.test.ts"), source);
    const { exitCode, stderr } = Bun.spawnSync([process.execPath, join(ROOT, "scripts/test.ts"), "sample"], {
      cwd: folder,
      env: { ...process.env, NO_COLOR: "1", ...environment },
      stderr: "pipe",
    });
    return { code: exitCode, lines: stderr.toString().trimEnd().split("\n") };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const IMPORTS = `
  import { expect, test } from "bun:test";
  import { describeUnless, missing, testUnless } from ${JSON.stringify(join(ROOT, "test/support/needs.ts"))};
`;

test("the last line counts the skipped tests by reason, also in groups, tables and where a program said it", () => {
  const { code, lines } = runTests(
    `${IMPORTS}
    describeUnless(missing("nsqd"))("group", () => {
      test("one", () => expect(1).toBe(2));
      testUnless(missing("mount", "no-such-program"))("two", () => expect(1).toBe(2));
    });
    describeUnless(missing("nsqd")).each([["a"], ["b"]])("group %s", () => test("one", () => expect(1).toBe(2)));
    testUnless(missing("no-such-program"))("alone", () => expect(1).toBe(2), 1_000);
    testUnless("100% of <it> said: [no]\\n& more")("odd", () => expect(1).toBe(2));
    test.skipIf(true)("without a reason", () => {});
    describeUnless(undefined)("goes on", () => testUnless(undefined)("passes", () => expect(1).toBe(1)));
    `,
    { PATH: "/nowhere", NSQD_BIN: "" },
  );
  expect(lines.at(-1)).toBe("skipped: 4 no nsqd, 1 no no-such-program, 1 100 of <it> said: [no) & more, 1 for another reason");
  expect(code).toBe(0);
});

test("tests that failed are named again at the end, with the exit code of bun test", () => {
  const { code, lines } = runTests(
    `${IMPORTS} testUnless(undefined)("passes", () => {}); test("adds & subtracts", () => expect(1).toBe(2));`,
  );
  expect(lines.slice(-2)).toEqual(["failed: sample.test.ts: adds & subtracts", "skipped: none"]);
  expect(code).toBe(1);
});

test("what failed tests printed stands before their names, in the order in which it was printed", () => {
  const { lines } = runTests(`${IMPORTS}
    test("passes", () => console.log("not of interest"));
    test("fails", () => {
      console.log("seed 5");
      console.error("beside it");
      throw new Error("it broke");
    });
    test("is slow", () => new Promise(() => {}), 50);
  `);
  const from = lines.findLastIndex((line) => line.startsWith("Ran "));
  const told = lines.slice(from + 1).filter((line) => !/^\| +(\d+ \||\^$|at )/.test(line));
  expect(told.map((line) => line.replace(/ \[.*ms\]/, ""))).toEqual([
    "| seed 5",
    "| beside it",
    "| error: it broke",
    "| (fail) fails",
    "| (fail) is slow",
    "|   ^ this test timed out after 50ms.",
    "failed: sample.test.ts: fails",
    "failed: sample.test.ts: is slow",
    "skipped: none",
  ]);
});

test("an outer reason counts before an inner one", () => {
  const report = '<testcase name="test [skipped: no ip]" classname="in [skipped: no go] &gt; out [skipped: no nsqd]" file="a"><skipped />';
  expect(closingLines(report)).toEqual(["skipped: 1 no nsqd"]);
});
