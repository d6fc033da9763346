import { expect, test } from "bun:test";
import { DescriptorBudget, descriptorLimit } from "../../src/base/descriptor-budget.ts";
import { missing, testUnless } from "../support/needs.ts";

test("each share is sure of its part, whatever the others take", () => {
  const budget = new DescriptorBudget(1024);
  const shares = [budget.share(), budget.share(), budget.share()];
  const [greedy, ...others] = shares;
  let taken = 0;
  while (greedy.take(1)) taken++;
  expect(taken).toBe(960 - 2 * 240);
  for (const share of others) {
    for (let i = 0; i < 240; i++) expect(share.take(1)).toBeTrue();
    expect(share.take(1)).toBeFalse();
  }
  expect(shares.reduce((sum, { used }) => sum + used, 0)).toBe(960);
  greedy.giveBack(3);
  expect(others[0].take(3)).toBeTrue();
  expect(greedy.take(1)).toBeFalse();
});

test("a share can be sure of no more than a number", () => {
  const budget = new DescriptorBudget(1024);
  expect(budget.share(() => false, 1 / 16, 15).guaranteed).toBe(15);
  expect(budget.share(() => false, 1 / 16, 100).guaranteed).toBe(60);
});

test("what can be opened again is closed for others, down to the part that its share is sure of", () => {
  const budget = new DescriptorBudget(1024);
  const files = budget.share(() => {
    files.giveBack(1);
    return true;
  });
  const clients = budget.share();
  while (files.take(1)) {}
  expect(files.used).toBe(720);
  let taken = 0;
  while (clients.take(1)) taken++;
  expect(taken).toBe(720);
  expect(files.used).toBe(240);
});

test("half of a small limit is left to what no share counts", () => {
  const budget = new DescriptorBudget(64);
  const share = budget.share();
  let taken = 0;
  while (share.take(1)) taken++;
  expect(taken).toBe(32);
});

test("without a known limit there is no bound", () => {
  const budget = new DescriptorBudget(Number.POSITIVE_INFINITY);
  const shares = [budget.share(), budget.share()];
  for (const share of shares) expect(share.take(1_000_000)).toBeTrue();
});

testUnless(process.platform === "linux" ? missing("sh") : "not Linux")("the limit is the one that the process runs under", () => {
  const code = `console.log((await import(${JSON.stringify(`${import.meta.dir}/../../src/base/descriptor-budget.ts`)})).descriptorLimit())`;
  const child = Bun.spawnSync(["sh", "-c", 'ulimit -n 321; exec "$0" -e "$1"', process.execPath, code]);
  expect(child.stdout.toString().trim()).toBe("321");
  expect(descriptorLimit()).toBeGreaterThan(0);
});
