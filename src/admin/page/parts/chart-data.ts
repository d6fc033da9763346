import type uPlot from "uplot";

/** A history that has just begun fills at least this part of the chart. */
const LEAST_PART = 1 / 12;

/** Where the values are that have no neighbour, so that no line leads to them. */
export function lonePoints(values: ArrayLike<number | null | undefined>): number[] {
  const isKnown = (at: number) => typeof values[at] === "number";
  return Array.from({ length: values.length }, (_, at) => at).filter((at) => isKnown(at) && !isKnown(at - 1) && !isKnown(at + 1));
}

/**
 * What uPlot draws: the times in s, and the values at these. A console that was started a while ago knows nothing from before: that part
 * is left out, so that what there is fills the chart.
 *
 * @param from the time of the first values, ms
 */
export function chartData(from: number, stepS: number, series: readonly (readonly (number | null)[])[]): uPlot.AlignedData {
  const length = Math.max(0, ...series.map((values) => values.length));
  const first = Math.min(length, ...series.map((values) => values.findIndex((value) => value !== null)).filter((index) => index >= 0));
  const begin = Math.max(0, Math.min(first, Math.floor(length * (1 - LEAST_PART))));
  const times = Array.from({ length: length - begin }, (_, index) => from / 1000 + (begin + index) * stepS);
  return [times, ...series.map((values) => values.slice(begin))];
}
