import { expect, test } from "bun:test";
import { TestFailures } from "../../scripts/test-failures.ts";

function linesOf(output: string[], isApart = false): string[] {
  const failures = new TestFailures(isApart);
  for (const line of output) failures.add(line);
  return failures.lines;
}

function numbered(count: number, what = "line"): string[] {
  return Array.from({ length: count }, (_, i) => `${what} ${i}`);
}

test("what a failed test printed is repeated, and what others did is not", () => {
  const output = [
    "a.test.ts:",
    "(pass) first [1.00ms]",
    "seed 5",
    "error: 1 is not 2",
    "(fail) second [1.00ms]",
    "",
    "(pass) third",
    " 2 pass",
  ];
  expect(linesOf(output)).toEqual(["| seed 5", "| error: 1 is not 2", "| (fail) second [1.00ms]"]);
});

test("with several processes, errors come apart from the tests, and stacks that passed tests print are none", () => {
  const stack = (file: string) => ["error: 1 is not 2", `      at f (${file}:1:2)`, "      at g"];
  const passed = ["a.test.ts:", "(pass) first", ...stack("/src/a.ts"), "(pass) second"];
  const failed = [
    "(fail) third",
    "  ^ this test timed out after 50ms.",
    "(pass) fourth",
    "b.test.ts:",
    "seed 5",
    ...stack("/b.test.ts"),
    "",
  ];
  expect(linesOf([...passed, ...stack("/a.test.ts"), ""], true)).toEqual([]);
  const lines = ["(fail) third", "  ^ this test timed out after 50ms.", "b.test.ts:", "seed 5", ...stack("/b.test.ts")];
  expect(linesOf([...passed, ...failed], true)).toEqual(lines.map((line) => `| ${line}`));
});

test("the reason below a test that timed out belongs to it", () => {
  const output = ["seed 5", "(fail) slow [50.00ms]", "  ^ this test timed out after 50ms.", "(pass) other"];
  expect(linesOf(output)).toEqual(["| seed 5", "| (fail) slow [50.00ms]", "|   ^ this test timed out after 50ms."]);
});

test("an error that belongs to no test is repeated", () => {
  const rule = "-".repeat(31);
  const output = ["(pass) first", "# Unhandled error between tests", rule, "error: boom", rule, "", "(pass) second"];
  expect(linesOf(output)).toEqual(["| # Unhandled error between tests", `| ${rule}`, "| error: boom", `| ${rule}`]);
});

test("colours and crosses of a terminal make no difference", () => {
  const output = ["\x1b[32m✓\x1b[0m first", "seed 5", "\x1b[31m✗\x1b[0m\x1b[0m second\x1b[2m [1.00ms]\x1b[0m"];
  expect(linesOf(output)).toEqual(["| seed 5", "| ✗ second [1.00ms]"]);
});

test("Bun's own repetition of failed tests at its end is not taken for more of them", () => {
  expect(linesOf(["seed 5", "(fail) one", "", "1 tests failed:", "(fail) one", "", " 1 fail"])).toEqual(["| seed 5", "| (fail) one"]);
});

test("of each failed test the last 40 lines are kept", () => {
  const lines = linesOf([...numbered(100), "(fail) one", "(pass) two"]);
  expect(lines).toEqual([...numbered(100).slice(-39), "(fail) one"].map((line) => `| ${line}`));
});

test("many failed tests share 120 lines, and those beyond are counted", () => {
  const failing = (count: number) => Array.from({ length: count }, (_, i) => [...numbered(30, `of ${i}:`), `(fail) ${i}`]).flat();
  const six = linesOf(failing(6));
  expect(six).toHaveLength(120);
  expect(six.slice(-2)).toEqual(["| of 5: 29", "| (fail) 5"]);
  const twenty = linesOf(failing(20));
  expect(twenty).toHaveLength(121);
  expect(twenty.at(-1)).toBe("| what 10 more printed is above");
});
