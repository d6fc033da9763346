import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Page } from "../../console-api.ts";
import { plural } from "../format/numbers.ts";
import { rowKey } from "../state/delta.ts";
import { route, setQuery } from "../state/location.ts";
import { withQuery } from "../state/routes.ts";
import { useView } from "../state/use-view.ts";
import { Failure } from "./failure.tsx";
import { FilterInput } from "./filter-input.tsx";
import { type Column, Table } from "./table.tsx";
import { WINDOW_ROWS } from "./virtual-window.ts";

interface LiveTableProps<Row> {
  label: string;
  /** The call, from behind `/api/v1`. */
  path: string;
  /** Parameters that the call always has. */
  fixed?: Record<string, string | undefined>;
  /** Or which of several lists of columns fits the rows that are here. */
  columns: readonly Column<Row>[] | ((rows: readonly Row[]) => readonly Column<Row>[]);
  /** The sort if nobody has chosen one. */
  sort: string;
  /** What one row is: `topic`. */
  noun: string;
  /** Where a view has several tables, each has parameters of its own in the address. */
  prefix?: string;
  empty: ComponentChildren;
  tone?: (row: Row) => string;
  /** Shown beside the filter. */
  children?: ComponentChildren;
}

/** A list of the API: sorted, filtered and cut by the server, kept up to date by the stream, its sort and filter in the address. */
export function LiveTable<Row>({ label, path, fixed, columns, sort, noun, prefix = "", empty, tone, children }: LiveTableProps<Row>) {
  const query = route.value.query;
  const chosen = query.get(`${prefix}sort`) ?? sort;
  const filter = query.get(`${prefix}filter`) ?? "";
  const [offset, setOffset] = useState(0);
  const { data, error } = useView<Page<Row>>(
    withQuery(path, { ...fixed, sort: chosen, filter, offset: offset || undefined, limit: WINDOW_ROWS }),
  );
  const rows = data?.rows ?? [];
  return (
    <div class="live-table">
      <div class="toolbar">
        <FilterInput
          label={`Filter ${label.toLowerCase()}`}
          value={filter}
          onChange={(value) => {
            setOffset(0);
            setQuery({ [`${prefix}filter`]: value });
          }}
        />
        <span class="total">{data === undefined ? "" : plural(data.total, noun)}</span>
        {children}
      </div>
      <Failure error={error} />
      <Table
        label={label}
        columns={typeof columns === "function" ? columns(rows) : columns}
        rows={rows}
        rowKey={rowKey}
        sort={chosen}
        onSort={(next) => {
          setOffset(0);
          setQuery({ [`${prefix}sort`]: next === sort ? undefined : next });
        }}
        paging={{ total: data?.total ?? 0, offset: data?.offset ?? 0, onWindow: setOffset }}
        empty={data === undefined && error === undefined ? "Loading …" : filter === "" ? empty : `Nothing has “${filter}” in its name.`}
        {...(tone === undefined ? {} : { tone })}
      />
    </div>
  );
}
