import { expect, test } from "bun:test";
import { AttemptLimit } from "../../../src/admin/access/attempt-limit.ts";
import { Grants } from "../../../src/admin/access/grants.ts";
import type { Principal } from "../../../src/admin/access/principal.ts";
import { Sessions } from "../../../src/admin/access/sessions.ts";
import { SimulatedClock } from "../../support/simulated-clock.ts";

const MINUTE_MS = 60_000;
const RULES = { idleMs: 60 * MINUTE_MS, absoluteMs: 12 * 60 * MINUTE_MS };
const anna: Principal = { kind: "user", name: "anna", secretHash: "x", grants: new Grants({ "*": "viewer" }) };

function sessionsOn(clock: SimulatedClock, known = new Set([anna])): Sessions {
  return new Sessions(() => ({ sessions: RULES, has: (principal) => known.has(principal) }), clock);
}

test("a session that is not used ends after its idle time, and each use begins that anew", () => {
  const clock = new SimulatedClock(0);
  const sessions = sessionsOn(clock);
  const id = sessions.begin(anna);
  clock.advance(59 * MINUTE_MS);
  expect(sessions.use(id)?.principal).toBe(anna);
  clock.advance(59 * MINUTE_MS);
  expect(sessions.use(id)?.principal).toBe(anna);
  clock.advance(60 * MINUTE_MS);
  expect(sessions.use(id)).toBeUndefined();
  expect(sessions.count).toBe(0);
});

test("a session ends after its absolute time, however often it is used, and whoever holds it sees that", () => {
  const clock = new SimulatedClock(0);
  const sessions = sessionsOn(clock);
  const id = sessions.begin(anna);
  const session = sessions.use(id)!;
  for (let i = 0; i < 23; i++) {
    clock.advance(30 * MINUTE_MS);
    expect(sessions.use(id)).toBe(session);
  }
  clock.advance(30 * MINUTE_MS);
  expect([sessions.isAlive(session), sessions.use(id)]).toEqual([false, undefined]);
});

test("sessions end with the logout, and when the access file says something else of their user", () => {
  const clock = new SimulatedClock(0);
  const known = new Set([anna]);
  const sessions = sessionsOn(clock, known);
  const [first, second] = [sessions.begin(anna), sessions.begin(anna)];
  const held = sessions.use(first)!;
  sessions.end(first);
  expect([sessions.isAlive(held), sessions.use(first)]).toEqual([false, undefined]);
  expect(sessions.use(second)).toBeDefined();
  known.clear();
  expect(sessions.use(second)).toBeUndefined();
});

test("one user has a bounded number of sessions, of which the one used last longest ago ends first", () => {
  const sessions = sessionsOn(new SimulatedClock(0));
  const ids = Array.from({ length: 32 }, () => sessions.begin(anna));
  sessions.use(ids[0]!);
  const more = sessions.begin(anna);
  expect([sessions.count, sessions.use(ids[1]!)]).toEqual([32, undefined]);
  for (const id of [ids[0]!, ids[31]!, more]) expect(sessions.use(id)).toBeDefined();
});

test("ids are of 256 bits and no two are alike; what has not their form is no id", () => {
  const sessions = sessionsOn(new SimulatedClock(0));
  const ids = Array.from({ length: 20 }, () => sessions.begin(anna));
  expect(new Set(ids).size).toBe(20);
  for (const id of ids) expect(Buffer.from(id, "base64url")).toHaveLength(32);
  for (const id of ["", "A".repeat(42), "A".repeat(44), `${ids[0]}\n`, "../etc"]) expect(sessions.use(id)).toBeUndefined();
});

test("attempts are refused after a burst, and one more may be made each time the bucket has refilled", () => {
  const clock = new SimulatedClock(0);
  const limit = new AttemptLimit(3, 1000, clock);
  const tries = (count: number) => Array.from({ length: count }, () => limit.begin("10.0.0.1"));
  expect(tries(5)).toEqual([0, 0, 0, 1000, 1000]);
  expect(limit.begin("10.0.0.2")).toBe(0);
  clock.advance(1000);
  expect(tries(2)).toEqual([0, 1000]);
  clock.advance(60_000);
  expect(tries(4)).toEqual([0, 0, 0, 1000]);
  limit.succeeded("10.0.0.1");
  expect(tries(1)).toEqual([0]);
});

test("attempts from more addresses than are kept share one bucket, and forget none that are kept", () => {
  const limit = new AttemptLimit(1, 1000, new SimulatedClock(0));
  for (let i = 0; i < 10_000; i++) expect(limit.begin(`address ${i}`)).toBe(0);
  expect([limit.begin("one more"), limit.begin("and another")]).toEqual([0, 1000]);
  expect(limit.begin("address 0")).toBe(1000);
});
