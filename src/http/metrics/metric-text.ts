import type { Histogram } from "../../base/histogram.ts";
import type { SliceBuffer } from "../server/slices.ts";
import { type Family, sampleName } from "./family.ts";

/** `text` is Prometheus' text format 0.0.4, `openmetrics` is OpenMetrics 1.0. */
export type MetricFormat = "text" | "openmetrics";

/** Lines with one value that are written in one step of an answer: a step costs about as much as a line. */
export const LINES_PER_STEP = 16;
const MS_PER_S = 1000;

/** More than a slice. */
const FIRST_BYTES = 64 * 1024;
/** UTF-8 has at most this many for a character of a string. */
const BYTES_PER_CHARACTER = 3;
/** Numbers below it are written digit by digit. */
const DIGITS_BELOW = 1e9;
const ZERO = 0x30;
const NEW_LINE = 0x0a;
const SPACE = 0x20;
const CLOSING_BRACE = 0x7d;

/**
 * Writes metrics as text, to be taken piece by piece. The lines are written as bytes: put together as strings, those of thousands of
 * channels were so much garbage that its collection held everybody for longer than a slice.
 */
export class MetricText implements SliceBuffer<Uint8Array<ArrayBuffer>> {
  private bytes = Buffer.allocUnsafeSlow(FIRST_BYTES);
  private written = 0;
  /** The name of the samples of the family that is being written, and what their lines with labels begin with. */
  private name = "";
  private beginning = "";

  constructor(private readonly format: MetricFormat) {}

  get length(): number {
    return this.written;
  }

  take(): Uint8Array<ArrayBuffer> {
    const taken = new Uint8Array(this.bytes.subarray(0, this.written));
    this.written = 0;
    return taken;
  }

  /** Begins a family. All its samples have to follow. */
  family(family: Family): void {
    const { kind, unit, help } = family;
    this.name = sampleName(family);
    this.beginning = `${this.name}{`;
    const isOpen = this.format === "openmetrics";
    const name = isOpen ? family.name : this.name;
    this.write(`# HELP ${name} ${isOpen ? escapeText(help) : escapeHelp(help)}.\n`);
    this.write(`# TYPE ${name} ${!isOpen && kind === "info" ? "gauge" : kind}\n`);
    if (isOpen && unit !== undefined) this.write(`# UNIT ${name} ${unit}\n`);
  }

  /** @param labels as labels() makes them; empty: none */
  sample(labels: string, value: number): void {
    if (labels === "") {
      this.write(this.name);
    } else {
      this.write(this.beginning);
      this.write(labels);
      this.bytes[this.written++] = CLOSING_BRACE;
    }
    this.bytes[this.written++] = SPACE;
    this.writeNumber(value);
    this.bytes[this.written++] = NEW_LINE;
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
      this.write(`${this.name}_bucket{${before}le="${bound}"} ${count}\n`);
    }
    this.write(`${this.name}_sum${behind} ${numberText(sum / unit)}\n${this.name}_count${behind} ${count}\n`);
  }

  end(): void {
    if (this.format === "openmetrics") this.write("# EOF\n");
  }

  private writeNumber(value: number): void {
    if (value >= DIGITS_BELOW || value < 0 || !Number.isInteger(value)) return this.write(numberText(value));
    let digits = 1;
    for (let above = 10; above <= value; above *= 10) digits++;
    let rest = value;
    for (let at = this.written + digits - 1; at >= this.written; at--) {
      const tenth = Math.floor(rest / 10);
      this.bytes[at] = ZERO + rest - tenth * 10;
      rest = tenth;
    }
    this.written += digits;
  }

  /** Leaves room for a number of less than DIGITS_BELOW and for what is around it. */
  private write(text: string): void {
    const most = text.length * BYTES_PER_CHARACTER + 16;
    if (this.written + most > this.bytes.length) this.grow(most);
    this.written += this.bytes.write(text, this.written);
  }

  private grow(by: number): void {
    const larger = Buffer.allocUnsafeSlow(2 * this.bytes.length + by);
    larger.set(this.bytes.subarray(0, this.written));
    this.bytes = larger;
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
