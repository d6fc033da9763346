import { expect, test } from "bun:test";
import { firstFree } from "../../../src/cluster/placement/prefixes.ts";

test("prefixes in a row are given that nobody has", () => {
  const none = new Set<number>();
  expect(firstFree({ next: 5, taken: [] }, none, 3)).toBe(5);
  expect(firstFree({ next: 5, taken: [4, 7, 9] }, none, 2)).toBe(5);
  expect(firstFree({ next: 5, taken: [4, 7, 9] }, none, 3)).toBe(10);
  expect(firstFree({ next: 5, taken: [] }, new Set([5, 6, 8]), 2)).toBe(9);
  expect(firstFree({ next: 5, taken: [20] }, none, 1, 20)).toBe(21);
  expect(firstFree({ next: 5, taken: [20] }, none, 1, 19)).toBe(19);
  expect(firstFree({ next: 30, taken: [20] }, none, 1, 19)).toBe(30);
});
