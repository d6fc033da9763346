import { describe, expect, test } from "bun:test";
import { LatencyWindow, newSketch, RELATIVE_ACCURACY } from "../../../src/broker/latency/latency-window.ts";
import { type LatencyStats, percentilesOf, printLatency } from "../../../src/broker/latency/percentiles.ts";
import { readStats } from "../../../src/broker/metrics/stats.ts";
import { notePublished, sinceStartNs } from "../../../src/broker/topics/channel/latency-recorder.ts";
import { Window } from "../../../src/broker/topics/channel/window.ts";
import { FRAME_TYPE_MESSAGE } from "../../../src/frame/frame.ts";
import { InProcess, messages } from "../../support/in-process.ts";
import type { RawClient } from "../../support/raw-client.ts";
import { until } from "../../support/server.ts";

const MS = 1e6;

function read(window: LatencyWindow, nowMs: number, percentiles: number[]): LatencyStats {
  const sketch = newSketch();
  window.addTo(sketch, nowMs);
  return percentilesOf(percentiles, sketch);
}

function countAt(window: LatencyWindow, nowMs: number): number {
  return read(window, nowMs, [1]).count;
}

describe("the window of latencies", () => {
  test("returns percentiles within the accuracy of its sketch", () => {
    const window = new LatencyWindow(1000, 0);
    for (let i = 1; i <= 10_000; i++) window.record(i * MS, 0);
    const { count, percentiles } = read(window, 0, [1, 0.99, 0.5, 0.001]);
    expect(count).toBe(10_000);
    for (const { quantile, value } of percentiles ?? []) {
      const exact = quantile * 10_000 * MS;
      expect(Math.abs(value - exact) / exact).toBeLessThanOrEqual(RELATIVE_ACCURACY + 0.001);
      expect(Number.isInteger(value)).toBe(true);
    }
    expect(percentiles?.[0]).toEqual({ quantile: 1, value: 10_000 * MS });
  });

  test("returns a single latency exactly", () => {
    const window = new LatencyWindow(1000, 0);
    window.record(123_456_789, 0);
    expect(read(window, 0, [0.99, 0.5]).percentiles?.map(({ value }) => value)).toEqual([123_456_789, 123_456_789]);
  });

  test("keeps each latency for half a window at least and a whole one at most", () => {
    const window = new LatencyWindow(1000, 0);
    window.record(MS, 100);
    expect(countAt(window, 500)).toBe(1);
    window.record(MS, 600);
    expect(countAt(window, 999)).toBe(2);
    expect(countAt(window, 1001)).toBe(1);
    expect(countAt(window, 1501)).toBe(0);
    window.record(MS, 1600);
    expect(countAt(window, 100_000)).toBe(0);
    window.record(MS, 100_001);
    expect(countAt(window, 100_400)).toBe(1);
  });

  test("goes on after the clock was set back, and counts a negative latency as 0", () => {
    const window = new LatencyWindow(1000, 1_000_000);
    window.record(-5 * MS, 500);
    window.record(-1, 500);
    expect(read(window, 500, [1, 0.5])).toEqual({
      count: 2,
      percentiles: [
        { quantile: 1, value: 0 },
        { quantile: 0.5, value: 0 },
      ],
    });
    expect(countAt(window, 2000)).toBe(0);
  });

  test("returns zeros when it has no latency", () => {
    expect(read(new LatencyWindow(1000, 0), 0, [0.9])).toEqual({ count: 0, percentiles: [{ quantile: 0.9, value: 0 }] });
  });
});

test("latencies are shown in the largest unit that they exceed", () => {
  const shown = (...values: number[]) => printLatency({ count: 1, percentiles: values.map((value) => ({ quantile: 1, value })) });
  expect(shown(0, 999, 1000)).toBe("0.0ns, 999.0ns, 1000.0ns");
  expect(shown(1001, 1_000_000, 12_340_000)).toBe("1.0us, 1000.0us, 12.3ms");
  expect(shown(1e9, 1.26e9, 7.2e12)).toBe("1000.0ms, 1.3s, 7200.0s");
  expect(printLatency({ count: 0, percentiles: null })).toBe("");
});

test("a window keeps when its messages were published as it grows, moves and shrinks", () => {
  const window = new Window(0, true);
  const high = Math.floor((Date.now() * MS) / 2 ** 32);
  const frames = (from: number, count: number): DataView => {
    const view = new DataView(new ArrayBuffer(34 * count));
    for (let i = 0; i < count; i++) {
      view.setUint32(34 * i, 30);
      view.setUint32(34 * i + 4, FRAME_TYPE_MESSAGE);
      view.setUint32(34 * i + 8, high);
      view.setUint32(34 * i + 12, from + i);
    }
    return view;
  };
  const take = (count: number): void => {
    const first = window.cursor;
    const view = frames(first, count);
    expect(window.takeRun(view, 0, 0, view.byteLength, count, view.byteLength, 1, 0, 0)).toBe(count);
    notePublished(window, view, 0, first, count);
  };
  const check = (): void => {
    for (let sequence = window.floor; sequence < window.cursor; sequence++) {
      expect(window.publishedNs?.[sequence & window.mask]).toBe(sinceStartNs(high, sequence));
    }
  };
  take(1000);
  for (let sequence = 0; sequence < 900; sequence++) window.finish(sequence);
  take(900);
  check();
  expect(window.grow()).toBe(true);
  take(900);
  check();
  for (let sequence = window.floor; sequence < window.cursor; sequence++) window.finish(sequence);
  window.shrink();
  expect(window.publishedNs?.length).toBe(window.capacity);
  take(1024);
  check();
});

describe("a broker", () => {
  const latencies = (started: InProcess, topic: string) => {
    const stats = readStats(started.broker, topic, "", false).topics?.[0];
    return { topic: stats?.e2e_processing_latency, channels: stats?.channels.map((channel) => channel.e2e_processing_latency) };
  };
  const finishNext = async (client: RawClient): Promise<void> => {
    const message = await client.message();
    client.command(`FIN ${message.id}`);
  };

  test("that is not asked for percentiles does not measure latencies", async () => {
    await using started = InProcess.start();
    const consumer = await started.consumer("t", "ch", 1);
    await started.publish("t", "m");
    await finishNext(consumer);
    await until("it is finished", () => started.broker.registry.topic("t").channel("ch").inFlightCount === 0);
    expect(latencies(started, "t")).toEqual({ topic: { count: 0, percentiles: null }, channels: [{ count: 0, percentiles: null }] });
    expect(started.broker.registry.topic("t").channel("ch").partitions[0].inFlight.window.publishedNs).toBeUndefined();
  });

  test("shows percentiles in descending order, for each channel and for all channels of a topic", async () => {
    await using started = InProcess.start({ e2eProcessingLatencyPercentiles: [0.5, 1, 0.9] });
    const one = await started.consumer("t", "one", 10);
    const two = await started.consumer("t", "two", 10);
    await started.publish("t", "a", "b", "c");
    for (let i = 0; i < 3; i++) await finishNext(one);
    await finishNext(two);
    await until("four are finished", () => latencies(started, "t").topic?.count === 4);
    const { topic, channels } = latencies(started, "t");
    expect(channels?.map(({ count }) => count)).toEqual([3, 1]);
    expect(topic?.percentiles?.map(({ quantile }) => quantile)).toEqual([1, 0.9, 0.5]);
    for (const { value } of topic?.percentiles ?? []) {
      expect(value).toBeGreaterThanOrEqual(0);
      expect(value).toBeLessThan(60e9);
    }
    started.broker.registry.topic("empty");
    expect(latencies(started, "empty").topic).toEqual({ count: 0, percentiles: null });
    started.broker.registry.topic("idle").channel("ch");
    expect(latencies(started, "idle").channels?.[0]).toEqual({
      count: 0,
      percentiles: [1, 0.9, 0.5].map((quantile) => ({ quantile, value: 0 })),
    });
  });

  test("counts messages that are finished in order and out of order", async () => {
    await using started = InProcess.start({ e2eProcessingLatencyPercentiles: [1, 0.5] });
    const consumer = await started.consumer("t", "ch", 100);
    await started.publish("t", ...Array.from({ length: 100 }, (_, i) => `${i}`));
    const all = await messages(consumer, 100);
    const order = [...all.slice(0, 40), ...all.slice(60).reverse(), ...all.slice(40, 60)];
    consumer.write(order.map(({ id }) => `FIN ${id}\n`).join(""));
    await until("all are finished", () => started.broker.registry.topic("t").channel("ch").inFlightCount === 0);
    const { count, percentiles } = latencies(started, "t").channels?.[0] ?? {};
    expect(count).toBe(100);
    for (const { value } of percentiles ?? []) expect(value).toBeLessThan(60e9);
  });

  test("measures from the publish, wherever the message was until it was finished", async () => {
    await using started = InProcess.start({ e2eProcessingLatencyPercentiles: [1] });
    const consumer = await started.consumer("t", "ch", 1);
    const latest = () => latencies(started, "t").channels?.[0];
    const began = performance.now();
    await started.publish("t", "m");
    // It is requeued at once, after a short time in the window, and after a longer time in the deferred store.
    for (const delayMs of [0, 50, 300]) consumer.command(`REQ ${(await consumer.message()).id} ${delayMs}`);
    const [message] = await messages(consumer, 1);
    expect(message?.attempts).toBe(4);
    const finishedMs = Date.now();
    consumer.command(`FIN ${message?.id}`);
    await until("it is finished", () => latest()?.count === 1);
    const tookNs = latest()?.percentiles?.[0]?.value ?? 0;
    expect(tookNs).toBeGreaterThan(345 * MS);
    expect(tookNs).toBeLessThan((performance.now() - began + 5) * MS);
    // The frame has the time of the publish.
    expect(tookNs).toBeGreaterThan((finishedMs - 5) * MS - Number(message?.timestampNs));
    // A FIN that is refused is not measured.
    consumer.command(`FIN ${message?.id}`);
    expect((await consumer.next()).text).toStartWith("E_FIN_FAILED");
    expect(latest()?.count).toBe(1);
  });

  test("measures messages that it delivered before a restart", async () => {
    await using started = InProcess.start({ e2eProcessingLatencyPercentiles: [1] });
    const first = await started.consumer("t", "ch", 2);
    await started.publish("t", "a", "b");
    const publishedMs = Number((await messages(first, 2))[0]!.timestampNs / 1_000_000n);
    await started.restart();
    const second = await started.consumer("t", "ch", 2);
    const again = await messages(second, 2);
    for (const { id } of again) second.command(`FIN ${id}`);
    await until("both are finished", () => latencies(started, "t").channels?.[0]?.count === 2);
    const tookMs = (latencies(started, "t").channels?.[0]?.percentiles?.[0]?.value ?? 0) / MS;
    expect(tookMs).toBeGreaterThan(0);
    expect(tookMs).toBeLessThan(Date.now() - publishedMs + 5);
  });
});
