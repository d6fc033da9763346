import { expect, test } from "bun:test";
import { isEphemeral, isValidName } from "../../src/frame/names.ts";

test("a name has letters, digits, dots, underscores and hyphens, and may end in #ephemeral", () => {
  for (const name of ["a", "A9", "a.b", "_", "-", ".", "..", "topic-1_x", "t#ephemeral", "9", "x".repeat(64)]) {
    expect([name, isValidName(name)]).toEqual([name, true]);
  }
});

test("any other text is not a name", () => {
  const bad = [
    "",
    " ",
    "a b",
    "a/b",
    "#",
    "a#",
    "a#b",
    "#ephemeral",
    "a#ephemeralx",
    "a#Ephemeral",
    "a#ephemeral#ephemeral",
    "é",
    "a\n",
    "\na",
    "a*",
  ];
  for (const name of [...bad, "x".repeat(65), `${"x".repeat(55)}#ephemeral`]) {
    expect([name, isValidName(name)]).toEqual([name, false]);
  }
  expect(isValidName(`${"x".repeat(54)}#ephemeral`)).toBeTrue();
});

test("a name that ends in #ephemeral is ephemeral", () => {
  expect(["t", "t#ephemeral", "ephemeral", "t#ephemeral.x"].map(isEphemeral)).toEqual([false, true, false, false]);
});
