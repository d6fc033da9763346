/**
 * Draws the chart of docs/performance.md from the measurements of bench/versus.ts:
 *
 *     bun bench/chart.ts out.json docs/performance.svg
 *
 * It has one line for each workload that both brokers completed: bunsq's messages per second and its CPU time per message, as
 * multiples of nsqd's. The axis is logarithmic, so that 2× and ½ are equally far from 1. The figures are beside the bars.
 */
import { readFileSync, writeFileSync } from "node:fs";
import type { Report } from "./support/report.ts";

const LINE_PX = 26;
const BAR_PX = 14;
const TITLE_PX = 400;
const PANEL_PX = 300;
/** The room for the figures beside the bars. */
const FIGURES_PX = 210;
const HEAD_PX = 64;
const FOOT_PX = 30;
const WIDTH_PX = TITLE_PX + 2 * (PANEL_PX + FIGURES_PX);

/** Colours that are readable on a white page and on a dark one. */
const COLOURS = { bar: "#3b82c4", worse: "#c4623b", axis: "#8a8a8a", text: "#6b6b6b" };

export interface Bar {
  title: string;
  /** bunsq's value divided by nsqd's. */
  rate: number;
  rates: [bunsq: number, nsqd: number];
  cpu: number;
  cpus: [bunsqUs: number, nsqdUs: number];
}

/** The bars of the workloads that both brokers completed and that measure throughput. */
export function barsOf(report: Report): Bar[] {
  return report.results.flatMap(({ workload, summaries: { bunsq, nsqd } }) => {
    // At a fixed rate or without messages there is no throughput to compare.
    if (workload.load.kind === "latency" || workload.load.kind === "idle" || bunsq === undefined || nsqd === undefined) return [];
    const rates: [number, number] = [bunsq.messagesPerSecond, nsqd.messagesPerSecond];
    const cpus: [number, number] = [bunsq.serverCpuUsPerMessage, nsqd.serverCpuUsPerMessage];
    const bar = { title: workload.title, rate: rates[0] / rates[1], rates, cpu: cpus[0] / cpus[1], cpus };
    return bar.rate > 0 && bar.cpu > 0 && Number.isFinite(bar.rate + bar.cpu) ? [bar] : [];
  });
}

/** @param note the line at the foot: machine, versions, rounds */
export function toSvg(bars: Bar[], note: string): string {
  if (bars.length === 0) throw new Error("nothing to draw: no workload was completed by both brokers");
  const height = HEAD_PX + bars.length * LINE_PX + FOOT_PX;
  const rate = panel(
    TITLE_PX,
    "messages per second, multiple of nsqd",
    bars.map((bar) => ({ value: bar.rate, better: bar.rate >= 1, figures: `${thousands(bar.rates[0])} : ${thousands(bar.rates[1])}` })),
  );
  const cpu = panel(
    TITLE_PX + PANEL_PX + FIGURES_PX,
    "CPU per message, multiple of nsqd",
    bars.map((bar) => ({ value: bar.cpu, better: bar.cpu <= 1, figures: `${bar.cpus[0].toFixed(2)} : ${bar.cpus[1].toFixed(2)} µs` })),
  );
  const titles = bars.map((bar, n) => text(TITLE_PX - 10, middle(n), bar.title, "end"));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH_PX} ${height}" font-family="sans-serif" font-size="12" role="img">`,
    "<title>bunsq and nsqd: messages per second and CPU per message</title>",
    ...titles,
    ...rate,
    ...cpu,
    text(10, height - 10, note, "start"),
    "</svg>",
    "",
  ].join("\n");
}

interface PanelBar {
  value: number;
  better: boolean;
  figures: string;
}

function panel(left: number, title: string, bars: PanelBar[]): string[] {
  const logs = bars.map(({ value }) => Math.log2(value));
  // The axis has whole doublings and always includes 1, which is nsqd.
  const low = Math.min(0, Math.floor(Math.min(...logs)));
  const high = Math.max(0, Math.ceil(Math.max(...logs)), low + 1);
  const x = (log: number) => left + ((log - low) / (high - low)) * PANEL_PX;
  const bottom = HEAD_PX + bars.length * LINE_PX;
  const lines = [text(left, 18, title, "start", true)];
  for (let log = low; log <= high; log++) {
    const width = log === 0 ? 1.5 : 0.5;
    const at = x(log).toFixed(1);
    lines.push(`<line x1="${at}" y1="${HEAD_PX - 12}" x2="${at}" y2="${bottom}" stroke="${COLOURS.axis}" stroke-width="${width}"/>`);
    lines.push(text(x(log), HEAD_PX - 18, log === 0 ? "1" : log > 0 ? `${2 ** log}×` : `1/${2 ** -log}`, "middle"));
  }
  for (const [n, { value, better, figures }] of bars.entries()) {
    const [from, to] = [x(0), x(Math.log2(value))];
    const fill = better ? COLOURS.bar : COLOURS.worse;
    const box = `x="${Math.min(from, to).toFixed(1)}" y="${middle(n) - BAR_PX / 2}" width="${Math.abs(to - from).toFixed(1)}"`;
    lines.push(`<rect ${box} height="${BAR_PX}" fill="${fill}"/>`);
    lines.push(text(left + PANEL_PX + 8, middle(n), `${value.toFixed(2)}×   ${figures}`, "start"));
  }
  return lines;
}

function middle(line: number): number {
  return HEAD_PX + line * LINE_PX + LINE_PX / 2;
}

function text(x: number, y: number, content: string, anchor: "start" | "middle" | "end", bold = false): string {
  const weight = bold ? ' font-weight="bold"' : "";
  return `<text x="${x.toFixed(1)}" y="${y}" fill="${COLOURS.text}" text-anchor="${anchor}" dominant-baseline="middle"${weight}>${Bun.escapeHTML(content)}</text>`;
}

function thousands(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

if (import.meta.main) {
  const [from, to] = process.argv.slice(2);
  if (from === undefined || to === undefined) {
    console.error("usage: bun bench/chart.ts <JSON of bench/versus.ts> <SVG to write>");
    process.exit(2);
  }
  const report: Report = JSON.parse(readFileSync(from, "utf8"));
  writeFileSync(to, toSvg(barsOf(report), `${report.machine}; ${report.versions.join("; ")}; medians of ${report.rounds} rounds`));
}
