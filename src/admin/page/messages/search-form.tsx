import { useEffect, useState } from "preact/hooks";
import type { ChannelRow, Page, TopicRow } from "../../console-api.ts";
import { Segments } from "../parts/segments.tsx";
import { get } from "../state/api.ts";
import { setQuery } from "../state/location.ts";
import { withQuery } from "../state/routes.ts";
import type { Search } from "./search.ts";

/** Only a channel has the others than the first. */
const STATES = [
  { value: "log", label: "Log" },
  { value: "waiting", label: "Waiting" },
  { value: "in_flight", label: "In flight" },
  { value: "deferred", label: "Deferred" },
];

/** Topics that are offered while a name is typed. */
const OFFERED = 20;

/** Says which messages to look for. Each field changes the address, and the address is what is looked for. */
export function SearchForm({ search, brokers, partitions }: { search: Search; brokers: readonly string[]; partitions: number }) {
  const { topic, channel, broker, partition, state } = search;
  const channels = useNames<ChannelRow>(
    topic === "" ? undefined : withQuery("/channels", { topic, sort: "channel", limit: 1000 }),
    (row) => row.channel,
  );
  return (
    <div class="search-form">
      <div class="toolbar">
        <TopicField topic={topic} />
        {topic !== "" && (
          <label class="field inline">
            <span>Channel</span>
            <select value={channel} onChange={(event) => setQuery({ channel: event.currentTarget.value, from: undefined })}>
              <option value="">none: the topic's log</option>
              {(channels.includes(channel) || channel === "" ? channels : [channel, ...channels]).map((name) => (
                <option key={name} value={name}>
                  {name}
                </option>
              ))}
            </select>
          </label>
        )}
        {brokers.length > 1 && (
          <label class="field inline">
            <span>Broker</span>
            <select value={broker} onChange={(event) => setQuery({ broker: event.currentTarget.value, from: undefined })}>
              <option value="">all</option>
              {brokers.map((address) => (
                <option key={address} value={address}>
                  {address}
                </option>
              ))}
            </select>
          </label>
        )}
        {topic !== "" && (partitions > 1 || partition !== "") && <PartitionField partition={partition} partitions={partitions} />}
        {topic !== "" && (
          <Segments
            label="State"
            options={channel === "" ? STATES.slice(0, 1) : STATES}
            value={state}
            onChange={(value) => setQuery({ state: value, from: undefined })}
          />
        )}
      </div>
      <Terms key={`${search.from} ${search.match} ${search.q}`} search={search} />
    </div>
  );
}

function PartitionField({ partition, partitions }: { partition: string; partitions: number }) {
  // What is typed stays while the page is drawn anew, as with each message of a tail.
  const [text, setText] = useState(partition);
  useEffect(() => setText(partition), [partition]);
  return (
    <label class="field inline">
      <span>Partition</span>
      <input
        type="number"
        min="0"
        max={Math.max(0, partitions - 1)}
        step="1"
        placeholder="all"
        value={text}
        onInput={(event) => setText(event.currentTarget.value)}
        onChange={(event) => setQuery({ partition: event.currentTarget.value, from: undefined })}
      />
    </label>
  );
}

function TopicField({ topic }: { topic: string }) {
  const [text, setText] = useState(topic);
  useEffect(() => setText(topic), [topic]);
  const names = useNames<TopicRow>(withQuery("/topics", { filter: text, sort: "topic", limit: OFFERED }), (row) => row.topic);
  return (
    <label class="field inline">
      <span>Topic</span>
      <input
        list="topic-names"
        placeholder="all topics"
        autocomplete="off"
        spellcheck={false}
        value={text}
        onInput={(event) => setText(event.currentTarget.value)}
        onChange={(event) =>
          setQuery({
            topic: event.currentTarget.value.trim(),
            channel: undefined,
            from: undefined,
            broker: undefined,
            partition: undefined,
            in: undefined,
          })
        }
      />
      <datalist id="topic-names">
        {names.map((name) => (
          <option key={name} value={name} />
        ))}
      </datalist>
    </label>
  );
}

/** What is looked for, by how it is meant. */
const EXAMPLES: Record<string, string> = {
  text: "any text of the body",
  json: '$.order.id = "a-17"',
  regexp: "a-1[0-9]",
  key: "the whole key",
  header: "a part of key, tag, trace id or header",
};

/** The place to begin and the text to look for, which count when the form is sent. */
function Terms({ search }: { search: Search }) {
  const [from, setFrom] = useState(search.from);
  const [match, setMatch] = useState<string>(search.match);
  const [q, setQ] = useState(search.q);
  return (
    <form
      class="toolbar"
      onSubmit={(event) => {
        event.preventDefault();
        setQuery({ from: from.trim(), match: match === "text" ? undefined : match, q });
      }}
    >
      <label class="field inline">
        <span>From</span>
        <input
          placeholder="beginning"
          title="A sequence, a message id, a time (2026-11-22T08:00:00Z), ago:1h30m, beginning or end"
          autocomplete="off"
          spellcheck={false}
          list="positions"
          value={from}
          onInput={(event) => setFrom(event.currentTarget.value)}
        />
        <datalist id="positions">
          <option value="beginning" />
          <option value="ago:5m" />
          <option value="ago:1h" />
          <option value="end" />
        </datalist>
      </label>
      <label class="field inline">
        <span>Search by</span>
        <select value={match} onChange={(event) => setMatch(event.currentTarget.value)}>
          <option value="text">text</option>
          <option value="json">JSON path</option>
          <option value="regexp">regular expression</option>
          <option value="key">key</option>
          <option value="header">header</option>
        </select>
      </label>
      <label class="field inline grow">
        <span>For</span>
        <input
          type="search"
          class="filter"
          placeholder={EXAMPLES[match]}
          autocomplete="off"
          spellcheck={false}
          value={q}
          onInput={(event) => setQ(event.currentTarget.value)}
        />
      </label>
      <button type="submit" class="primary">
        Search
      </button>
    </form>
  );
}

/** Names of a list of the API, to choose from. Without an answer nothing is offered, and a name can still be typed. */
function useNames<Row>(path: string | undefined, nameOf: (row: Row) => string): readonly string[] {
  const [names, setNames] = useState<readonly string[]>([]);
  useEffect(() => {
    const ended = new AbortController();
    setNames([]);
    if (path !== undefined)
      get<Page<Row>>(path, ended.signal).then(
        ({ rows }) => setNames(rows.map(nameOf)),
        () => {},
      );
    return () => ended.abort();
  }, [path]);
  return names;
}
