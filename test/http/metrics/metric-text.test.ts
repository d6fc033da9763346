import { expect, test } from "bun:test";
import { Histogram } from "../../../src/base/histogram.ts";
import type { Family } from "../../../src/http/metrics/family.ts";
import { labels, MetricText } from "../../../src/http/metrics/metric-text.ts";

const COUNTER: Family = { name: "nsq_bytes", kind: "counter", unit: "bytes", help: 'Bytes \\ of\n"all"' };
const INFO: Family = { name: "nsq_build", kind: "info", help: "Versions" };
const HISTOGRAM: Family = { name: "nsq_wait_seconds", kind: "histogram", unit: "seconds", help: "Waits" };

function written(format: "text" | "openmetrics"): string {
  const text = new MetricText(format);
  text.family(COUNTER);
  text.sample(labels({ topic: "t" }), 12.5);
  text.sample("", Number.POSITIVE_INFINITY);
  text.family(INFO);
  text.sample(labels({ version: "1" }), 1);
  const histogram = new Histogram(Float64Array.of(0.5, 1000));
  histogram.record(0.5);
  histogram.record(100, 2);
  histogram.record(5000);
  text.family(HISTOGRAM);
  text.histogram("", histogram, true);
  text.histogram(labels({ topic: "t" }), histogram, false);
  text.end();
  return Buffer.from(text.take()).toString();
}

const SAMPLES = [
  'nsq_wait_seconds_bucket{le="0.0005"} 1',
  'nsq_wait_seconds_bucket{le="1.0"} 3',
  'nsq_wait_seconds_bucket{le="+Inf"} 4',
  "nsq_wait_seconds_sum 5.2005",
  "nsq_wait_seconds_count 4",
  'nsq_wait_seconds_bucket{topic="t",le="0.5"} 1',
  'nsq_wait_seconds_bucket{topic="t",le="1000.0"} 3',
  'nsq_wait_seconds_bucket{topic="t",le="+Inf"} 4',
  'nsq_wait_seconds_sum{topic="t"} 5200.5',
  'nsq_wait_seconds_count{topic="t"} 4',
];

test("the text format names a counter with _total, and has an info as a gauge", () => {
  expect(written("text").trimEnd().split("\n")).toEqual([
    '# HELP nsq_bytes_total Bytes \\\\ of\\n"all".',
    "# TYPE nsq_bytes_total counter",
    'nsq_bytes_total{topic="t"} 12.5',
    "nsq_bytes_total +Inf",
    "# HELP nsq_build_info Versions.",
    "# TYPE nsq_build_info gauge",
    'nsq_build_info{version="1"} 1',
    "# HELP nsq_wait_seconds Waits.",
    "# TYPE nsq_wait_seconds histogram",
    ...SAMPLES,
  ]);
});

test("OpenMetrics names the family without suffix, has units, and an end", () => {
  expect(written("openmetrics").trimEnd().split("\n")).toEqual([
    '# HELP nsq_bytes Bytes \\\\ of\\n\\"all\\".',
    "# TYPE nsq_bytes counter",
    "# UNIT nsq_bytes bytes",
    'nsq_bytes_total{topic="t"} 12.5',
    "nsq_bytes_total +Inf",
    "# HELP nsq_build Versions.",
    "# TYPE nsq_build info",
    'nsq_build_info{version="1"} 1',
    "# HELP nsq_wait_seconds Waits.",
    "# TYPE nsq_wait_seconds histogram",
    "# UNIT nsq_wait_seconds seconds",
    ...SAMPLES,
    "# EOF",
  ]);
});

test("the values of labels are escaped, and what is no Unicode is replaced", () => {
  expect(labels({ a: 'x"y\\z\nw', b: "plain", c: "\ud800" })).toBe('a="x\\"y\\\\z\\nw",b="plain",c="\ufffd"');
});

test("numbers are written as JavaScript writes them, and lines beyond the first buffer are whole", () => {
  const text = new MetricText("text");
  const values = [0, 9, 10, 99, 100, 999_999_999, 1e9, 2 ** 53, 1e21, 0.1, -1, Number.NaN, Number.NEGATIVE_INFINITY];
  text.family(COUNTER);
  text.take();
  const row = labels({ topic: "ü€😀".repeat(5000) });
  for (const value of values) text.sample(row, value);
  const shown = values.map((value) => (value === Number.NEGATIVE_INFINITY ? "-Inf" : String(value)));
  expect(Buffer.from(text.take()).toString()).toBe(shown.map((value) => `nsq_bytes_total{${row}} ${value}\n`).join(""));
  expect(text.length).toBe(0);
});
