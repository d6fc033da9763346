/** What a metric is. An info has the value 1, and says something by its labels. */
export type FamilyKind = "counter" | "gauge" | "histogram" | "info";

/** A metric with all its labels' values, as its HELP and TYPE lines and docs/metrics.md describe it. */
export interface Family {
  /** Without the `_total` of a counter and the `_info` of an info. */
  readonly name: string;
  readonly kind: FamilyKind;
  /** What it counts or measures in; the name ends with it. */
  readonly unit?: "seconds" | "bytes" | "messages";
  /** One sentence without a full stop. */
  readonly help: string;
  /** The names of its labels, those left out that `detail` adds. */
  readonly labels?: readonly string[];
}

const SUFFIXES: Partial<Record<FamilyKind, string>> = { counter: "_total", info: "_info" };

/** The name that the samples of a family have; those of a histogram add more to it. */
export function sampleName({ name, kind }: Family): string {
  return name + (SUFFIXES[kind] ?? "");
}
