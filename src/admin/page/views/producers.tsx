import type { ProducerRow } from "../../console-api.ts";
import { count, exact, rate } from "../format/numbers.ts";
import { since } from "../format/time.ts";
import { LiveTable } from "../parts/live-table.tsx";
import { BrokerLink } from "../parts/names.tsx";
import { Scope } from "../parts/scope.tsx";
import type { Column } from "../parts/table.tsx";
import { href, route } from "../state/location.ts";
import { now } from "../state/now.ts";
import { topicPath } from "../state/routes.ts";

/** More topics than these are only counted. */
const SHOWN_TOPICS = 3;

const COLUMNS: readonly Column<ProducerRow>[] = [
  {
    sort: "client_id",
    title: "Producer",
    cell: (row) => (
      <span class="who" title={`${row.client_id} on ${row.hostname}, ${row.remote_address}, ${row.user_agent}`}>
        <strong>{row.client_id}</strong> <span class="muted">{row.remote_address}</span>
      </span>
    ),
  },
  {
    title: "Publishes to",
    width: 300,
    priority: 2,
    cell: (row) => (
      <span class="who" title={row.published.map(({ topic, count: messages }) => `${topic} (${exact(messages)})`).join(", ")}>
        {row.published.slice(0, SHOWN_TOPICS).map(({ topic }, index) => (
          <span key={topic}>
            {index > 0 && ", "}
            <a href={href(topicPath(topic))}>{topic}</a>
          </span>
        ))}
        {row.published.length > SHOWN_TOPICS && ` and ${row.published.length - SHOWN_TOPICS} more`}
      </span>
    ),
  },
  { sort: "rate", title: "In /s", isNumber: true, width: 80, cell: (row) => rate(row.rate) },
  {
    sort: "count",
    title: "Messages",
    isNumber: true,
    width: 96,
    priority: 2,
    cell: (row) => <span title={exact(row.count)}>{count(row.count)}</span>,
  },
  {
    sort: "errors",
    title: "Refused",
    hint: "Publishes that were answered with an error",
    isNumber: true,
    width: 84,
    cell: (row) => <span class={(row.errors ?? 0) > 0 ? "text-bad" : "zero"}>{count(row.errors)}</span>,
  },
  { sort: "connected_at", title: "Connected", isNumber: true, width: 100, priority: 3, cell: (row) => since(row.connected_at, now.value) },
  { sort: "user_agent", title: "Library", width: 140, priority: 3, cell: (row) => <span title={row.user_agent}>{row.user_agent}</span> },
  { sort: "broker", title: "Broker", width: 150, priority: 4, cell: (row) => <BrokerLink address={row.broker} /> },
];

export function ProducersView() {
  const { query } = route.value;
  const fixed = { topic: query.get("topic") ?? "", broker: query.get("broker") ?? "" };
  return (
    <>
      <h1>Producers</h1>
      <Scope of={fixed} />
      <LiveTable
        label="Producers"
        path="/producers"
        fixed={fixed}
        columns={COLUMNS}
        sort="client_id"
        noun="producer"
        empty="Nobody is connected that has published."
        tone={(row) => ((row.errors ?? 0) > 0 ? "warn" : "")}
      />
    </>
  );
}
