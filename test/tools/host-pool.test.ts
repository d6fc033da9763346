import { describe, expect, test } from "bun:test";
import { EpsilonGreedyPool, type HostChooser, HostPool, RoundRobin } from "../../src/tools/host-pool.ts";
import { Random } from "../support/random.ts";

const HOSTS = ["a", "b", "c"];

/** Chooses some times, and tells each time how it went. */
function choices(pool: HostChooser, count: number, isGood: (host: string) => boolean = () => true): string {
  return Array.from({ length: count }, () => {
    const { host, done } = pool.choose();
    done(isGood(host));
    return host;
  }).join("");
}

test("round robin begins with the second, and goes on whatever happens", () => {
  expect(choices(new RoundRobin(HOSTS), 7, () => false)).toBe("bcabcab");
});

describe("a host pool", () => {
  test("leaves a host that failed alone for 30 s, and longer each time that it fails again", () => {
    let nowMs = 0;
    const pool = new HostPool(HOSTS, () => nowMs);
    const isGood = (host: string) => host !== "b";
    expect(choices(pool, 8, isGood)).toBe("abcacaca");
    nowMs = 29_999;
    expect(choices(pool, 2, isGood)).toBe("ca");
    nowMs = 30_001;
    expect(choices(pool, 4, isGood)).toBe("bcac");
    nowMs = 90_000;
    expect(choices(pool, 2, isGood)).toBe("ac");
    nowMs = 90_002;
    expect(choices(pool, 4)).toBe("abca");
    expect(choices(pool, 3)).toBe("bca");
  });

  test("tries all again when all have failed", () => {
    const pool = new HostPool(HOSTS, () => 0);
    expect(choices(pool, 3, () => false)).toBe("abc");
    expect(choices(pool, 4)).toBe("aabc");
  });
});

test("an epsilon-greedy pool sends most to the host that answers fastest, and forgets what was long ago", () => {
  let nowMs = 0;
  const random = new Random(1);
  const pool = new EpsilonGreedyPool(
    HOSTS,
    () => nowMs,
    () => random.next(),
  );
  const play = (msOf: Record<string, number>): Record<string, number> => {
    const counts: Record<string, number> = { a: 0, b: 0, c: 0 };
    for (let i = 0; i < 3_000; i++) {
      const { host, done } = pool.choose();
      counts[host] = (counts[host] ?? 0) + 1;
      nowMs += msOf[host] ?? 0;
      done(true);
    }
    return counts;
  };
  const first = play({ a: 10, b: 100, c: 100 });
  expect(first.a).toBeGreaterThan(2_000);
  // Ten times the time that is remembered.
  nowMs += 3_000_000;
  play({ a: 100, b: 10, c: 100 });
  expect(play({ a: 100, b: 10, c: 100 }).b).toBeGreaterThan(2_000);
});
