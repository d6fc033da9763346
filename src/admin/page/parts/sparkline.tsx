const WIDTH = 72;
const HEIGHT = 18;

interface SparklineProps {
  values: readonly (number | null)[];
  /** A number of the style sheet's series colours. */
  series?: 1 | 2 | 3;
  wide?: boolean;
}

/** The last values as a line. A gap is where nothing was measured. The figure itself stands beside it, so screen readers skip the line. */
export function Sparkline({ values, series = 1, wide = false }: SparklineProps) {
  const width = wide ? WIDTH * 2.5 : WIDTH;
  const height = wide ? HEIGHT * 1.8 : HEIGHT;
  return (
    <svg class={`sparkline series-${series}`} width={width} height={height} viewBox={`0 0 ${width} ${height}`} aria-hidden="true">
      <path d={sparkPath(values, width, height)} />
    </svg>
  );
}

/** The path of a line through the values, which fill the height from 0 to the largest. */
export function sparkPath(values: readonly (number | null)[], width: number, height: number): string {
  const largest = values.reduce<number>((max, value) => Math.max(max, value ?? 0), 0) || 1;
  const step = width / Math.max(1, values.length - 1);
  let path = "";
  let isGap = true;
  for (const [index, value] of values.entries()) {
    if (value === null) {
      isGap = true;
      continue;
    }
    const y = height - 1 - (Math.max(0, value) / largest) * (height - 2);
    path += `${isGap ? "M" : "L"}${(index * step).toFixed(1)} ${y.toFixed(1)}`;
    isGap = false;
  }
  return path;
}
