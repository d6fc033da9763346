import type { TopicDetail } from "../../console-api.ts";
import { exact, plural } from "../format/numbers.ts";
import { go } from "../state/location.ts";
import { may } from "../state/session.ts";
import { askAction } from "./action-dialog.tsx";
import { askCreate } from "./create-dialog.tsx";
import { showDialog } from "./dialog.tsx";
import { ExpandDialog } from "./expand-dialog.tsx";
import { PublishDialog } from "./publish-dialog.tsx";
import { DurabilityDialog, RetentionDialog } from "./settings-dialogs.tsx";
import { askTrace } from "./trace-dialog.tsx";

/** What can be done with a topic. */
export function TopicActions({ detail }: { detail: TopicDetail }) {
  const { topic } = detail;
  const brokers = detail.by_broker.flatMap(({ broker, down }) => (down === undefined ? broker : []));
  if (!may("operator", topic)) return null;
  const isPaused = detail.paused > 0;
  return (
    <div class="actions">
      <button type="button" onClick={() => showDialog(<PublishDialog topic={topic} />)}>
        Publish …
      </button>
      <button
        type="button"
        onClick={() =>
          askAction({
            title: `${isPaused ? "Resume" : "Pause"} ${topic}`,
            verb: isPaused ? "Resume" : "Pause",
            brokers,
            request: () => ({ action: isPaused ? "unpause" : "pause", topic }),
            children: (
              <p>
                {isPaused
                  ? "Its channels get messages again."
                  : "Messages are accepted and kept, and its channels get none of the new ones."}
              </p>
            ),
          })
        }
      >
        {isPaused ? "Resume …" : "Pause …"}
      </button>
      {may("admin", topic) && (
        <>
          <button type="button" onClick={() => askCreate({ topic })}>
            New channel …
          </button>
          {detail.settings !== undefined && (
            <>
              <button
                type="button"
                onClick={() => showDialog(<RetentionDialog topic={topic} settings={detail.settings} brokers={brokers} />)}
              >
                Retention …
              </button>
              <button
                type="button"
                onClick={() => showDialog(<DurabilityDialog topic={topic} settings={detail.settings} brokers={brokers} />)}
              >
                Durability …
              </button>
            </>
          )}
        </>
      )}
      {may("admin", topic) && detail.settings !== undefined && (
        <button
          type="button"
          onClick={() =>
            showDialog(
              <ExpandDialog
                topic={topic}
                count={detail.replication?.partitions ?? detail.partitions?.count ?? 1}
                keysStay={detail.replication !== undefined}
              />,
            )
          }
        >
          Partitions …
        </button>
      )}
      {may("admin", topic) && detail.settings !== undefined && (
        <button type="button" onClick={() => askTrace({ topic, on: detail.settings?.traced !== true, brokers })}>
          {detail.settings.traced ? "Stop tracing …" : "Trace …"}
        </button>
      )}
      <button
        type="button"
        class="danger"
        onClick={() =>
          askAction({
            title: `Empty ${topic}`,
            verb: "Empty",
            isDanger: true,
            confirm: topic,
            brokers,
            request: () => ({ action: "empty", topic }),
            children: (
              <p>
                Discards the messages of the topic that no channel has yet, {exact(detail.depth)} now. This cannot be undone. Channels keep
                theirs.
              </p>
            ),
          })
        }
      >
        Empty …
      </button>
      {may("admin", topic) && (
        <button
          type="button"
          class="danger"
          onClick={() =>
            askAction({
              title: `Delete ${topic}`,
              verb: "Delete",
              isDanger: true,
              confirm: topic,
              brokers,
              request: () => ({ action: "delete", topic }),
              onDone: () => go("/topics"),
              children: (
                <p>Deletes the topic with {plural(detail.channel_rows.length, "channel")} and all messages. This cannot be undone.</p>
              ),
            })
          }
        >
          Delete …
        </button>
      )}
    </div>
  );
}

/** Has lookup servers forget for a while that a broker has a topic, and deletes it there, as nsqadmin does. */
export function askTombstone(topic: string, broker: string): void {
  askAction({
    title: `Tombstone ${topic} on ${broker}`,
    verb: "Tombstone",
    isDanger: true,
    confirm: topic,
    request: () => ({ action: "tombstone", topic, broker }),
    children: (
      <p>
        Lookup servers stop telling clients that this broker has the topic, for a while, and the topic is deleted there with its channels
        and all messages. This cannot be undone. Other brokers keep it.
      </p>
    ),
  });
}
