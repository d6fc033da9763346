import { describe, expect, test } from "bun:test";
import type { Family } from "../../../src/http/metrics/family.ts";
import type { MetricText } from "../../../src/http/metrics/metric-text.ts";
import { Scrapes } from "../../../src/http/metrics/scrape.ts";
import { until } from "../../support/server.ts";

const GAUGE: Family = { name: "things", kind: "gauge", help: "Things" };
/** More than fits into one slice. */
const MANY = 20_000;

function* manySteps(text: MetricText, onStep = () => {}): Generator<void> {
  text.family(GAUGE);
  for (let i = 0; i < MANY; i++) {
    text.sample(`number="${i}"`, i);
    onStep();
    yield;
  }
}

function* fewSteps(text: MetricText): Generator<void> {
  text.family(GAUGE);
  yield;
}

function request(accept?: string, signal?: AbortSignal): Request {
  return new Request("http://localhost/metrics", {
    headers: accept === undefined ? {} : { Accept: accept },
    ...(signal ? { signal } : {}),
  });
}

describe("the format of an answer", () => {
  const formatFor = async (accept: string | undefined) => {
    const answer = new Scrapes().answer(request(accept), fewSteps);
    const isOpen = (await answer.text()).endsWith("# EOF\n");
    expect(answer.headers.get("content-type")).toBe(
      isOpen ? "application/openmetrics-text; version=1.0.0; charset=utf-8" : "text/plain; version=0.0.4; charset=utf-8",
    );
    return isOpen ? "openmetrics" : "text";
  };

  test.each([
    [undefined, "text"],
    ["*/*", "text"],
    ["text/plain", "text"],
    ["application/openmetrics-text", "openmetrics"],
    // What Prometheus 2.42 and 3 send.
    [
      "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
      "openmetrics",
    ],
    ["application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.6", "text"],
    ["application/openmetrics-text;version=0.0.1", "text"],
    ["application/openmetrics-text; version=1.0.0; q=0", "text"],
    ["application/openmetrics-text;q=nonsense", "text"],
  ])("for Accept: %p is %s", async (accept, format) => {
    expect(await formatFor(accept)).toBe(format);
  });
});

test("a long answer is made in bounded pieces, with other work between them", async () => {
  const scrapes = new Scrapes();
  let steps = 0;
  const stepsAtTurns: number[] = [];
  let isOver = false;
  const other = () => {
    stepsAtTurns.push(steps);
    if (!isOver) setImmediate(other);
  };
  setImmediate(other);
  const body = await scrapes.answer(request(), (text) => manySteps(text, () => steps++)).text();
  isOver = true;
  expect(body.split("\n").length).toBe(MANY + 3);
  expect(body).toContain(`things{number="${MANY - 1}"} ${MANY - 1}\n`);
  const pieces = stepsAtTurns.map((count, i) => count - (stepsAtTurns[i - 1] ?? 0));
  expect(Math.max(...pieces)).toBeLessThanOrEqual(512);
  expect(pieces.filter((piece) => piece > 0).length).toBeGreaterThan(MANY / 512);
  expect(scrapes.active).toBe(0);
});

test("nothing is made for a client that does not read, and four long answers are sent at a time", async () => {
  const scrapes = new Scrapes();
  let steps = 0;
  const readers = Array.from({ length: 4 }, () => scrapes.answer(request(), (text) => manySteps(text, () => steps++)).body?.getReader());
  expect(scrapes.active).toBe(4);
  const refused = scrapes.answer(request(), (text) => manySteps(text));
  expect([refused.status, await refused.json()]).toEqual([503, { message: "TOO_MANY_REQUESTS" }]);
  // A short answer needs no slot.
  expect(scrapes.answer(request(), fewSteps).status).toBe(200);
  for (const reader of readers) await reader?.read();
  for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate);
  expect(steps).toBeLessThan(2 * MANY);
  for (const reader of readers) await reader?.cancel();
  expect(scrapes.active).toBe(0);
});

test("a client that disconnects gives its place back", async () => {
  const scrapes = new Scrapes();
  using server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: (incoming) => scrapes.answer(incoming, (text) => manySteps(text)) });
  const socket = await Bun.connect({ hostname: "127.0.0.1", port: server.port ?? 0, socket: { data: (paused) => void paused.pause() } });
  socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  await until("the answer has begun", () => scrapes.active === 1);
  socket.terminate();
  await until("the place is free", () => scrapes.active === 0);
});
