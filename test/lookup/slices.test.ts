import { afterAll, expect, spyOn, test } from "bun:test";
import { lookupRequest, LookupClient as Questioner } from "../../bench/load/lookup-clients.ts";
import { Registry } from "../../src/lookup/registry.ts";
import { until } from "../support/server.ts";
import { InProcessLookup } from "./support/in-process.ts";

const REGISTRATIONS = 50_000;
/** Registrations that may be removed in one turn of the event loop. */
const PER_TURN = 200;
/** A question is read, answered and received within some turns. With a broker removed in one go there would be no turn to answer in. */
const MOST_TURNS = 25;

const unregisterSome = spyOn(Registry.prototype, "unregisterSome");

afterAll(() => unregisterSome.mockRestore());

test("while a broker with thousands of registrations is removed, questions are answered between the slices of the removal", async () => {
  await using lookup = new InProcessLookup();
  const staying = await lookup.broker("staying");
  await staying.call("REGISTER asked");
  const leaving = await lookup.broker("leaving");
  for (let i = 0; i < REGISTRATIONS; i++) leaving.send(`REGISTER topic_${i}`);
  for (let i = 0; i < REGISTRATIONS; i++) await leaving.next();
  const questioner = await Questioner.connect(lookup.server.httpPort);
  const request = lookupRequest("asked");
  const turns: number[] = [];
  const isRemoved = () => unregisterSome.mock.results.at(-1)?.value === true;
  leaving.close();
  await until("the removal begins", () => unregisterSome.mock.calls.length > 0);
  while (!isRemoved()) {
    const before = unregisterSome.mock.calls.length;
    await questioner.ask(request);
    turns.push(unregisterSome.mock.calls.length - before);
  }
  questioner.close();
  for (const [, limit] of unregisterSome.mock.calls) expect(limit).toBeLessThanOrEqual(PER_TURN);
  expect(unregisterSome.mock.calls.length).toBeGreaterThanOrEqual(REGISTRATIONS / PER_TURN);
  expect(Math.max(...turns)).toBeLessThanOrEqual(MOST_TURNS);
}, 60_000);
