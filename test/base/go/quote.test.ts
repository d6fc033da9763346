import { expect, test } from "bun:test";
import { goQuote } from "../../../src/base/go/quote.ts";
import table from "./quotes.json";

/** `quotes.json` has texts and their forms by Go 1.26's fmt.Sprintf("%q"), both in hex: every byte, valid and invalid UTF-8. */
test("every byte and every kind of character is quoted as Go's %q quotes it", () => {
  for (const [text, quoted] of table as [string, string][]) {
    expect(`${text} → ${Buffer.from(goQuote(Buffer.from(text, "hex").toString("latin1")), "latin1").toString("hex")}`).toBe(
      `${text} → ${quoted}`,
    );
  }
  expect(table.length).toBeGreaterThan(500);
});
