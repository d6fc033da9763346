import { expect, test } from "bun:test";
import { Rates, rateStep } from "../../src/base/rates.ts";

const SECOND = rateStep(1);

function ratesOf(rates: Rates): number[] {
  const list = [0, 0, 0];
  rates.addTo(list, 0);
  return list;
}

test("a steady flow has its rate at once in the last second, and after some minutes in the averages", () => {
  const rates = new Rates(1);
  for (let s = 1; s <= 30; s++) rates.sample(0, s * 100, SECOND);
  const [second, minute = 0, five = 0] = ratesOf(rates);
  expect(second).toBe(100);
  expect(minute).toBeCloseTo(100 * (1 - Math.exp(-30 / 60)), 6);
  expect(five).toBeCloseTo(100 * (1 - Math.exp(-30 / 300)), 6);
  for (let s = 31; s <= 3000; s++) rates.sample(0, s * 100, SECOND);
  expect(ratesOf(rates).map(Math.round)).toEqual([100, 100, 100]);
});

test("a sample after a longer interval counts for all of it", () => {
  const rates = new Rates(1);
  rates.sample(0, 1000, rateStep(10));
  expect(ratesOf(rates)[0]).toBe(100);
  expect(ratesOf(rates)[1]).toBeCloseTo(100 * (1 - Math.exp(-10 / 60)), 6);
});

test("when nothing comes any more, all rates go to exactly 0", () => {
  const rates = new Rates(1);
  rates.sample(0, 1000, SECOND);
  rates.sample(0, 1000, SECOND);
  expect(ratesOf(rates)[0]).toBe(0);
  expect(ratesOf(rates)[1]).toBeGreaterThan(0);
  for (let s = 0; s < 6000; s++) rates.sample(0, 1000, SECOND);
  expect(ratesOf(rates)).toEqual([0, 0, 0]);
});

test("a counter that goes back has no negative rate, and goes on from there", () => {
  const rates = new Rates(1);
  rates.sample(0, 1000, SECOND);
  rates.sample(0, 400, SECOND);
  expect(ratesOf(rates)[0]).toBe(0);
  rates.sample(0, 450, SECOND);
  expect(ratesOf(rates)[0]).toBe(50);
});
