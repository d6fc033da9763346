import { expect, test } from "bun:test";
import { bytes, count, exact, plural, rate, tick } from "../../../src/admin/page/format/numbers.ts";
import { clock, duration, since } from "../../../src/admin/page/format/time.ts";
import { chartData, lonePoints } from "../../../src/admin/page/parts/chart-data.ts";
import { filledBuckets } from "../../../src/admin/page/parts/filled-buckets.ts";
import { graphiteUrl } from "../../../src/admin/page/parts/graphite-url.ts";
import { sparkPath } from "../../../src/admin/page/parts/spark-path.ts";

test("counts have every digit up to a hundred thousand, and three beyond", () => {
  expect([0, 999, 12_345, 99_999, 123_456, 1_234_567, 48_211_904_311].map(count)).toEqual([
    "0",
    "999",
    "12,345",
    "99,999",
    "123K",
    "1.23M",
    "48.2B",
  ]);
  expect(exact(48_211_904_311)).toBe("48,211,904,311");
  expect([plural(0, "topic"), plural(1, "topic"), plural(1200, "topic")]).toEqual(["0 topics", "1 topic", "1,200 topics"]);
});

test("what a broker cannot tell is a dash and not a zero", () => {
  expect([count(null), exact(undefined), rate(null), bytes(null), duration(null), clock(null, 0), since(undefined, 0)]).toEqual(
    Array(7).fill("–"),
  );
});

test("ticks of an axis are all different, however small its scale", () => {
  expect([0, 0.25, 0.5, 0.75, 1, 1.5].map(tick)).toEqual(["0", "0.25", "0.5", "0.75", "1", "1.5"]);
  expect([0, 0.001, 0.002].map(tick)).toEqual(["0", "0.001", "0.002"]);
  expect([50, 100_000, 200_000].map(tick)).toEqual(["50", "100K", "200K"]);
});

test("a value without neighbours is drawn as a point", () => {
  expect(lonePoints([1, null, 2, 3, null, 4])).toEqual([0, 5]);
  expect(lonePoints([null, null, 0])).toEqual([2]);
  expect(lonePoints([1, 2, 3])).toEqual([]);
});

test("rates have a digit behind the point while they are small", () => {
  expect([0, 0.04, 0.44, 12.34, 99.96, 1234.5].map(rate)).toEqual(["0", "<0.1", "0.4", "12.3", "100", "1,235"]);
});

test("bytes have at most three digits and the unit that fits", () => {
  expect([0, 999, 1000, 1234, 99_949, 999_499, 999_500, 4_812_000_000].map(bytes)).toEqual([
    "0 B",
    "999 B",
    "1 kB",
    "1.2 kB",
    "99.9 kB",
    "999 kB",
    "1 MB",
    "4.8 GB",
  ]);
});

test("durations have their two largest units", () => {
  expect([0, 0.2, 0.25, 2.5, 9.99, 450, 3200, 59_900, 250_000, 240_000, 11_520_000, 187_200_000].map(duration)).toEqual([
    "0 ms",
    "0.2 ms",
    "0.25 ms",
    "2.5 ms",
    "10 ms",
    "450 ms",
    "3.2 s",
    "59 s",
    "4m 10s",
    "4m",
    "3h 12m",
    "2d 4h",
  ]);
});

test("a time of today has no date, and one of this year no year", () => {
  const noon = new Date(2026, 10, 28, 12, 0, 5).getTime();
  expect(clock(noon, noon + 3_600_000)).toBe("12:00:05");
  expect(clock(noon, noon + 86_400_000)).toBe("11-28 12:00");
  expect(clock(noon, noon + 100 * 86_400_000)).toBe("2026-11-28 12:00");
  expect(since(noon, noon - 1)).toBe("0 ms");
});

test("a sparkline has a gap where nothing was measured", () => {
  expect(sparkPath([0, 10, null, 5], 30, 12)).toBe("M0.0 11.0L10.0 1.0M30.0 6.0");
  expect(sparkPath([], 30, 12)).toBe("");
});

test("a histogram shows the buckets from the first to the last that has something", () => {
  expect(filledBuckets([0, 0, 3, 0, 1, 0])).toEqual({ first: 2, end: 5 });
  expect(filledBuckets([0, 0])).toEqual({ first: 0, end: 0 });
});

test("the link to graphite sums a channel's depth over all brokers", () => {
  const url = new URL(
    graphiteUrl("https://graphite.example/g", { prefix: "nsq.%s", gauge_format: "stats.gauges.%s" }, "orders", "billing"),
  );
  expect(url.origin + url.pathname).toBe("https://graphite.example/g/render");
  expect(url.searchParams.get("target")).toBe("sumSeries(stats.gauges.nsq.*.topic.orders.channel.billing.depth)");
});

test("a chart begins where the first figure is known, but is never narrower than a twelfth of its range", () => {
  const none = (length: number) => Array<null>(length).fill(null);
  expect(
    chartData(60_000, 10, [
      [null, null, 5, 6],
      [null, 1, null, 2],
    ]),
  ).toEqual([
    [70, 80, 90],
    [null, 5, 6],
    [1, null, 2],
  ]);
  const [times, values] = chartData(0, 10, [[...none(359), 7]]);
  expect([times[0], times.length, values?.at(-1)]).toEqual([3300, 30, 7]);
  expect(chartData(0, 10, [none(12)])[0].length).toBe(1);
  expect(chartData(0, 10, [[]])).toEqual([[], []]);
});
