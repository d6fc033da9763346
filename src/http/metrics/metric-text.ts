import type { Histogram } from "../../base/histogram.ts";
import { type Family, sampleName } from "./family.ts";

/** `text` is Prometheus' text format 0.0.4, `openmetrics` is OpenMetrics 1.0. */
export type MetricFormat = "text" | "openmetrics";

const MS_PER_S = 1000;

/** Writes metrics as text, to be taken piece by piece. */
export class MetricText {
  private written = "";
  /** The name of the samples of the family that is being written. */
  private name = "";

  constructor(private readonly format: MetricFormat) {}

  /** Characters that wait to be taken. */
  get length(): number {
    return this.written.length;
  }

  /** Takes what was written since the last call. */
  take(): string {
    const { written } = this;
    this.written = "";
    return written;
  }

  /** Begins a family. All its samples have to follow. */
  family(family: Family): void {
    const { kind, unit, help } = family;
    this.name = sampleName(family);
    const isOpen = this.format === "openmetrics";
    const name = isOpen ? family.name : this.name;
    this.written += `# HELP ${name} ${isOpen ? escapeText(help) : escapeHelp(help)}.\n# TYPE ${name} ${!isOpen && kind === "info" ? "gauge" : kind}\n`;
    if (isOpen && unit !== undefined) this.written += `# UNIT ${name} ${unit}\n`;
  }

  /** @param labels as labels() makes them; empty: none */
  sample(labels: string, value: number): void {
    this.written += labels === "" ? `${this.name} ${numberText(value)}\n` : `${this.name}{${labels}} ${numberText(value)}\n`;
  }

  /** Writes the samples of a histogram. @param isMs its values are ms, and seconds are written */
  histogram(labels: string, { bounds, counts, sum }: Histogram, isMs: boolean): void {
    const unit = isMs ? MS_PER_S : 1;
    const before = labels === "" ? "" : `${labels},`;
    const behind = labels === "" ? "" : `{${labels}}`;
    let count = 0;
    for (let range = 0; range < counts.length; range++) {
      count += counts[range];
      const bound = range < bounds.length ? boundText(bounds[range] / unit) : "+Inf";
      this.written += `${this.name}_bucket{${before}le="${bound}"} ${count}\n`;
    }
    this.written += `${this.name}_sum${behind} ${numberText(sum / unit)}\n${this.name}_count${behind} ${count}\n`;
  }

  /** To be called when everything is written. */
  end(): void {
    if (this.format === "openmetrics") this.written += "# EOF\n";
  }
}

/** Labels with their values, escaped: `topic="orders",channel="mail"`. */
export function labels(values: Readonly<Record<string, string>>): string {
  let text = "";
  for (const name in values) text += `${text === "" ? "" : ","}${name}="${escapeLabel(values[name])}"`;
  return text;
}

function escapeLabel(value: string): string {
  if (!/[\\"\n\ud800-\udfff]/.test(value)) return value;
  return escapeText(value.toWellFormed());
}

/** A label's value, and in OpenMetrics the text of HELP. */
function escapeText(text: string): string {
  return escapeHelp(text).replaceAll('"', '\\"');
}

function escapeHelp(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}

function numberText(value: number): string {
  if (Number.isFinite(value)) return String(value);
  return Number.isNaN(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf";
}

/** OpenMetrics wants a point in each bound; both formats have the same, so that a change of format starts no new series. */
function boundText(bound: number): string {
  return Number.isInteger(bound) ? `${bound}.0` : String(bound);
}
