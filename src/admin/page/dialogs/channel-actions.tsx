import type { ChannelDetail } from "../../console-api.ts";
import { exact } from "../format/numbers.ts";
import { go } from "../state/location.ts";
import { topicPath } from "../state/routes.ts";
import { may } from "../state/session.ts";
import { askAction } from "./action-dialog.tsx";
import { DeliveryDialog } from "./delivery-dialog.tsx";
import { showDialog } from "./dialog.tsx";
import { SeekDialog } from "./seek-dialog.tsx";
import { askTrace } from "./trace-dialog.tsx";

/** What can be done with a channel. */
export function ChannelActions({ detail }: { detail: ChannelDetail }) {
  const { topic, channel, trace, delivery } = detail;
  if (!may("operator", topic)) return null;
  const brokers = detail.by_broker.flatMap(({ broker, down }) => (down === undefined ? broker : []));
  const isPaused = detail.paused > 0;
  return (
    <div class="actions">
      <button
        type="button"
        onClick={() =>
          askAction({
            title: `${isPaused ? "Resume" : "Pause"} ${topic} / ${channel}`,
            verb: isPaused ? "Resume" : "Pause",
            brokers,
            request: () => ({ action: isPaused ? "unpause" : "pause", topic, channel }),
            children: (
              <p>{isPaused ? "Its consumers get messages again." : "Its consumers stay connected and get no messages. They wait."}</p>
            ),
          })
        }
      >
        {isPaused ? "Resume …" : "Pause …"}
      </button>
      <button type="button" onClick={() => showDialog(<SeekDialog topic={topic} channel={channel} brokers={brokers} />)}>
        Replay …
      </button>
      {may("admin", topic) && delivery !== undefined && (
        <button
          type="button"
          onClick={() => showDialog(<DeliveryDialog topic={topic} channel={channel} delivery={delivery} brokers={brokers} />)}
        >
          Delivery …
        </button>
      )}
      {may("admin", topic) && trace !== undefined && (
        <button
          type="button"
          onClick={() => askTrace({ topic, channel, on: trace.own === 0, brokers, isTopicTraced: trace.with_topic > 0 })}
        >
          {trace.own > 0 ? "Stop tracing …" : "Trace …"}
        </button>
      )}
      <button
        type="button"
        class="danger"
        onClick={() =>
          askAction({
            title: `Empty ${topic} / ${channel}`,
            verb: "Empty",
            isDanger: true,
            confirm: channel,
            brokers,
            request: () => ({ action: "empty", topic, channel }),
            children: (
              <p>
                Discards all messages of the channel: {exact(detail.depth)} that wait, {exact(detail.in_flight)} in flight and{" "}
                {exact(detail.deferred)} deferred ones. This cannot be undone.
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
              title: `Delete ${topic} / ${channel}`,
              verb: "Delete",
              isDanger: true,
              confirm: channel,
              brokers,
              request: () => ({ action: "delete", topic, channel }),
              onDone: () => go(topicPath(topic)),
              children: <p>Deletes the channel, and disconnects its {exact(detail.clients)} clients. This cannot be undone.</p>,
            })
          }
        >
          Delete …
        </button>
      )}
    </div>
  );
}
