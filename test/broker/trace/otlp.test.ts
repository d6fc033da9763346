import { expect, test } from "bun:test";
import { messages } from "../../support/in-process.ts";
import { until } from "../../support/server.ts";
import { WithHttp } from "../../support/with-http.ts";

const TRACE_ID = "0af7651916cd43dd8448eb211c80319c";
const PARENT_ID = "b7ad6b7169203331";

interface Attribute {
  key: string;
  value: Record<string, string>;
}

interface Span {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
  kind: number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes: Attribute[];
  events: { timeUnixNano: string; name: string; attributes: Attribute[] }[];
  status: { code?: number; message?: string };
}

/** A collector that checks what it gets, and answers as it is told. */
class Collector implements Disposable {
  readonly spans: Span[] = [];
  readonly problems: string[] = [];
  requests = 0;
  /** Statuses of the next answers; then 200. */
  readonly answers: number[] = [];
  private readonly server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: async (request) => {
      this.requests++;
      const status = this.answers.shift() ?? 200;
      const body: unknown = await request.json();
      if (new URL(request.url).pathname !== "/v1/traces" || request.method !== "POST") this.problems.push(request.url);
      if (request.headers.get("content-type") !== "application/json") this.problems.push("content-type");
      if (status === 200) this.take(body);
      return new Response("{}", { status });
    },
  });

  get endpoint(): string {
    return `http://127.0.0.1:${this.server.port}`;
  }

  private check(holds: boolean, what: string): void {
    if (!holds) this.problems.push(what);
  }

  // biome-ignore lint/suspicious/noExplicitAny: what came is what is checked here
  private take(body: any): void {
    this.check(Object.keys(body).join() === "resourceSpans" && body.resourceSpans.length === 1, "resourceSpans");
    const [{ resource, scopeSpans }] = body.resourceSpans;
    this.attributes(resource.attributes);
    this.check(
      resource.attributes.some(({ key, value }: Attribute) => key === "service.name" && value.stringValue === "bunsq"),
      "service.name",
    );
    this.check(scopeSpans.length === 1 && typeof scopeSpans[0].scope.name === "string", "scopeSpans");
    for (const span of scopeSpans[0].spans as Span[]) {
      this.check(/^[0-9a-f]{32}$/.test(span.traceId) && !/^0+$/.test(span.traceId), `traceId ${span.traceId}`);
      this.check(/^[0-9a-f]{16}$/.test(span.spanId) && !/^0+$/.test(span.spanId), `spanId ${span.spanId}`);
      this.check(span.parentSpanId === undefined || /^[0-9a-f]{16}$/.test(span.parentSpanId), `parentSpanId ${span.parentSpanId}`);
      this.check(Number.isInteger(span.kind) && span.kind >= 1 && span.kind <= 5, "kind");
      const times = [span.startTimeUnixNano, ...span.events.map(({ timeUnixNano }) => timeUnixNano), span.endTimeUnixNano];
      this.check(
        times.every((time) => typeof time === "string" && /^\d{19}$/.test(time)),
        `times ${times}`,
      );
      this.check(times.join() === [...times].sort().join(), `order ${times}`);
      this.attributes(span.attributes);
      for (const event of span.events) this.attributes(event.attributes);
      this.spans.push(span);
    }
  }

  private attributes(list: Attribute[]): void {
    for (const { key, value } of list) {
      const [[kind, text] = ["", ""]] = Object.entries(value);
      this.check(key !== "" && Object.keys(value).length === 1, key);
      this.check(kind === "stringValue" ? typeof text === "string" : kind === "intValue" && /^-?\d+$/.test(text), `${key} ${kind} ${text}`);
    }
  }

  [Symbol.dispose](): void {
    void this.server.stop(true);
  }
}

function attribute(list: readonly Attribute[], name: string): string | undefined {
  const value = list.find(({ key }) => key === name)?.value;
  return value?.stringValue ?? value?.intValue;
}

async function traced(endpoint: string): Promise<WithHttp> {
  const broker = WithHttp.start({ otlpEndpoint: endpoint });
  await broker.call("POST", "/topic/create?topic=t");
  for (const channel of ["c", "d"]) await broker.call("POST", `/channel/create?topic=t&channel=${channel}`);
  await broker.json("POST", "/topic/trace?topic=t&on=true");
  return broker;
}

test("a message becomes a span for each channel, below the trace context that came with it", async () => {
  using collector = new Collector();
  await using broker = await traced(collector.endpoint);
  await broker.call("POST", "/pub?topic=t", "x", { traceparent: `00-${TRACE_ID}-${PARENT_ID}-01` });
  const workers = [await broker.started.consumer("t", "c", 1), await broker.started.consumer("t", "d", 1)];
  const [first] = workers;
  first?.command(`REQ ${(await first.message()).id} 10`);
  let id = "";
  for (const worker of workers) {
    id = (await worker.message()).id;
    worker.command(`FIN ${id}`);
  }
  await until("both spans are there", () => collector.spans.length === 2);
  expect(collector.problems).toEqual([]);
  const [c, d] = collector.spans.sort((a, b) => (a.name < b.name ? -1 : 1)) as [Span, Span];
  for (const span of [c, d]) expect(span).toMatchObject({ traceId: TRACE_ID, parentSpanId: PARENT_ID, status: {} });
  expect(c.name).toBe("t c");
  expect(c.events.map(({ name }) => name)).toEqual(["delivered", "requeued", "delivered", "finished"]);
  expect(d.events.map(({ name }) => name)).toEqual(["delivered", "finished"]);
  expect(attribute(c.attributes, "messaging.message.id")).toBe(id);
  expect(attribute(c.attributes, "messaging.destination.name")).toBe("t");
  expect(attribute(c.attributes, "bunsq.attempts")).toBe("2");
  expect(attribute(c.attributes, "bunsq.published_by")).toBe("HTTP 127.0.0.1");
  expect(attribute(c.events[1]?.attributes ?? [], "bunsq.delay_ms")).toBe("10");
  expect(broker.broker.otlp?.waiting.messages).toBe(0);
});

test("a context that is not sampled makes no span, one that is missing a trace of its own, and a discarded message a span with an error", async () => {
  using collector = new Collector();
  await using broker = await traced(collector.endpoint);
  await broker.call("POST", "/channel/delete?topic=t&channel=d");
  await broker.call("POST", "/pub?topic=t", "unsampled", { traceparent: `00-${TRACE_ID}-${PARENT_ID}-00` });
  const producer = await broker.started.client();
  producer.mpub("t", ["a", "b", "discarded"]);
  await producer.response();
  await producer.call("DPUB t 20", "late");
  const worker = await broker.started.consumer("t", "c", 10);
  for (const { id, text } of await messages(worker, 5)) if (text !== "discarded") worker.command(`FIN ${id}`);
  const channel = () => broker.broker.registry.topics.get("t")?.channels.get("c");
  await until("four are finished", () => channel()?.inFlightCount === 1);
  await broker.call("POST", "/channel/empty?topic=t&channel=c");
  await until("four spans are there", () => collector.spans.length === 4);
  expect(collector.problems).toEqual([]);
  expect(new Set(collector.spans.map(({ traceId }) => traceId)).size).toBe(4);
  expect(collector.spans.some(({ traceId, parentSpanId }) => traceId === TRACE_ID || parentSpanId !== undefined)).toBe(false);
  const failed = collector.spans.filter(({ status }) => status.code === 2);
  expect(failed.map(({ events }) => events.at(-1)?.name)).toEqual(["discarded"]);
  const late = collector.spans.find(({ events }) => events[0]?.name === "deferred");
  expect(late?.events.map(({ name }) => name)).toEqual(["deferred", "joined", "delivered", "finished"]);
});

test("spans wait for a collector that is busy, are dropped if it refuses them, and a stop sends what is left", async () => {
  using collector = new Collector();
  await using broker = await traced(collector.endpoint);
  collector.answers.push(503, 200, 400);
  await broker.call("POST", "/channel/delete?topic=t&channel=d");
  const worker = await broker.started.consumer("t", "c", 1);
  const pass = async (body: string) => {
    await broker.call("POST", "/pub?topic=t", body);
    worker.command(`FIN ${(await worker.message()).id}`);
  };
  await pass("retried");
  await until("the span is there", () => collector.spans.length === 1);
  expect(collector.requests).toBe(2);
  await pass("refused");
  await until("the span is dropped", () => broker.broker.otlp?.dropped === 1);
  expect(broker.log.matching(/^ERROR: OTLP: cannot send spans to .*: it answered (503|400)$/)).toHaveLength(2);
  await pass("last");
  await until("it is finished", () => broker.broker.registry.topics.get("t")?.channels.get("c")?.inFlightCount === 0);
  await broker.restart();
  expect(collector.spans.map(({ events }) => events.length)).toEqual([2, 2]);
  expect(collector.problems).toEqual([]);
}, 20_000);

test("without a collector, queues stay within their bounds, and nobody waits", async () => {
  // Nothing listens there.
  await using broker = await traced("http://127.0.0.1:1");
  await broker.call("POST", "/channel/delete?topic=t&channel=d");
  const producer = await broker.started.client();
  const worker = await broker.started.consumer("t", "c", 2000);
  const bodies = Array.from({ length: 1000 }, (_, i) => `${i}`);
  let finished = 0;
  worker.onFrame = ({ type, id }) => {
    if (type !== "message") return;
    worker.command(`FIN ${id}`);
    finished++;
  };
  for (let round = 0; round < 20; round++) {
    producer.mpub("t", bodies);
    await producer.response();
  }
  await until("all came", () => finished === 20_000);
  const otlp = () => broker.broker.otlp;
  await until("spans are dropped", () => (otlp()?.dropped ?? 0) > 0);
  expect(otlp()?.waiting.spans).toBeLessThanOrEqual(8192);
  expect((await broker.json("GET", "/topic/trace?topic=t")).store.spans.dropped).toBeGreaterThan(0);
});

test("an endpoint that is no URL is refused at the start", () => {
  expect(() => WithHttp.start({ otlpEndpoint: "localhost:4318" })).toThrow('invalid -otlp-endpoint "localhost:4318"');
});
