import { expect } from "bun:test";
import { join } from "node:path";
import { messages } from "../../support/in-process.ts";
import { missing, testUnless } from "../../support/needs.ts";
import { cleanEnvironment, until } from "../../support/server.ts";
import { WithHttp } from "../../support/with-http.ts";

/**
 * What the broker sends to a collector is decoded by the protobuf messages of OpenTelemetry itself, which refuse members and values that
 * OTLP does not have. `otlp-python` is a Python with PyPI's opentelemetry-proto (CONTRIBUTING.md).
 */
const DECODER = join(import.meta.dir, "support/decode-otlp.py");
const TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const SPAN = { traceId: "a".repeat(32), spanId: "b".repeat(16), name: "t c", kind: 1, startTimeUnixNano: "1", endTimeUnixNano: "2" };

interface Outcome {
  code: number;
  output: string;
  complaint: string;
}

async function decode(bodies: string[]): Promise<Outcome> {
  const child = Bun.spawn(["otlp-python", DECODER], {
    stdin: Buffer.from(bodies.map((body) => `${body}\n`).join("")),
    stdout: "pipe",
    stderr: "pipe",
    env: cleanEnvironment(),
  });
  const [output, complaint, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { code, output, complaint };
}

function request(span: object): string {
  return JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [span] }] }] });
}

/** Protobuf writes no lists that are empty. */
function withoutEmptyLists(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutEmptyLists);
  if (typeof value !== "object" || value === null) return value;
  const members = Object.entries(value).filter(([, member]) => !Array.isArray(member) || member.length > 0);
  return Object.fromEntries(members.map(([name, member]) => [name, withoutEmptyLists(member)]));
}

testUnless(missing("otlp-python"))(
  "spans of every kind are what OpenTelemetry's protobuf messages have",
  async () => {
    const bodies: string[] = [];
    using collector = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: async (request) => {
        bodies.push(await request.text());
        return Response.json({});
      },
    });
    await using broker = WithHttp.start({ otlpEndpoint: `http://127.0.0.1:${collector.port}` });
    for (const path of ["/topic/create?topic=t", "/channel/create?topic=t&channel=c"]) await broker.call("POST", path);
    await broker.json("POST", "/topic/trace?topic=t&on=true");
    const headers = { traceparent: TRACEPARENT, tracestate: "rojo=00f067aa0ba902b7, congo=t61rcWkgMzE" };
    await broker.call("POST", "/pub?topic=t", "requeued", headers);
    await broker.call("POST", "/mpub?topic=t", "a\nb\ndiscarded");
    const producer = await broker.started.client();
    await producer.call("IDENTIFY", JSON.stringify({ client_id: 'm\u00fcller "1"\u0007', hostname: "\u{1f41d}" }));
    await producer.call("DPUB t 20", "late");
    const worker = await broker.started.consumer("t", "c", 10);
    let requeues = 0;
    for (let finished = 0; finished < 4; ) {
      const [{ id, text } = { id: "", text: "" }] = await messages(worker, 1);
      if (text === "discarded") continue;
      if (text === "requeued" && requeues++ < 1) {
        worker.command(`REQ ${id} 10`);
        continue;
      }
      worker.command(`FIN ${id}`);
      finished++;
    }
    await until("four are finished", () => broker.broker.registry.topics.get("t")?.channels.get("c")?.inFlightCount === 1);
    await broker.call("POST", "/channel/empty?topic=t&channel=c");
    await until("all five are sent", () => broker.broker.otlp?.sent === 5);
    const { code, output, complaint } = await decode(bodies);
    expect(complaint).toBe("");
    expect(code).toBe(0);
    const decoded = output
      .trimEnd()
      .split("\n")
      .map((line): unknown => JSON.parse(line));
    expect(decoded).toEqual(bodies.map((body) => withoutEmptyLists(JSON.parse(body))));
    expect(bodies.join()).toContain('"traceState":"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"');
    expect(output).toContain("rojo=00f067aa0ba902b7");
  },
  30_000,
);

testUnless(missing("otlp-python"))(
  "the decoder refuses what OTLP does not have",
  async () => {
    expect((await decode([request(SPAN)])).code).toBe(0);
    const wrong: object[] = [
      { ...SPAN, unknown: 1 },
      { ...SPAN, trace_state: "a=1" },
      { ...SPAN, traceState: 1 },
      { ...SPAN, traceId: "a".repeat(31) },
      { ...SPAN, spanId: "0".repeat(16) },
      { ...SPAN, kind: 9 },
      { ...SPAN, kind: "internal" },
      { ...SPAN, startTimeUnixNano: "1.5" },
      { ...SPAN, startTimeUnixNano: "3" },
      { ...SPAN, attributes: [{ key: "k", value: "v" }] },
      { ...SPAN, attributes: [{ key: "k", value: { stringValue: "v", intValue: "1" } }] },
      { ...SPAN, status: { code: 7 } },
    ];
    const codes = await Promise.all(wrong.map(async (span) => (await decode([request(span)])).code));
    expect(codes).toEqual(wrong.map(() => 1));
  },
  60_000,
);
