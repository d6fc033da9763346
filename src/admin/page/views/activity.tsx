import { useEffect, useState } from "preact/hooks";
import type { Activity, LookupRow, Page } from "../../console-api.ts";
import { clock, timestamp } from "../format/time.ts";
import { Failure } from "../parts/failure.tsx";
import { FilterInput } from "../parts/filter-input.tsx";
import { ChannelLink, Tag, TopicLink } from "../parts/names.tsx";
import { type Column, Table } from "../parts/table.tsx";
import { get } from "../state/api.ts";
import { live } from "../state/event-stream.ts";
import { route, setQuery } from "../state/location.ts";
import { now } from "../state/now.ts";
import { useView } from "../state/use-view.ts";

const LIMIT = 500;

const COLUMNS: readonly Column<Activity>[] = [
  { title: "When", width: 100, cell: (row) => <span title={timestamp(row.time)}>{clock(row.time, now.value)}</span> },
  { title: "Who", width: 150, priority: 2, cell: (row) => <span title={row.from}>{row.user === "" ? row.from : row.user}</span> },
  {
    title: "What",
    width: 196,
    cell: (row) => (
      <>
        {!row.ok && <Tag tone="bad">failed</Tag>} <strong>{row.action.replaceAll("_", " ")}</strong>
      </>
    ),
  },
  {
    title: "On",
    cell: (row) => (
      <span class="who">
        {row.channel !== "" ? (
          <ChannelLink topic={row.topic} channel={row.channel} full />
        ) : (
          row.topic !== "" && <TopicLink topic={row.topic} />
        )}
        {row.server !== "" && <span class="muted"> {row.server}</span>}
      </span>
    ),
  },
  { title: "Detail", priority: 2, cell: (row) => <span title={row.detail}>{row.detail}</span> },
];

const keyOf = (row: Activity) => `${row.time} ${row.from} ${row.action} ${row.topic} ${row.channel} ${row.server}`;

/** Who did what, from the audit log and then as it happens. */
export function ActivityView() {
  const [earlier, setEarlier] = useState<readonly Activity[] | undefined>(undefined);
  const [error, setError] = useState<unknown>(undefined);
  const filter = route.value.query.get("filter") ?? "";
  // A stream needs a view, and this one is small. What others do comes with it.
  useView<Page<LookupRow>>("/lookups?limit=1");
  useEffect(() => {
    get<{ activity: Activity[] }>(`/activity?limit=${LIMIT}`).then(({ activity }) => setEarlier(activity), setError);
  }, []);
  const byKey = new Map([...live.activity.value, ...(earlier ?? [])].map((row) => [keyOf(row), row]));
  const rows = [...byKey.values()].filter((row) => filter === "" || JSON.stringify(row).toLowerCase().includes(filter.toLowerCase()));
  return (
    <>
      <h1>Activity</h1>
      <div class="toolbar">
        <FilterInput label="Filter activity" value={filter} onChange={(value) => setQuery({ filter: value })} />
      </div>
      <Failure error={error} />
      <Table
        label="Activity"
        columns={COLUMNS}
        rows={rows}
        rowKey={keyOf}
        tone={(row) => (row.ok ? "" : "bad")}
        paging={{ total: rows.length, offset: 0, onWindow: () => {} }}
        empty={earlier === undefined && error === undefined ? "Loading …" : "Nothing was done yet."}
      />
    </>
  );
}
