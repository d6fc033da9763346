import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { CLIENT_NAMES, findClients } from "../../bench/client/clients.ts";
import { TITLES, toTables } from "../../bench/client/report.ts";
import { testUnless } from "../support/needs.ts";
import { cleanEnvironment } from "../support/server.ts";

const BENCH = join(import.meta.dir, "../../bench/client.ts");

async function bench(...flags: string[]): Promise<{ code: number; output: string; complaint: string }> {
  const child = Bun.spawn([process.execPath, BENCH, ...flags], {
    env: cleanEnvironment(),
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [output, complaint, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { code, output, complaint };
}

/** The lines of a table, each as its cells. */
function cells(text: string): string[][] {
  const lines = text.split("\n").filter((line) => line.startsWith("| "));
  return lines.map((line) =>
    line
      .slice(2, -2)
      .split("|")
      .map((cell) => cell.trim()),
  );
}

const run = (seconds: number, cpuSeconds: number) => ({ messages: 1000, seconds, cpuSeconds, othersBusy: 0 });

describe("the comparison of client libraries", () => {
  testUnless(process.platform === "linux" ? undefined : "not Linux")(
    "runs each client that is there through each act, and says which ones are not",
    async () => {
      using found = await findClients(CLIENT_NAMES);
      const { code, output, complaint } = await bench("--rounds=1", "--messages-scale=0.001");
      expect(complaint).toBe("");
      expect(code).toBe(0);
      // One row of figures for each act; the ratios are between ours and theirs.
      const rows = cells(output).filter((row) => /^[\d,]+$/.test(row[2] ?? ""));
      expect(rows.map(([, client]) => client as string)).toEqual([1, 2, 3].flatMap(() => found.clients.map(({ name }) => TITLES[name])));
      for (const reason of found.missing) expect(output).toContain(`skipped ${reason}`);
    },
    120_000,
  );

  test("an unknown name ends it with an error", async () => {
    expect(await bench("--only=sing")).toEqual({ code: 1, output: "", complaint: "bench: unknown act sing\n" });
  });

  test("a ratio is the median of the rounds' ratios, and is compared with the target", () => {
    const ours = [run(1, 0.1), run(2, 0.1), run(4, 0.1)];
    const theirs = [run(4, 1), run(20, 1), run(24, 1)];
    const runs = new Map([["bunsq-bun", ours] as const, ["nsqjs", theirs] as const]);
    const [, figure] = cells(toTables([{ act: "consume", runs }])).filter(([act]) => act?.startsWith("consume"));
    expect(figure?.slice(1)).toEqual([TITLES.nsqjs, "50", "42 to 250", "1000.00", "0.00"]);
    const reached = cells(toTables([{ act: "consume", runs }])).at(-1);
    expect(reached?.slice(1)).toEqual([TITLES["bunsq-bun"], TITLES.nsqjs, "6.00×", "0.10×", "5× reached"]);
    const missed = cells(toTables([{ act: "singles", runs }])).at(-1);
    expect(missed?.at(-1)).toBe("10× missed");
  });

  test("without another client there are figures only", () => {
    const tables = toTables([{ act: "singles", runs: new Map([["bunsq-bun", [run(1, 0.1)]]]) }]);
    expect(tables.match(/^\| -/gm)).toHaveLength(1);
  });
});
