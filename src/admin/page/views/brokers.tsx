import type { BrokerRow } from "../../console-api.ts";
import { bytes, plural } from "../format/numbers.ts";
import { since } from "../format/time.ts";
import { channels, clients, depth, inRate, inSpark, outRate, outSpark } from "../parts/count-columns.tsx";
import { LiveTable } from "../parts/live-table.tsx";
import { BrokerLink, Health, Tag } from "../parts/names.tsx";
import type { Column } from "../parts/table.tsx";
import { now } from "../state/now.ts";

/** Figures of a broker that does not answer are old, and so not shown. */
function whileUp(column: Column<BrokerRow>): Column<BrokerRow> {
  return { ...column, cell: (row) => (row.down === undefined ? column.cell(row) : "–") };
}

const COLUMNS: readonly Column<BrokerRow>[] = [
  {
    sort: "address",
    title: "Broker",
    cell: (row) => (
      <span class="who" title={row.down ?? row.unhealthy ?? row.address}>
        <BrokerLink address={row.address} /> <Health server={row} />{" "}
        <span class={row.down === undefined ? "muted" : "text-bad"}>{row.down ?? row.unhealthy ?? row.hostname}</span>
        {row.tombstones.length > 0 && (
          <Tag title={`Tombstoned for ${row.tombstones.join(", ")}`}>{plural(row.tombstones.length, "tombstone")}</Tag>
        )}
      </span>
    ),
  },
  { sort: "version", title: "Version", width: 110, priority: 2, cell: (row) => `${row.product} ${row.version}` },
  ...[
    depth,
    // On a narrow screen the room is for why a broker is down.
    { ...inRate, priority: 2 } as const,
    { ...outRate, priority: 2 } as const,
    { ...inSpark, priority: 4 } as const,
    { ...outSpark, priority: 4 } as const,
    { ...channels, priority: 4 } as const,
    { ...clients, priority: 4 } as const,
    { sort: "log_bytes", title: "Log", isNumber: true, width: 80, priority: 3, cell: (row: BrokerRow) => bytes(row.log_bytes) } as const,
    {
      sort: "disk_free_bytes",
      title: "Disk free",
      isNumber: true,
      width: 92,
      priority: 2,
      cell: (row: BrokerRow) => bytes(row.disk_free_bytes),
    } as const,
    {
      sort: "start_time",
      title: "Up for",
      isNumber: true,
      width: 84,
      priority: 3,
      cell: (row: BrokerRow) => since(row.start_time, now.value),
    } as const,
  ].map(whileUp),
  {
    title: "Lookups",
    hint: "Lookup servers that list it",
    isNumber: true,
    width: 84,
    priority: 4,
    cell: (row) => <span title={row.lookups.join(", ")}>{row.lookups.length}</span>,
  },
];

export function BrokersView() {
  return (
    <>
      <h1>Brokers</h1>
      <LiveTable
        label="Brokers"
        path="/brokers"
        columns={COLUMNS}
        sort="address"
        noun="broker"
        empty="No broker is known: see --lookupd-http-address and --nsqd-http-address."
        tone={(row) => (row.down !== undefined ? "bad" : row.unhealthy !== undefined || row.draining ? "warn" : "")}
      />
    </>
  );
}
