import { useEffect, useState } from "preact/hooks";
import type { LifeEvent, MessageDetail, MessageRow } from "../../message-api.ts";
import { BodyView } from "../bodies/body-view.tsx";
import { fromBase64 } from "../bodies/bytes.ts";
import { JsonTree } from "../bodies/json-tree.tsx";
import { Dialog } from "../dialogs/dialog.tsx";
import { bytes, exact, plural } from "../format/numbers.ts";
import { duration, timestamp } from "../format/time.ts";
import { Failure } from "../parts/failure.tsx";
import { Tag, TopicLink } from "../parts/names.tsx";
import { get } from "../state/api.ts";
import { withQuery } from "../state/routes.ts";
import { BulkActions } from "./bulk-actions.tsx";
import type { Search } from "./search.ts";

/** How often a message is looked at again, until all channels have finished it. */
const LOOK_AGAIN_MS = 2000;
/** A larger body is not sent again and again. */
const MAX_FOLLOWED_BYTES = 256 * 1024;

interface MessageDrawerProps {
  /** In which list it is: the channel's, or the topic's. */
  search: Search;
  id: string;
  broker: string;
  onClose(): void;
}

/** One message: its body, its state in each channel, and what has happened to it. */
export function MessageDrawer({ search, id, broker, onClose }: MessageDrawerProps) {
  const { topic, channel } = search;
  const [looks, setLooks] = useState(0);
  const [detail, setDetail] = useState<MessageDetail | undefined>(undefined);
  const [error, setError] = useState<unknown>(undefined);
  useEffect(() => {
    setDetail(undefined);
    setError(undefined);
  }, [topic, id, broker]);
  useEffect(() => {
    const ended = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const look = async () => {
      try {
        const next = await get<MessageDetail>(withQuery("/message", { topic, id, broker }), ended.signal);
        // Traces that could not be read this time are not lost.
        setDetail((known) => (known !== undefined && known.life.length > next.life.length ? { ...next, life: known.life } : next));
        setError(undefined);
        if (isToFollow(next)) timer = setTimeout(look, LOOK_AGAIN_MS);
      } catch (failure) {
        if (!ended.signal.aborted) setError(failure);
      }
    };
    void look();
    return () => {
      ended.abort();
      clearTimeout(timer);
    };
  }, [topic, id, broker, looks]);
  return (
    <Dialog isDrawer title={`Message ${detail?.sequence === null || detail === undefined ? id : exact(detail.sequence)}`} onClose={onClose}>
      <Failure error={error} />
      {detail === undefined && error === undefined && <p class="empty">Loading …</p>}
      {detail !== undefined && (
        <>
          <dl class="pairs">
            <dt>Topic</dt>
            <dd>
              <TopicLink topic={topic} />
            </dd>
            <dt>Id</dt>
            <dd>
              <code>{detail.id}</code>
            </dd>
            <dt>Published</dt>
            <dd>{detail.timestamp}</dd>
            <dt>Size</dt>
            <dd>{bytes(detail.size)}</dd>
            <dt>Broker</dt>
            <dd>
              {detail.broker}
              {detail.partition !== undefined && `, partition ${detail.partition}`}
            </dd>
            <Header row={detail} />
          </dl>
          <BulkActions search={search} chosen={[detail]} what="this message" onDone={() => setLooks(looks + 1)} />
          <BodyView key={detail.id} bytes={fromBase64(detail.body)} isCut={detail.body_bytes < detail.size} />
          <Channels rows={detail.channels} channel={channel} />
          <Life events={detail.life} />
        </>
      )}
    </Dialog>
  );
}

/** What its header says. */
function Header({ row: { key, tag, trace_id: traceId, headers } }: { row: MessageRow }) {
  return (
    <>
      {key !== undefined && (
        <>
          <dt>Key</dt>
          <dd>{key}</dd>
        </>
      )}
      {tag !== undefined && (
        <>
          <dt>Tag</dt>
          <dd>{tag}</dd>
        </>
      )}
      {traceId !== undefined && (
        <>
          <dt>Trace id</dt>
          <dd>
            <code>{traceId}</code>
          </dd>
        </>
      )}
      {headers !== undefined && (
        <>
          <dt>Headers</dt>
          <dd>
            <JsonTree value={headers} />
          </dd>
        </>
      )}
    </>
  );
}

/** Whether something may still happen to a message. */
function isToFollow({ channels, size }: MessageDetail): boolean {
  return size <= MAX_FOLLOWED_BYTES && channels.some(({ state }) => state !== "finished");
}

function Channels({ rows, channel }: { rows: readonly MessageRow[]; channel: string }) {
  return (
    <section aria-labelledby="states-title">
      <h3 id="states-title">In its channels</h3>
      {rows.length === 0 ? (
        <p class="empty">The topic has no channel.</p>
      ) : (
        <ul class="states">
          {rows.map((row) => (
            <li key={row.channel} class={row.channel === channel ? "current" : ""}>
              <strong>{row.channel}</strong>{" "}
              <Tag tone={row.state === "in_flight" ? "ok" : ""}>{(row.state ?? "unknown").replaceAll("_", " ")}</Tag>
              <span class="muted">{stateText(row)}</span>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function stateText({ attempts, client, since, timeout_at: timeoutAt, due }: MessageRow): string {
  const parts: string[] = [];
  if (attempts !== undefined && attempts > 0) parts.push(plural(attempts, "attempt"));
  if (client !== undefined && client !== null) parts.push(`with ${client.client_id} on ${client.hostname} (${client.remote_address})`);
  if (since !== undefined) parts.push(`since ${timestamp(Date.parse(since))}`);
  if (timeoutAt !== undefined) parts.push(`times out ${timestamp(Date.parse(timeoutAt))}`);
  if (due !== undefined) parts.push(`due ${timestamp(Date.parse(due))}`);
  return parts.length === 0 ? "" : ` ${parts.join(", ")}`;
}

const BAD: readonly LifeEvent["kind"][] = ["timed_out", "discarded"];
const GOOD: readonly LifeEvent["kind"][] = ["finished"];

/** The message's life, oldest first, with the time between two events. */
function Life({ events }: { events: readonly LifeEvent[] }) {
  return (
    <section aria-labelledby="life-title">
      <h3 id="life-title">Life</h3>
      {events.length === 0 ? (
        <p class="empty">Nothing was kept. Trace the topic or a channel to see what happens to messages from then on.</p>
      ) : (
        <ol class="life">
          {events.map((event, index) => {
            const before = events[index - 1];
            return (
              <li
                key={`${event.time} ${event.kind} ${event.channel} ${event.attempts}`}
                class={BAD.includes(event.kind) ? "bad" : GOOD.includes(event.kind) ? "ok" : ""}
              >
                <time>{timestamp(event.time)}</time>
                <span class="muted gap">{before === undefined ? "" : `+${duration(event.time - before.time)}`}</span>
                <span class="what">
                  <strong>{event.kind.replaceAll("_", " ")}</strong>
                  {event.channel !== null && ` in ${event.channel}`}
                  {event.attempts !== null && `, attempt ${event.attempts}`}
                  {event.by !== null && <span class="muted"> by {event.by}</span>}
                  {event.delay_ms !== null && <span class="muted">, delay {duration(event.delay_ms)}</span>}
                  {event.detail !== null && <span class="muted">, {event.detail}</span>}
                </span>
              </li>
            );
          })}
        </ol>
      )}
    </section>
  );
}
