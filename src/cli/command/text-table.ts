/** A column of a table. */
export interface Column<Row> {
  title: string;
  /** Numbers are flush right. */
  isNumber?: boolean;
  text(row: Row): string;
}

/** The lines of a table, with its titles first. Columns are as wide as what is in them. */
export function tableLines<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): string[] {
  const cells = [columns.map(({ title }) => title), ...rows.map((row) => columns.map((column) => column.text(row)))];
  const widths = columns.map((_, at) => Math.max(...cells.map((line) => Bun.stringWidth(line[at] ?? ""))));
  return cells.map((line) =>
    line
      .map((text, at) => {
        const space = " ".repeat((widths[at] ?? 0) - Bun.stringWidth(text));
        return columns[at]?.isNumber ? space + text : text + space;
      })
      .join("  ")
      .trimEnd(),
  );
}

const UNITS = ["", "k", "M", "G", "T"] as const;

/** A count in at most five characters: 12345 is `12.3k`. */
export function shortCount(count: number): string {
  let value = count;
  let unit = 0;
  while (Math.abs(value) >= 9_999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  const isWhole = unit === 0 || Math.abs(value) >= 99.95;
  return (isWhole ? value.toFixed(0) : value.toFixed(1)) + UNITS[unit];
}

/** How long something took or takes: `4.2s`, `3m10s`, `5h02m`, `12d04h`. */
export function shortDuration(ms: number): string {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 60) return seconds < 9.95 ? `${seconds.toFixed(1)}s` : `${Math.floor(seconds)}s`;
  const pair = (value: number, large: string, part: number, small: string) =>
    `${Math.floor(value / part)}${large}${String(Math.floor(value % part)).padStart(2, "0")}${small}`;
  if (seconds < 3600) return pair(seconds, "m", 60, "s");
  return seconds < 86_400 ? pair(seconds / 60, "h", 60, "m") : pair(seconds / 3600, "d", 24, "h");
}
