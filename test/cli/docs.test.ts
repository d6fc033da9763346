import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { COMPATIBILITY_DOC_PATH, compatibilityDoc } from "../../scripts/compatibility-doc.ts";
import { FLAGS_DOC_PATH, flagsDoc } from "../../scripts/flags-doc.ts";
import { findProgram, missing, testUnless } from "../support/needs.ts";
import { startServer } from "../support/server.ts";
import { readHelp } from "./help.ts";

/** The rows of a table in docs/compatibility.md: a flag's name, its key, its default, and how it works in bunsq. */
function rowsUnder(heading: string): string[][] {
  const document = readFileSync(COMPATIBILITY_DOC_PATH, "utf8");
  const part = document.split(`\n### ${heading}\n`)[1]?.split("\n#")[0] ?? "";
  return [...part.matchAll(/^\| `-(\S+)` \| (?:`(\S+)`)? ?\| (.*?) ?\| (.+) \|$/gm)].map((row) => row.slice(1).map((cell) => cell ?? ""));
}

function helpOf(program: string): ReturnType<typeof readHelp> {
  return readHelp(Bun.spawnSync([program, "-help"], { stdout: "ignore", stderr: "pipe" }).stderr.toString());
}

describe("docs/flags.md and docs/compatibility.md", () => {
  test("equal the flag tables (npm run docs regenerates them)", () => {
    expect(readFileSync(FLAGS_DOC_PATH, "utf8")).toBe(flagsDoc());
    const compatibility = readFileSync(COMPATIBILITY_DOC_PATH, "utf8");
    expect(compatibility).toBe(compatibilityDoc(compatibility));
  });

  for (const program of ["nsqd", "nsqlookupd", "nsqadmin"]) {
    testUnless(missing(program))(`tell of every flag of ${program}, and of no other, with its default`, () => {
      const theirs = helpOf(findProgram(program) ?? "");
      const rows = rowsUnder(program);
      expect(rows.map(([name]) => name ?? "").sort()).toEqual([...theirs.keys()].sort());
      for (const [name = "", , told = "", verdict] of rows) {
        expect(verdict).toMatch(/^(same|better: .+|same: no effect; .+)$/);
        // The other defaults depend on the machine, and the doc has a description of them.
        const shown = /^`(.*)`$/.exec(told)?.[1] ?? (told === "" ? "" : undefined);
        const isZero = shown === "" || shown === "0" || shown === "false";
        if (shown !== undefined)
          expect([name, isZero ? "" : shown]).toEqual([name, theirs.get(name)?.default.replace(/^"(.*)"$/, "$1") ?? ""]);
      }
    });
  }

  testUnless(missing("nsqd"))("tell the keys by which nsqd knows its options", async () => {
    const withoutOption = ["config", "version", "verbose", "worker-id"];
    const server = await startServer({ program: "nsqd" });
    try {
      for (const [name = "", key = ""] of rowsUnder("nsqd")) {
        if (withoutOption.includes(name)) continue;
        expect([key, (await server.http("GET", `/config/${key}`)).status]).toEqual([key, 200]);
      }
    } finally {
      await server.stop();
    }
  });
});
