import { expect, test } from "bun:test";
import { cpuSeconds, parseCpuSeconds, parseMachineCpuSeconds, peakRssBytes } from "../../bench/support/process-usage.ts";
import { makeReport, summarize, toMarkdown } from "../../bench/support/report.ts";
import { median, quantile } from "../../bench/support/statistics.ts";
import { WORKLOADS } from "../../bench/workloads.ts";
import { testUnless } from "../support/needs.ts";

const run = (seconds: number, serverCpuSeconds: number) => ({
  messages: 1000,
  seconds,
  serverCpuSeconds,
  generatorCpuSeconds: 0.1,
  othersBusy: 0,
  redelivered: 0,
  peakRssBytes: seconds * 1e6,
});

test("a median is the middle value, or the mean of the middle two", () => {
  expect(median([30, 1, 2])).toBe(2);
  expect(median([4, 1, 3, 2])).toBe(2.5);
  expect(median([])).toBeNaN();
});

test("a quantile is the smallest value that is not exceeded by this share of the values", () => {
  const hundred = Float64Array.from({ length: 100 }, (_, n) => n + 1);
  expect(quantile(hundred, 0.5)).toBe(50);
  expect(quantile(hundred, 0.99)).toBe(99);
  expect(quantile(hundred, 0.999)).toBe(100);
  expect(quantile(Float64Array.of(7), 0.5)).toBe(7);
});

test("CPU time is read correctly if the program's name has spaces and brackets", () => {
  const stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 1000 0 0 0 150 50 0 0 20 0 4 0 12345 1000000 2000";
  expect(parseCpuSeconds(stat)).toBe(2);
  expect(() => parseCpuSeconds("nothing")).toThrow("not a line of");
});

test("the machine's CPU time excludes waiting and interrupts", () => {
  expect(parseMachineCpuSeconds("cpu  100 20 300 9000 900 70 80 5 0 0\ncpu0 1 2 3\n")).toBe(4.25);
  expect(() => parseMachineCpuSeconds("nothing\n")).toThrow("not /proc/stat");
});

testUnless(process.platform === "linux" ? undefined : "not Linux")(
  "a process's CPU time grows with its work, and its peak memory is known",
  () => {
    const before = cpuSeconds(process.pid);
    const deadline = performance.now() + 5000;
    while (cpuSeconds(process.pid) - before < 0.03 && performance.now() < deadline);
    expect(cpuSeconds(process.pid) - before).toBeGreaterThanOrEqual(0.03);
    expect(peakRssBytes(process.pid)).toBeGreaterThan(1e6);
  },
);

test("a summary has medians per message; a failed round is listed but not in the medians", () => {
  const summary = summarize([run(1, 0.5), { error: "stalled" }, run(4, 0.8), run(2, 0.6)]);
  expect(summary.messagesPerSecond).toBe(500);
  expect(summary.range).toEqual([250, 1000]);
  expect(summary.serverCpuUsPerMessage).toBeCloseTo(600);
  expect(summary.peakRssBytes).toBe(4e6);
  expect(summary.errors).toEqual(["stalled"]);
});

test("the table compares bunsq with nsqd, with a dash for missing measurements", () => {
  const workload = WORKLOADS[0];
  if (workload === undefined) throw new Error("no workloads");
  const both = toMarkdown(makeReport([], 1, [{ workload, runs: { bunsq: [run(1, 0.1)], nsqd: [run(4, 0.8)] } }]));
  expect(both).toMatch(/\| +1,000 \| +250 \| +4\.00× \| +100\.0 \| +800\.0 \| +0\.13× \|/);
  const alone = toMarkdown(makeReport([], 1, [{ workload, runs: { bunsq: [run(1, 0.1)] } }]));
  expect(alone).toMatch(/\| +1,000 \| +– \| +– \|/);
});

test("the report lists the rounds that other processes disturbed", () => {
  const workload = WORKLOADS[0];
  if (workload === undefined) throw new Error("no workloads");
  const disturbed = { ...run(1, 0.1), othersBusy: 0.9 };
  const markdown = toMarkdown(makeReport([], 2, [{ workload, runs: { bunsq: [run(1, 0.1), disturbed], nsqd: [run(1, 0.1)] } }]));
  expect(markdown).toContain("disturbed: mpub of bunsq: 1 of 2.");
});
