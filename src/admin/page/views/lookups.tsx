import { useEffect, useState } from "preact/hooks";
import type { LookupRow } from "../../console-api.ts";
import { askAction } from "../dialogs/action-dialog.tsx";
import { askCreate } from "../dialogs/create-dialog.tsx";
import { count, plural } from "../format/numbers.ts";
import { Failure } from "../parts/failure.tsx";
import { LiveTable } from "../parts/live-table.tsx";
import { Health } from "../parts/names.tsx";
import { type Column, Table } from "../parts/table.tsx";
import { getLegacy } from "../state/api.ts";
import { may } from "../state/session.ts";

const COLUMNS: readonly Column<LookupRow>[] = [
  {
    sort: "address",
    title: "Lookup server",
    cell: (row) => (
      <span class="who" title={row.down ?? row.address}>
        {row.address} <Health server={row} /> <span class="text-bad">{row.down}</span>
      </span>
    ),
  },
  { sort: "version", title: "Version", width: 130, priority: 2, cell: (row) => `${row.product} ${row.version}` },
  { sort: "brokers", title: "Brokers", isNumber: true, width: 90, cell: (row) => (row.down === undefined ? count(row.brokers) : "–") },
  {
    sort: "topics",
    title: "Topics",
    isNumber: true,
    width: 90,
    priority: 2,
    cell: (row) => (row.down === undefined ? count(row.topics) : "–"),
  },
];

export function LookupsView() {
  return (
    <>
      <h1>Lookup servers</h1>
      <LiveTable
        label="Lookup servers"
        path="/lookups"
        columns={COLUMNS}
        sort="address"
        noun="lookup server"
        empty="None: the brokers are given by their addresses."
        tone={(row) => (row.down === undefined ? "" : "bad")}
      >
        {may("admin") && (
          <button type="button" onClick={() => askCreate()}>
            New topic …
          </button>
        )}
      </LiveTable>
      <Inactive />
    </>
  );
}

interface InactiveTopic {
  topic: string;
  channels: readonly string[];
}

/** Topics that lookup servers remember and no broker has. nsqadmin's API has them with their channels. */
function Inactive() {
  const [topics, setTopics] = useState<readonly InactiveTopic[] | undefined>(undefined);
  const [error, setError] = useState<unknown>(undefined);
  const load = async () => {
    try {
      const answer = await getLegacy<{ topics: Record<string, string[] | null> }>("/topics?inactive=true");
      setTopics(Object.entries(answer.topics).map(([topic, channels]) => ({ topic, channels: channels ?? [] })));
    } catch (failure) {
      setError(failure);
    }
  };
  useEffect(() => {
    void load();
  }, []);

  const columns: Column<InactiveTopic>[] = [
    { title: "Topic", cell: (row) => row.topic },
    { title: "Channels", priority: 2, cell: (row) => <span class="who">{row.channels.join(", ")}</span> },
  ];
  if (may("admin")) {
    columns.push({
      title: "Action",
      width: 100,
      cell: ({ topic }) => (
        <button type="button" class="small danger" aria-label={`Delete ${topic}`} onClick={() => askDelete(topic, load)}>
          Delete …
        </button>
      ),
    });
  }
  return (
    <section class="panel" aria-labelledby="inactive-title">
      <header class="panel-head">
        <h2 id="inactive-title">Inactive topics</h2>
        <span class="muted">
          {topics === undefined ? "" : `${plural(topics.length, "topic")} that lookup servers remember and no broker has`}
        </span>
      </header>
      <Failure error={error} />
      <Table
        label="Inactive topics"
        columns={columns}
        rows={topics ?? []}
        rowKey={(row) => row.topic}
        empty={topics === undefined ? "Loading …" : "None."}
      />
    </section>
  );
}

function askDelete(topic: string, onDone: () => Promise<void>): void {
  askAction({
    title: `Delete ${topic}`,
    verb: "Delete",
    isDanger: true,
    confirm: topic,
    request: () => ({ action: "delete", topic }),
    onDone: () => void onDone(),
    children: <p>Lookup servers forget the topic and its channels. A broker that has it registers it again.</p>,
  });
}
