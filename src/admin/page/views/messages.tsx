import { useEffect, useState } from "preact/hooks";
import type { TopicDetail } from "../../console-api.ts";
import type { MessageRow } from "../../message-api.ts";
import { exact, plural } from "../format/numbers.ts";
import { duration } from "../format/time.ts";
import { BulkActions } from "../messages/bulk-actions.tsx";
import { HEADER_COLUMN, hasHeader, MESSAGE_COLUMNS, PARTITION_COLUMN } from "../messages/message-columns.tsx";
import { MessageDrawer } from "../messages/message-drawer.tsx";
import { MAX_KEPT_MESSAGES, messageKey, type Search, searchOf } from "../messages/search.ts";
import { SearchForm } from "../messages/search-form.tsx";
import { TopicsResults } from "../messages/topics-results.tsx";
import { Unavailable } from "../messages/unavailable.tsx";
import { type Found, useMessages } from "../messages/use-messages.ts";
import { Failure } from "../parts/failure.tsx";
import { type Column, Table } from "../parts/table.tsx";
import { get } from "../state/api.ts";
import { route, setQuery } from "../state/location.ts";
import { now } from "../state/now.ts";
import { topicPath } from "../state/routes.ts";
import { may } from "../state/session.ts";

export function MessagesView() {
  const { query } = route.value;
  const search = searchOf(query);
  const isTail = query.get("tail") === "on";
  const { brokers, partitions } = useTopic(search.topic);
  const found = useMessages(search, isTail);
  const [selected, setSelected] = useState<ReadonlySet<string>>(new Set());
  const scope = `${search.topic} ${search.channel} ${search.broker} ${search.partition} ${search.state}`;
  useEffect(() => setSelected(new Set()), [scope]);

  const open = query.get("id") ?? "";
  // Where all topics are searched, the address names that of the open message beside it.
  const topicOfOpen = search.topic || (query.get("in") ?? "");
  const toggle = (row: MessageRow) => {
    const next = new Set(selected);
    if (!next.delete(messageKey(row))) next.add(messageKey(row));
    setSelected(next);
  };
  const chosen = found.rows.filter((row) => selected.has(messageKey(row)));

  return (
    <>
      <h1>Messages</h1>
      <SearchForm search={search} brokers={brokers} partitions={partitions} />
      {search.topic === "" ? (
        <TopicsResults search={search} />
      ) : (
        <>
          <div class="toolbar">
            <label class="check">
              <input
                type="checkbox"
                checked={isTail}
                onChange={(event) => setQuery({ tail: event.currentTarget.checked ? "on" : undefined })}
              />
              Live tail
            </label>
            <span class="muted" role="status">
              {found.isBusy ? "Searching …" : summary(found, isTail)}
            </span>
            {may("operator", search.topic) && found.rows.length > 0 && (
              <button
                type="button"
                class="small"
                onClick={() => setSelected(new Set(chosen.length > 0 ? [] : found.rows.filter(({ id }) => id !== null).map(messageKey)))}
              >
                {chosen.length > 0 ? "Choose none" : "Choose all shown"}
              </button>
            )}
            {found.rows.length > 0 && (
              <BulkActions
                search={search}
                chosen={chosen}
                what={chosen.length > 0 ? plural(chosen.length, "chosen message") : "all found"}
                onDone={found.reload}
              />
            )}
          </div>
          <Failure error={found.error} />
          <Unavailable brokers={found.unavailable} />
          <Table
            label="Messages"
            columns={columns(search, found.rows, selected, toggle)}
            rows={found.rows}
            rowKey={messageKey}
            paging={{ total: found.rows.length, offset: 0, onWindow: () => {} }}
            empty={found.isBusy ? "Searching …" : isTail ? "Waiting for messages …" : "No message fits."}
          />
          {!isTail && found.next !== null && found.rows.length < MAX_KEPT_MESSAGES && (
            <p class="toolbar">
              <button type="button" disabled={found.isBusy} onClick={found.loadMore}>
                {search.q === "" ? "Further messages" : "Search on"}
              </button>
            </p>
          )}
        </>
      )}
      {open !== "" && topicOfOpen !== "" && (
        <MessageDrawer
          search={{ ...search, topic: topicOfOpen }}
          id={open}
          broker={query.get("at") ?? search.broker}
          onClose={() => setQuery({ id: undefined, at: undefined, in: undefined })}
        />
      )}
    </>
  );
}

function summary({ rows, scanned, skipped }: Found, isTail: boolean): string {
  const found = plural(rows.length, "message");
  if (!isTail) return scanned > rows.length ? `${found} of ${exact(scanned)} looked at` : found;
  return `${found} since the tail began${skipped > 0 ? `, ${exact(skipped)} left out` : ""}; nothing is consumed`;
}

function columns(
  search: Search,
  rows: readonly MessageRow[],
  selected: ReadonlySet<string>,
  toggle: (row: MessageRow) => void,
): Column<MessageRow>[] {
  const list: Column<MessageRow>[] = [
    {
      title: "Sequence",
      width: 130,
      cell: (row) =>
        row.id === null ? (
          <span class="muted">not yet</span>
        ) : (
          <button type="button" class="link row-link" title={row.id} onClick={() => setQuery({ id: row.id ?? "", at: row.broker })}>
            {row.sequence === null ? row.id : exact(row.sequence)}
          </button>
        ),
    },
    ...(rows.some(({ partition }) => partition !== undefined) ? [PARTITION_COLUMN] : []),
    ...(rows.some(hasHeader) ? [HEADER_COLUMN] : []),
    ...MESSAGE_COLUMNS,
  ];
  if (may("operator", search.topic)) {
    list.unshift({
      title: "Choose",
      width: 68,
      cell: (row) => (
        <input
          type="checkbox"
          disabled={row.id === null}
          checked={selected.has(messageKey(row))}
          aria-label={`Choose message ${row.sequence ?? row.id ?? ""}`}
          onChange={() => toggle(row)}
        />
      ),
    });
  }
  if (search.channel !== "") {
    list.push({ title: "Attempts", isNumber: true, width: 84, priority: 3, cell: (row) => exact(row.attempts) });
  }
  if (search.state === "in_flight") {
    list.push({ title: "With", width: 160, priority: 2, cell: (row) => <Holder row={row} /> });
    list.push({ title: "Since", isNumber: true, width: 84, priority: 4, cell: (row) => ago(row.since) });
    list.push({ title: "Times out in", isNumber: true, width: 104, priority: 3, cell: (row) => until(row.timeout_at) });
  }
  if (search.state === "deferred") list.push({ title: "Due in", isNumber: true, width: 90, cell: (row) => until(row.due) });
  if (search.broker === "") list.push({ title: "Broker", width: 140, priority: 4, cell: (row) => row.broker });
  return list;
}

function Holder({ row: { client } }: { row: MessageRow }) {
  if (client === undefined || client === null) return <span class="muted">nobody any more</span>;
  return (
    <span class="who" title={`${client.client_id} on ${client.hostname}, ${client.remote_address}, ${client.user_agent}`}>
      <strong>{client.client_id}</strong> <span class="muted">{client.remote_address}</span>
    </span>
  );
}

function ago(time: string | undefined): string {
  return time === undefined ? "–" : duration(Math.max(0, now.value - Date.parse(time)));
}

function until(time: string | undefined): string {
  return time === undefined ? "–" : duration(Math.max(0, Date.parse(time) - now.value));
}

/** What can be chosen of a topic. */
interface TopicChoices {
  brokers: readonly string[];
  partitions: number;
}

const NO_CHOICE: TopicChoices = { brokers: [], partitions: 1 };

/** The brokers that have a topic, and how many partitions it has. */
function useTopic(topic: string): TopicChoices {
  const [choices, setChoices] = useState(NO_CHOICE);
  useEffect(() => {
    const ended = new AbortController();
    setChoices(NO_CHOICE);
    // Without them all brokers are asked, and the search says what is wrong.
    if (topic !== "")
      get<TopicDetail>(topicPath(topic), ended.signal).then(
        ({ by_broker, partitions }) => setChoices({ brokers: by_broker.map(({ broker }) => broker), partitions: partitions?.count ?? 1 }),
        () => {},
      );
    return () => ended.abort();
  }, [topic]);
  return choices;
}
