import type { MessageRow } from "../../message-api.ts";
import { exact, plural } from "../format/numbers.ts";
import { Failure } from "../parts/failure.tsx";
import { TopicLink } from "../parts/names.tsx";
import { type Column, Table } from "../parts/table.tsx";
import { setQuery } from "../state/location.ts";
import { MESSAGE_COLUMNS } from "./message-columns.tsx";
import { messageKey, type Search } from "./search.ts";
import { Unavailable } from "./unavailable.tsx";
import { type FoundInTopics, useTopicsSearch } from "./use-topics-search.ts";

/** Ids are known to their own topic only. */
const rowKey = (row: MessageRow) => `${row.topic} ${messageKey(row)}`;

/** What a search finds in all topics. */
export function TopicsResults({ search }: { search: Search }) {
  const found = useTopicsSearch(search);
  if (search.q === "") return <p class="empty">Choose a topic, or search all of them. Looking at messages consumes none.</p>;
  return (
    <>
      <div class="toolbar">
        <span class="muted" role="status">
          {summary(found)}
        </span>
        {found.isBusy && (
          <button type="button" class="small" onClick={found.stop}>
            Stop
          </button>
        )}
        {!found.isBusy && found.hasMore && found.error === "" && (
          <button type="button" class="small" onClick={found.goOn}>
            Search on
          </button>
        )}
      </div>
      <Failure error={found.error} />
      <Unavailable brokers={found.unavailable} />
      <Table
        label="Messages"
        columns={COLUMNS}
        rows={found.rows}
        rowKey={rowKey}
        paging={{ total: found.rows.length, offset: 0, onWindow: () => {} }}
        empty={found.isBusy ? "Searching …" : found.hasMore ? "No message fits so far." : "No message fits."}
      />
    </>
  );
}

function summary({ rows, scanned, topics, begun, finished, isBusy }: FoundInTopics): string {
  const looked = `${plural(rows.length, "message")} of ${exact(scanned)} looked at, in`;
  if (begun < topics) return `${isBusy ? "Searching … " : ""}${looked} ${exact(begun)} of ${plural(topics, "topic")}`;
  const rest = finished < topics ? `; ${exact(topics - finished)} of them not to the end` : "";
  return `${isBusy ? "Searching on … " : ""}${looked} ${plural(topics, "topic")}${rest}`;
}

const COLUMNS: readonly Column<MessageRow>[] = [
  {
    title: "Sequence",
    // On a narrow screen the room is for the body.
    width: 88,
    cell: (row) => (
      <button
        type="button"
        class="link row-link"
        title={row.id ?? ""}
        onClick={() => setQuery({ in: row.topic, id: row.id ?? "", at: row.broker })}
      >
        {row.sequence === null ? row.id : exact(row.sequence)}
      </button>
    ),
  },
  { title: "Topic", width: 116, cell: (row) => <TopicLink topic={row.topic} /> },
  ...MESSAGE_COLUMNS,
  { title: "Broker", width: 140, priority: 4, cell: (row) => row.broker },
];
