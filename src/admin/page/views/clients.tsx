import type { ClientRow } from "../../console-api.ts";
import { count, rate } from "../format/numbers.ts";
import { since } from "../format/time.ts";
import { LiveTable } from "../parts/live-table.tsx";
import { BrokerLink, ChannelLink, Tag } from "../parts/names.tsx";
import { Scope } from "../parts/scope.tsx";
import type { Column } from "../parts/table.tsx";
import { route } from "../state/location.ts";
import { now } from "../state/now.ts";

const who: Column<ClientRow> = {
  sort: "client_id",
  title: "Client",
  cell: (row) => (
    <span class="who" title={`${row.client_id} on ${row.hostname}, ${row.remote_address}, ${row.user_agent}`}>
      <strong>{row.client_id}</strong> <span class="muted">{row.remote_address}</span>
      <Attributes row={row} />
    </span>
  ),
};
const channel: Column<ClientRow> = {
  sort: "topic",
  title: "Channel",
  width: 190,
  priority: 2,
  cell: (row) => <ChannelLink topic={row.topic} channel={row.channel} full />,
};
const broker: Column<ClientRow> = {
  sort: "broker",
  title: "Broker",
  width: 150,
  priority: 4,
  cell: (row) => <BrokerLink address={row.broker} />,
};
const ready: Column<ClientRow> = {
  sort: "ready",
  title: "RDY",
  hint: "How many messages it is ready for",
  isNumber: true,
  width: 72,
  cell: (row) => <span class={row.ready === 0 ? "text-bad" : ""}>{count(row.ready)}</span>,
};
const inFlight: Column<ClientRow> = {
  sort: "in_flight",
  title: "In flight",
  isNumber: true,
  width: 84,
  cell: (row) => count(row.in_flight),
};
const out: Column<ClientRow> = {
  sort: "out_rate",
  title: "Out /s",
  isNumber: true,
  width: 76,
  priority: 2,
  cell: (row) => rate(row.out_rate),
};
const finished: Column<ClientRow> = {
  sort: "finish_rate",
  title: "Finish /s",
  isNumber: true,
  width: 88,
  priority: 3,
  cell: (row) => rate(row.finish_rate),
};
const requeued: Column<ClientRow> = {
  sort: "requeue_count",
  title: "Requeued",
  isNumber: true,
  width: 92,
  priority: 4,
  cell: (row) => count(row.requeue_count),
};
const messages: Column<ClientRow> = {
  sort: "message_count",
  title: "Messages",
  isNumber: true,
  width: 92,
  priority: 4,
  cell: (row) => count(row.message_count),
};
const connected: Column<ClientRow> = {
  sort: "connected_at",
  title: "Connected",
  isNumber: true,
  width: 96,
  priority: 3,
  cell: (row) => since(row.connected_at, now.value),
};
const finding: Column<ClientRow> = {
  title: "Finding",
  priority: 2,
  cell: (row) => (
    <span class="text-warn" title={row.findings.map(({ text }) => text).join(" ")}>
      {row.findings[0]?.text}
    </span>
  ),
};

const wishes: Column<ClientRow> = {
  title: "Wants",
  hint: "The only messages that it wants, and the order that it has asked for",
  width: 150,
  priority: 2,
  cell: (row) => {
    const text = wishesText(row);
    return <span title={row.filter === undefined ? text : `${text}: ${JSON.stringify(row.filter)}`}>{text}</span>;
  },
};

function wishesText({ tag, filter, order, partition }: ClientRow): string {
  const parts = [
    ...(partition === undefined ? [] : [`partition ${partition}`]),
    ...(tag === undefined ? [] : [`tag ${tag}`]),
    ...(order === undefined ? [] : [`order by ${order}`]),
    ...(filter === undefined ? [] : ["a filter"]),
  ];
  return parts.join(", ");
}

const CHANNEL_CLIENT_COLUMNS: readonly Column<ClientRow>[] = [
  who,
  finding,
  ready,
  inFlight,
  out,
  finished,
  requeued,
  messages,
  connected,
  broker,
];
const COLUMNS: readonly Column<ClientRow>[] = [
  who,
  channel,
  finding,
  ready,
  inFlight,
  out,
  finished,
  requeued,
  messages,
  connected,
  broker,
];

const CHANNEL_CLIENT_COLUMNS_WITH_WISHES = CHANNEL_CLIENT_COLUMNS.toSpliced(1, 0, wishes);
const COLUMNS_WITH_WISHES = COLUMNS.toSpliced(2, 0, { ...wishes, priority: 4 });

/** The columns of a channel's consumers. */
export function channelClientColumns(rows: readonly ClientRow[]): readonly Column<ClientRow>[] {
  return rows.some(hasWishes) ? CHANNEL_CLIENT_COLUMNS_WITH_WISHES : CHANNEL_CLIENT_COLUMNS;
}

function clientColumns(rows: readonly ClientRow[]): readonly Column<ClientRow>[] {
  return rows.some(hasWishes) ? COLUMNS_WITH_WISHES : COLUMNS;
}

function hasWishes({ tag, filter, order, partition }: ClientRow): boolean {
  return tag !== undefined || filter !== undefined || order !== undefined || partition !== undefined;
}

/** How it is connected, where that is not plain. */
function Attributes({ row }: { row: ClientRow }) {
  return (
    <>
      {row.tls && <Tag>TLS</Tag>}
      {row.deflate && <Tag>deflate</Tag>}
      {row.snappy && <Tag>snappy</Tag>}
      {row.sample_rate > 0 && <Tag tone="warn">{row.sample_rate} %</Tag>}
      {row.auth_identity !== "" && <Tag title="Logged in as">{row.auth_identity}</Tag>}
    </>
  );
}

export function ClientsView() {
  const { query } = route.value;
  const fixed = { topic: query.get("topic") ?? "", channel: query.get("channel") ?? "", broker: query.get("broker") ?? "" };
  return (
    <>
      <h1>Clients</h1>
      <Scope of={fixed} />
      <LiveTable
        label="Clients"
        path="/clients"
        fixed={fixed}
        columns={clientColumns}
        sort="client_id"
        noun="client"
        empty="Nobody is connected to consume."
        tone={(row) => (row.findings.length > 0 ? "warn" : "")}
      />
    </>
  );
}
