import { sparkPath } from "./spark-path.ts";

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
