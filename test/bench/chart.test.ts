import { expect, test } from "bun:test";
import { barsOf, toSvg } from "../../bench/chart.ts";
import { makeReport, type Result } from "../../bench/support/report.ts";
import { WORKLOADS } from "../../bench/workloads.ts";

const run = (seconds: number, serverCpuSeconds: number) => ({
  messages: 1000,
  seconds,
  serverCpuSeconds,
  generatorCpuSeconds: 0.1,
  othersBusy: 0,
  redelivered: 0,
  peakRssBytes: 1e6,
});

function result(name: string, runs: Result["runs"]): Result {
  const workload = WORKLOADS.find((candidate) => candidate.name === name);
  if (workload === undefined) throw new Error(`no workload ${name}`);
  return { workload, runs };
}

const both = { bunsq: [run(1, 0.1)], nsqd: [run(4, 0.8)] };

test("a bar has bunsq's rate and CPU time as multiples of nsqd's", () => {
  const [bar] = barsOf(makeReport([], 1, [result("mpub", both)]));
  expect(bar?.rate).toBeCloseTo(4);
  expect(bar?.cpu).toBeCloseTo(1 / 8);
});

test("a workload that only one broker completed, or that has a fixed rate, has no bar", () => {
  const report = makeReport([], 1, [
    result("mpub", { bunsq: [run(1, 0.1)] }),
    result("sub", { ...both, nsqd: [{ error: "stalled" }] }),
    result("latency", both),
  ]);
  expect(barsOf(report)).toEqual([]);
  expect(() => toSvg([], "")).toThrow("nothing to draw");
});

test("the chart names each workload and escapes markup", () => {
  const [bar] = barsOf(makeReport([], 1, [result("mpub", both)]));
  if (bar === undefined) throw new Error("no bar");
  const svg = toSvg([bar, { ...bar, title: "a < b & c" }], "here");
  expect(svg).toContain(bar.title);
  expect(svg).toContain("a &lt; b &amp; c");
  expect(svg.match(/<rect /g)).toHaveLength(4);
});
