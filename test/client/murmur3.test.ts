import { expect, test } from "bun:test";
import { murmur3 } from "../../src/client/murmur3.ts";
import { Chooser } from "../../src/client/strategy.ts";

test("hashes are those of MurmurHash3", () => {
  // From its reference implementation (x86, 32 bits).
  expect(murmur3("", 0)).toBe(0);
  expect(murmur3("", 1)).toBe(0x514e28b7);
  expect(murmur3("", 0xffffffff)).toBe(0x81f16f39);
  expect(murmur3("test", 0)).toBe(0xba6bd213);
  expect(murmur3("test", 0x9747b28c)).toBe(0x704b81dc);
  expect(murmur3("Hello, world!", 0)).toBe(0xc0363e43);
  expect(murmur3("Hello, world!", 0x9747b28c)).toBe(0x24884cba);
  expect(murmur3("The quick brown fox jumps over the lazy dog", 0x9747b28c)).toBe(0x2fa826cd);
  expect(murmur3("aaa", 0x9747b28c)).toBe(0x283e0130);
});

const brokers = ["a:1", "b:1", "c:1", "d:1", "e:1"].map((broker) => ({ broker, pending: 0, seed: murmur3(broker) }));

test("a broker that goes takes its own keys away, and no others", () => {
  const chooser = new Chooser<(typeof brokers)[number]>("round-robin");
  const keys = Array.from({ length: 1_000 }, (_, i) => `key ${i}`);
  const homes = keys.map((key) => chooser.choose(brokers, key));
  for (const broker of brokers) expect(homes.filter((home) => home === broker).length).toBeGreaterThan(120);
  const fewer = brokers.slice(1);
  const moved = keys.filter((key, i) => chooser.choose(fewer, key) !== homes[i]);
  expect(moved).toEqual(keys.filter((_, i) => homes[i] === brokers[0]));
});

test("round robin takes each in turn, and fewest pending the idlest", () => {
  const rounds = new Chooser<(typeof brokers)[number]>("round-robin");
  const taken = Array.from({ length: 10 }, () => rounds.choose(brokers, undefined).broker);
  expect(taken.slice(0, 5).sort()).toEqual(brokers.map(({ broker }) => broker));
  expect(taken.slice(5)).toEqual(taken.slice(0, 5));
  const idlest = new Chooser<{ broker: string; pending: number; seed: number }>("fewest-pending");
  expect(
    idlest.choose([...brokers.map((broker) => ({ ...broker, pending: 2 })), { broker: "f:1", pending: 1, seed: 0 }], undefined).broker,
  ).toBe("f:1");
});
