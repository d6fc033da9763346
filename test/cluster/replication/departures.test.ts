import { expect, test } from "bun:test";
import { Departures } from "../../../src/cluster/replication/departures.ts";

const GONE_MS = 30_000;

class Watched {
  nowMs = 1_000;
  isAlive = false;
  removal: { replacedBy?: string } | undefined;
  private readonly departures = new Departures(
    { steadyMs: () => this.nowMs },
    () => this.isAlive,
    () => this.removal,
  );

  isGoneAfter(ms: number): boolean {
    this.nowMs += ms;
    this.departures.review();
    return this.departures.isGone("a");
  }
}

test("a broker that is away is not gone as long as nobody removes it", () => {
  const watched = new Watched();
  for (let i = 0; i < 3; i++) expect(watched.isGoneAfter(GONE_MS)).toBe(false);
});

test("a broker that is being removed is gone when it was away for half a minute", () => {
  const watched = new Watched();
  watched.removal = {};
  expect(watched.isGoneAfter(0)).toBe(false);
  expect(watched.isGoneAfter(GONE_MS - 1)).toBe(false);
  expect(watched.isGoneAfter(1)).toBe(true);
});

test("a broker that was back for a moment, or was not to be removed for a moment, is waited for as long again", () => {
  const watched = new Watched();
  const comesBack = () => {
    watched.isAlive = true;
    expect(watched.isGoneAfter(100)).toBe(false);
    watched.isAlive = false;
  };
  const stays = () => {
    watched.removal = undefined;
    expect(watched.isGoneAfter(100)).toBe(false);
  };
  for (const change of [comesBack, stays]) {
    watched.removal = {};
    watched.isGoneAfter(0);
    expect(watched.isGoneAfter(GONE_MS)).toBe(true);
    change();
    watched.removal = {};
    expect(watched.isGoneAfter(GONE_MS)).toBe(false);
    expect(watched.isGoneAfter(GONE_MS)).toBe(true);
  }
});

test("a data path that has another one in its place is gone at once", () => {
  const watched = new Watched();
  watched.removal = { replacedBy: "b" };
  expect(watched.isGoneAfter(0)).toBe(true);
});
