import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { FLAGS_DOC_PATH, flagsDoc } from "../../scripts/flags-doc.ts";

test("docs/flags.md says what the flag table says (npm run docs writes it anew)", () => {
  expect(readFileSync(FLAGS_DOC_PATH, "utf8")).toBe(flagsDoc());
});
