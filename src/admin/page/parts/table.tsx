import { Component, type ComponentChildren, createRef } from "preact";
import { VirtualWindow } from "./virtual-window.ts";

export interface Column<Row> {
  /** Names the column in `sort`; a column without a sort cannot be sorted by. */
  sort?: string;
  title: string;
  /** Said of the column where its title is short. */
  hint?: string;
  isNumber?: boolean;
  /** In px. Columns without a width share the rest. */
  width?: number;
  /** 2 is hidden on narrow screens, 3 also on those of middle width, 4 on all but wide ones. */
  priority?: 2 | 3 | 4;
  cell(row: Row): ComponentChildren;
}

/** All rows there are, of which `rows` are those from `offset` on. */
export interface Paging {
  total: number;
  offset: number;
  /** Asks for the rows from an offset on. */
  onWindow(offset: number): void;
}

interface TableProps<Row> {
  /** What the table is about, for screen readers. */
  label: string;
  columns: readonly Column<Row>[];
  rows: readonly Row[];
  rowKey(row: Row): string;
  /** As in the API: a name, with `-` in front if it goes downwards. */
  sort?: string;
  onSort?: (sort: string) => void;
  /** Given, only the rows in sight are in the document. */
  paging?: Paging;
  empty: ComponentChildren;
  /** Marks a row: `bad`, `warn`, `off`. */
  tone?: (row: Row) => string;
}

/** Also the height of a row in the style sheet. */
const ROW_HEIGHT_PX = 32;
/** A column that shares the rest gets at least this: where there is less room the table scrolls sideways. */
const LEAST_SHARE_PX = [110, 180, 220, 220];
/** Rows above and below those in sight. */
const SPARE_ROWS = 8;

interface TableState {
  /** The first row in the document, and the one behind the last. */
  first: number;
  end: number;
}

/** A table whose columns sort on the server. With `paging` it may have any number of rows: those out of sight are two empty spaces. */
export class Table<Row> extends Component<TableProps<Row>, TableState> {
  override state: TableState = { first: 0, end: 60 };
  private readonly box = createRef<HTMLElement>();
  private readonly virtual = new VirtualWindow(ROW_HEIGHT_PX, SPARE_ROWS);
  /** Where the box was when it was scrolled or resized last: to ask it after each change would have the browser lay out all rows at once. */
  private scrollTop = 0;
  private height = 0;
  private readonly onResize = new ResizeObserver(() => this.measure());

  override componentDidMount(): void {
    if (this.box.current !== null) this.onResize.observe(this.box.current);
    this.measure();
  }

  override componentDidUpdate(): void {
    this.look();
  }

  override componentWillUnmount(): void {
    this.onResize.disconnect();
    this.virtual.stop();
  }

  private measure(): void {
    const box = this.box.current;
    if (this.props.paging === undefined || box === null) return;
    this.scrollTop = box.scrollTop;
    this.height = box.clientHeight;
    this.look();
  }

  /** Draws the rows in sight, and asks for those that are not here. */
  private look(): void {
    const { paging, rows } = this.props;
    if (paging === undefined) return;
    const { first, end } = this.virtual.inSight(this.scrollTop, this.height, paging.total);
    if (first !== this.state.first || end !== this.state.end) this.setState({ first, end });
    this.virtual.ask(first, end, paging.offset, rows.length, paging.onWindow);
  }

  /** Up and down go from row to row, Home and End to the first and last in the document. */
  private readonly onKey = (event: KeyboardEvent): void => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step === undefined || !(event.target instanceof HTMLElement)) return;
    const row = event.target.closest("tr");
    const links = [...(this.box.current?.querySelectorAll<HTMLElement>("tbody tr .row-link") ?? [])];
    const index = links.findIndex((link) => link.closest("tr") === row);
    const next = links[index + step];
    if (index < 0 || next === undefined) return;
    event.preventDefault();
    next.focus();
  };

  render({ label, columns, rows, rowKey, sort, onSort, paging, empty, tone }: TableProps<Row>, { first, end }: TableState) {
    const total = paging?.total ?? rows.length;
    const offset = paging?.offset ?? 0;
    const from = paging === undefined ? 0 : Math.min(first, total);
    const to = paging === undefined ? total : Math.min(end, total);
    const indices = Array.from({ length: Math.max(0, to - from) }, (_, at) => from + at);
    return (
      <section
        class={paging === undefined ? "table-box" : "table-box virtual"}
        ref={this.box}
        aria-label={label}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a part that scrolls has to be reachable by keyboard.
        tabIndex={0}
        onScroll={() => this.measure()}
        onKeyDown={this.onKey}
      >
        <table aria-rowcount={total + 1} style={leastWidths(columns)}>
          <thead>
            <tr aria-rowindex={1}>
              {columns.map((column) => (
                <Heading key={column.title} column={column} sort={sort} onSort={onSort} />
              ))}
            </tr>
          </thead>
          <tbody>
            {from > 0 && <Space rows={from} />}
            {indices.map((index) => {
              const row = rows[index - offset];
              return row === undefined ? (
                <tr key={`loading ${index}`} class="loading" aria-rowindex={index + 2}>
                  <td>loading …</td>
                </tr>
              ) : (
                <TableRow key={rowKey(row)} row={row} index={index} columns={columns} tone={tone?.(row) ?? ""} />
              );
            })}
            {to < total && <Space rows={total - to} />}
          </tbody>
        </table>
        {total === 0 && <p class="empty">{empty}</p>}
      </section>
    );
  }
}

/** The least width of the table on screens of each width, by the columns that it has there, as variables for the style sheet. */
function leastWidths(columns: readonly Column<never>[]): Record<string, string> {
  return Object.fromEntries(
    LEAST_SHARE_PX.map((share, index) => {
      const shown = columns.filter(({ priority = 1 }) => priority <= index + 1);
      return [`--least-${index + 1}`, `${shown.reduce((sum, { width = share }) => sum + width, 0)}px`];
    }),
  );
}

/** One cell is enough: a span over columns that are hidden would give them room again. */
function Space({ rows }: { rows: number }) {
  return (
    // biome-ignore lint/a11y/noAriaHiddenOnFocusable: an empty row takes no focus.
    <tr class="space" aria-hidden="true">
      <td style={{ height: `${rows * ROW_HEIGHT_PX}px` }} />
    </tr>
  );
}

interface HeadingProps {
  column: Column<never>;
  sort: string | undefined;
  onSort: ((sort: string) => void) | undefined;
}

function Heading({ column, sort, onSort }: HeadingProps) {
  const { title, hint, isNumber, width } = column;
  const name = column.sort;
  const style = width === undefined ? undefined : { width: `${width}px` };
  const label = hint === undefined ? title : <abbr title={hint}>{title}</abbr>;
  if (name === undefined || onSort === undefined) {
    return (
      <th scope="col" class={cellClass(column)} style={style}>
        {label}
      </th>
    );
  }
  const isDown = sort === `-${name}`;
  const isUp = sort === name;
  // Numbers are looked at from the largest on.
  const next = isDown || (!isUp && isNumber !== true) ? name : `-${name}`;
  return (
    <th scope="col" class={cellClass(column)} style={style} aria-sort={isDown ? "descending" : isUp ? "ascending" : "none"}>
      <button type="button" class="sort" onClick={() => onSort(next)}>
        {label}
        <span class="arrow" aria-hidden="true">
          {isDown ? "▼" : isUp ? "▲" : ""}
        </span>
      </button>
    </th>
  );
}

interface RowProps<Row> {
  row: Row;
  index: number;
  columns: readonly Column<Row>[];
  tone: string;
}

/** A row is drawn again only if it is another object: a delta leaves the others as they are. */
class TableRow<Row> extends Component<RowProps<Row>> {
  override shouldComponentUpdate(next: RowProps<Row>): boolean {
    const { row, index, columns, tone } = this.props;
    return row !== next.row || index !== next.index || columns !== next.columns || tone !== next.tone;
  }

  render({ row, index, columns, tone }: RowProps<Row>) {
    return (
      <tr class={tone} aria-rowindex={index + 2}>
        {columns.map((column) => (
          <td key={column.title} class={cellClass(column)}>
            {column.cell(row)}
          </td>
        ))}
      </tr>
    );
  }
}

function cellClass({ isNumber, priority }: Pick<Column<never>, "isNumber" | "priority">): string {
  return `${isNumber ? "number" : ""}${priority === undefined ? "" : ` priority-${priority}`}`;
}
