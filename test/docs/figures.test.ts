import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "../..");

/** A row of a Markdown table: its cells by the heads of their columns. Of two columns with one head the first counts. */
type Row = ReadonlyMap<string, string>;

function cellsOf(line: string): string[] {
  return line
    .split("|")
    .slice(1, -1)
    .map((cell) => cell.trim());
}

/** The rows of all tables whose first column is `workload`. */
function workloadRows(path: string): Row[] {
  const rows: Row[] = [];
  let heads: string[] = [];
  for (const line of readFileSync(join(ROOT, path), "utf8").split("\n")) {
    if (!line.startsWith("|")) heads = [];
    else if (heads.length === 0) heads = cellsOf(line);
    else if (heads[0] === "workload" && !line.startsWith("| --")) {
      const cells = cellsOf(line);
      rows.push(new Map(heads.map((head, column) => [head, cells[column] ?? ""] as const).toReversed()));
    }
  }
  return rows;
}

function agrees(row: Row, measured: Row): boolean {
  return [...row].every(([head, cell]) => measured.get(head) === cell);
}

test("every figure in the README's table is the one in docs/performance.md", () => {
  const shown = workloadRows("README.md");
  const measured = workloadRows("docs/performance.md");
  expect(shown.length).toBeGreaterThanOrEqual(4);
  expect(shown.filter((row) => !measured.some((other) => agrees(row, other))).map((row) => row.get("workload"))).toEqual([]);
});
