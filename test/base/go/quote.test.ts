import { expect, test } from "bun:test";
import { goQuote } from "../../../src/base/go/quote.ts";
import table from "./quotes.json";

/** `quotes.json` is what Go 1.26's fmt.Sprintf("%q") made of each text, both in hex: every byte, and UTF-8 good and bad. */
test("every byte and every kind of character is quoted as Go's %q quotes it", () => {
  for (const [text, quoted] of table as [string, string][]) {
    expect(`${text} → ${Buffer.from(goQuote(Buffer.from(text, "hex").toString("latin1")), "latin1").toString("hex")}`).toBe(
      `${text} → ${quoted}`,
    );
  }
  expect(table.length).toBeGreaterThan(500);
});
