import { expect, test } from "bun:test";
import type { OtlpSpan } from "../../../src/broker/trace/otlp/span.ts";
import { SpanSender } from "../../../src/broker/trace/otlp/span-sender.ts";
import { until } from "../../support/server.ts";
import { SimulatedClock } from "../../support/simulated-clock.ts";

const START_MS = Date.UTC(2026, 0, 1);
const MOST_SPANS = 8192;
const PER_REQUEST = 128;

interface Body {
  resourceSpans: { scopeSpans: { spans: { name: string }[] }[] }[];
}

/** A collector that answers each request as it is told, or not at all. */
class Collector implements Disposable {
  /** The names of the spans of each request. */
  readonly requests: string[][] = [];
  /** Requests that nobody has answered. */
  open = 0;
  /** The next answers; after them `usual`. */
  readonly answers: (() => Response)[] = [];
  usual: () => Response | undefined = () => Response.json({});
  readonly port: number;
  private readonly server: Bun.Server<undefined>;

  constructor(port = 0) {
    this.server = Bun.serve({ port, hostname: "127.0.0.1", fetch: (request) => this.answer(request), idleTimeout: 0 });
    this.port = this.server.port ?? 0;
  }

  private async answer(request: Request): Promise<Response> {
    const body = (await request.json()) as Body;
    this.requests.push(body.resourceSpans[0]?.scopeSpans[0]?.spans.map(({ name }) => name) ?? []);
    const answer = this.answers.shift() ?? this.usual;
    this.open++;
    const response =
      answer() ?? (await new Promise<Response>((resolve) => request.signal.addEventListener("abort", () => resolve(new Response()))));
    this.open--;
    return response;
  }

  [Symbol.dispose](): void {
    void this.server.stop(true);
  }
}

/** A sender whose time the test lets pass. */
class Sending {
  readonly clock = new SimulatedClock(START_MS);
  readonly errors: string[] = [];
  readonly sender: SpanSender;
  added = 0;

  constructor(port: number) {
    const rateLimitedLog = { error: (line: string) => this.errors.push(line) };
    this.sender = new SpanSender(`http://127.0.0.1:${port}/v1/traces`, "here", { clock: this.clock, rateLimitedLog });
  }

  add(count: number): void {
    for (let i = 0; i < count; i++) this.sender.add(span(`${this.added++}`));
    this.check();
  }

  /** Each span is somewhere, and within the bounds. */
  check(): void {
    const { sent, dropped, waiting } = this.sender;
    expect(sent + dropped + waiting).toBe(this.added);
    expect(waiting).toBeLessThanOrEqual(MOST_SPANS);
  }

  /** Lets time pass, and sees that something happens at its end and not before. */
  async happensAfter(ms: number, what: string, happened: () => boolean): Promise<void> {
    this.clock.advance(ms - 1);
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
    expect([what, happened()]).toEqual([what, false]);
    this.clock.advance(1);
    await until(what, happened);
    this.check();
  }
}

function span(name: string): OtlpSpan {
  const ids = { traceId: "a".repeat(32), spanId: "b".repeat(16) };
  return { ...ids, name, kind: 1, startTimeUnixNano: "1", endTimeUnixNano: "2", attributes: [], events: [], status: {} };
}

function names(from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, n) => `${from + n}`);
}

test("spans wait a second for others, and go at once when a request is full", async () => {
  using collector = new Collector();
  const sending = new Sending(collector.port);
  sending.add(3);
  await sending.happensAfter(1000, "the first are sent", () => collector.requests.length === 1);
  await until("they count", () => sending.sender.sent === 3);
  sending.add(PER_REQUEST);
  await until("a full request is sent", () => sending.sender.sent === 3 + PER_REQUEST);
  expect(collector.requests).toEqual([names(0, 3), names(3, 3 + PER_REQUEST)]);
  expect(sending.errors).toEqual([]);
});

test("a collector that is down is tried again less and less often, the queue is bounded, and its spans come when it is back", async () => {
  const { port } = (() => {
    using gone = new Collector();
    return gone;
  })();
  const sending = new Sending(port);
  sending.add(1);
  sending.clock.advance(1000);
  await until("the first try fails", () => sending.errors.length === 1);
  sending.add(MOST_SPANS + 99);
  expect([sending.sender.waiting, sending.sender.dropped]).toEqual([MOST_SPANS, 100]);
  let failures = 1;
  for (const waitMs of [2000, 4000, 8000, 16_000, 30_000, 30_000]) {
    failures++;
    await sending.happensAfter(waitMs, `it is tried again after ${waitMs} ms`, () => sending.errors.length === failures);
  }
  using collector = new Collector(port);
  await sending.happensAfter(30_000, "it is back", () => collector.requests.length > 0);
  // The rest follows at once, though by the clock.
  await until("all are sent", () => {
    sending.clock.advance(1);
    return sending.sender.sent === MOST_SPANS;
  });
  expect(collector.requests.flat()).toEqual(names(0, MOST_SPANS));
  expect(sending.sender.dropped).toBe(100);
  // It starts again with short waits.
  collector.answers.push(() => new Response("", { status: 503 }));
  sending.add(PER_REQUEST);
  await until("it is busy", () => sending.errors.length === failures + 1);
  await sending.happensAfter(2000, "it is tried again", () => sending.sender.sent === MOST_SPANS + PER_REQUEST);
});

test("a collector that does not answer gets one request at a time, and is given up after ten seconds", async () => {
  using collector = new Collector();
  collector.usual = () => undefined;
  const sending = new Sending(collector.port);
  sending.add(PER_REQUEST);
  await until("it has a request", () => collector.requests.length === 1);
  sending.add(MOST_SPANS);
  expect([sending.sender.waiting, sending.sender.dropped]).toEqual([MOST_SPANS, PER_REQUEST]);
  await sending.happensAfter(10_000, "it is given up", () => sending.errors.length === 1);
  expect(sending.errors[0]).toContain("no answer within 10000 ms");
  await until("the request was aborted", () => collector.open === 0);
  collector.usual = () => Response.json({});
  await sending.happensAfter(2000, "the same are sent again", () => collector.requests.length > 1);
  expect(collector.requests[1]).toEqual(names(0, PER_REQUEST));
});

test("a collector whose answer has no end is given up, too", async () => {
  using collector = new Collector();
  collector.usual = () => new Response(new ReadableStream({ pull: () => new Promise(() => {}), start: (stream) => stream.enqueue("{") }));
  const sending = new Sending(collector.port);
  sending.add(PER_REQUEST);
  await until("it has a request", () => collector.requests.length === 1);
  await sending.happensAfter(10_000, "it is given up", () => sending.errors.length === 1);
  expect(sending.sender.waiting).toBe(PER_REQUEST);
});

test.each([
  [429, "7", 7000],
  [503, "0", 2000],
  [503, new Date(START_MS + 41_000).toUTCString(), 41_000],
  [503, new Date(START_MS - 41_000).toUTCString(), 2000],
  [429, "999999999", 300_000],
  [503, "soon", 2000],
  [502, undefined, 2000],
  [504, undefined, 2000],
])("after %p with Retry-After: %p the same spans are sent again %p ms later", async (status, retryAfter, waitMs) => {
  using collector = new Collector();
  const headers: Record<string, string> = retryAfter === undefined ? {} : { "retry-after": retryAfter };
  collector.answers.push(() => Response.json({ message: "too\nmuch" }, { status, headers }));
  const sending = new Sending(collector.port);
  sending.add(PER_REQUEST);
  await until("it is refused", () => sending.errors.length === 1);
  expect(sending.errors[0]).toEndWith(`it answered ${status} "too\\nmuch"`);
  // Others that come meanwhile do not hurry it.
  sending.add(2 * PER_REQUEST);
  await sending.happensAfter(waitMs, "they are sent again", () => collector.requests.length > 1);
  expect(collector.requests.slice(0, 2)).toEqual([names(0, PER_REQUEST), names(0, PER_REQUEST)]);
});

test.each([400, 401, 404, 413, 500, 501])("after %p the spans of that request are dropped, and the next ones sent", async (status) => {
  using collector = new Collector();
  collector.answers.push(() => new Response("no", { status }));
  const sending = new Sending(collector.port);
  sending.add(PER_REQUEST);
  await until("they are dropped", () => sending.sender.dropped === PER_REQUEST);
  expect(sending.errors).toEqual([expect.stringContaining(`it answered ${status}`)]);
  sending.add(PER_REQUEST);
  await until("the next are sent", () => sending.sender.sent === PER_REQUEST);
  sending.check();
});

test.each([
  [{ partialSuccess: { rejectedSpans: "5", errorMessage: "too old" } }, 5, 'it refused 5 of them: "too old"'],
  [{ partialSuccess: { rejectedSpans: 5 } }, 5, "it refused 5 of them: it does not say why"],
  [{ partialSuccess: { rejectedSpans: "0", errorMessage: "slow down" } }, 0, 'it refused 0 of them: "slow down"'],
  [{ partialSuccess: { rejectedSpans: "100000" } }, PER_REQUEST, "it refused 100000 of them: it does not say why"],
  [{ partialSuccess: { rejectedSpans: "-1" } }, 0, undefined],
  [{ partialSuccess: { rejectedSpans: {} } }, 0, undefined],
  [{ partialSuccess: null }, 0, undefined],
  [{}, 0, undefined],
  ["text", 0, undefined],
])("what a collector says to refuse is counted, and not sent again: %j", async (answer, rejected, error) => {
  using collector = new Collector();
  collector.answers.push(() => Response.json(answer));
  const sending = new Sending(collector.port);
  sending.add(PER_REQUEST);
  await until("all are counted", () => sending.sender.sent + sending.sender.dropped === PER_REQUEST);
  expect(sending.sender.dropped).toBe(rejected);
  expect(sending.errors).toEqual(error === undefined ? [] : [expect.stringContaining(error)]);
  sending.add(PER_REQUEST);
  await until("the next are sent", () => collector.requests.length === 2);
  expect(collector.requests[1]).toEqual(names(PER_REQUEST, 2 * PER_REQUEST));
});

test.each(["no JSON", "", "[", "x".repeat(1_000_000)])("a success whose body says nothing has taken all", async (body) => {
  using collector = new Collector();
  collector.answers.push(() => new Response(body));
  const sending = new Sending(collector.port);
  sending.add(PER_REQUEST);
  await until("all are sent", () => sending.sender.sent === PER_REQUEST);
  expect(sending.errors).toEqual([]);
});

test("a stop sends what waits, and waits two seconds for a collector that does not answer", async () => {
  using collector = new Collector();
  const sending = new Sending(collector.port);
  sending.add(3 * PER_REQUEST + 1);
  await sending.sender.close();
  expect(sending.sender.sent).toBe(3 * PER_REQUEST + 1);
  collector.usual = () => undefined;
  const late = new Sending(collector.port);
  late.add(2 * PER_REQUEST);
  await until("it has a request", () => collector.open === 1);
  let ended = false;
  const closing = late.sender.close().then(() => {
    ended = true;
  });
  await late.happensAfter(2000, "the stop ends", () => ended);
  await closing;
  expect([late.sender.sent, late.sender.dropped, late.sender.waiting]).toEqual([0, 2 * PER_REQUEST, 0]);
});
