import { useEffect, useRef } from "preact/hooks";
import type uPlot from "uplot";
import { count, tick } from "../format/numbers.ts";
import { isDark } from "../state/preferences.ts";
import { chartData, lonePoints } from "./chart-data.ts";

export interface Series {
  label: string;
  values: readonly (number | null)[];
  /** A number of the style sheet's series colours. */
  colour: 1 | 2 | 3 | 4 | 5;
  format?: (value: number | null) => string;
}

interface ChartProps {
  /** What it shows, for screen readers. */
  label: string;
  /** Unix time of the first value, ms. */
  from: number;
  stepS: number;
  series: readonly Series[];
}

const HEIGHT_PX = 176;

/** Lines over time. uPlot is loaded when the first chart is shown. */
export function Chart({ label, from, stepS, series }: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const latest = useRef<uPlot.AlignedData>([[]]);
  latest.current = chartData(
    from,
    stepS,
    series.map(({ values }) => values),
  );
  const dark = isDark();
  const names = series.map((line) => line.label).join();

  useEffect(() => {
    const parent = box.current;
    if (parent === null) return;
    let isGone = false;
    const resized = new ResizeObserver(() => plot.current?.setSize({ width: parent.clientWidth, height: HEIGHT_PX }));
    void import("uplot").then(({ default: UPlot }) => {
      if (isGone) return;
      plot.current = new UPlot(options(parent, series), latest.current, parent);
      resized.observe(parent);
    });
    return () => {
      isGone = true;
      resized.disconnect();
      plot.current?.destroy();
      plot.current = undefined;
    };
    // The colours are those of the theme.
  }, [names, dark]);

  useEffect(() => plot.current?.setData(latest.current), [from, series]);

  return <div class="chart" ref={box} role="img" aria-label={`${label}. ${series.map(summary).join("; ")}`} />;
}

function options(parent: HTMLElement, series: readonly Series[]): uPlot.Options {
  const style = getComputedStyle(parent);
  const colour = (name: string) => style.getPropertyValue(name).trim();
  const axis = {
    stroke: colour("--muted"),
    font: "11px system-ui, sans-serif",
    grid: { stroke: colour("--grid"), width: 1 },
    ticks: { stroke: colour("--grid"), width: 1, size: 4 },
  };
  return {
    width: parent.clientWidth,
    height: HEIGHT_PX,
    legend: { live: true },
    // Away from the chart the legend has the last values.
    hooks: { setCursor: [showLast], ready: [showLast], setData: [showLast] },
    cursor: { drag: { x: false, y: false }, points: { size: 6 } },
    scales: { y: { range: (_, __, max) => [0, max > 0 ? max * 1.08 : 1] } },
    axes: [
      { ...axis, size: 30, values: (_, ticks) => ticks.map(hourAndMinute) },
      { ...axis, size: 52, values: (_, ticks) => ticks.map(tick) },
    ],
    series: [
      { label: "at", value: (_, value) => (value === null ? "–" : hourAndMinute(value)) },
      ...series.map((line) => ({
        label: line.label,
        stroke: colour(`--series-${line.colour}`),
        width: 1.5,
        // A value between two unknown ones is no line.
        points: { show: false, filter: (plot: uPlot, at: number) => lonePoints(plot.data[at] ?? []), size: 4 },
        value: (_: uPlot, value: number | null) => (line.format ?? count)(value),
      })),
    ],
  };
}

function showLast(plot: uPlot): void {
  if (plot.cursor.idx !== null && plot.cursor.idx !== undefined) return;
  const [, ...series] = plot.data;
  const last = Math.max(...series.map((values) => values.findLastIndex((value) => value !== null)));
  if (last >= 0) plot.setLegend({ idx: last }, false);
}

function hourAndMinute(seconds: number): string {
  const date = new Date(seconds * 1000);
  return `${String(date.getHours()).padStart(2, "0")}:${String(date.getMinutes()).padStart(2, "0")}`;
}

function summary({ label, values, format = count }: Series): string {
  const known = values.filter((value) => value !== null);
  if (known.length === 0) return `${label} unknown`;
  return `${label} now ${format(known.at(-1) ?? null)}, at most ${format(known.reduce((max, value) => Math.max(max, value), 0))}`;
}
