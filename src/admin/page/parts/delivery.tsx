import type { ChannelDelivery } from "../../partition-api.ts";
import { exact, plural } from "../format/numbers.ts";
import { href } from "../state/location.ts";
import { withQuery } from "../state/routes.ts";
import { MessageLink, Tag, TopicLink } from "./names.tsx";

export const ORDERS = { none: "no order", key: "by key", partition: "by partition" };
const ORDER_HINTS = {
  none: "as they come, several at once",
  key: "one of each key at a time, in order",
  partition: "one of each partition at a time, in order",
};

/** Whether anything is set, so that it is worth a place further up. */
export function isChosen(delivery: ChannelDelivery | undefined): delivery is ChannelDelivery {
  if (delivery === undefined) return false;
  const { order, filter, max_attempts: attempts, limits, differs } = delivery;
  return order !== "none" || filter !== null || attempts > 0 || differs || limitTexts(limits).length > 0;
}

/** What holds a channel back, in words. */
function limitTexts({ skip, skip_zan_test, client_limits, rate_limit, rate_limit_kb }: ChannelDelivery["limits"]): string[] {
  const rates = [rate_limit > 0 ? plural(rate_limit, "message") : "", rate_limit_kb > 0 ? `${exact(rate_limit_kb)} KiB` : ""];
  const limited = rates.filter((text) => text !== "");
  return [
    ...(skip ? ["all messages are skipped: finished without being delivered"] : []),
    ...(skip_zan_test ? ["messages that are marked as tests are skipped"] : []),
    ...(limited.length > 0 ? [`at most ${limited.join(" and ")} per second`] : []),
    ...client_limits.map(
      ({ prefix, ready }) =>
        `at most ${exact(ready)} in flight at ${prefix === "" ? "each client" : `clients whose address or id begins with ${prefix}`}`,
    ),
  ];
}

/** What the headers of a channel's dead letters have, as the broker adds it. */
function deadLetterOf(topic: string, channel: string): string {
  return `"bunsq-dead-letter-topic":"${topic}","bunsq-dead-letter-channel":"${channel}"`;
}

interface DeliveryProps {
  topic: string;
  channel: string;
  delivery: ChannelDelivery;
}

/** How a channel delivers its messages, and what came of it. */
export function Delivery({ topic, channel, delivery }: DeliveryProps) {
  const { order, filter, max_attempts: attempts, dead_letter_topic: deadLetters, most_tried: tried } = delivery;
  const limits = limitTexts(delivery.limits);
  return (
    <section class="panel" aria-labelledby="delivery-title">
      <header class="panel-head">
        <h2 id="delivery-title">Delivery</h2>
        {delivery.differs && <Tag tone="warn">brokers differ</Tag>}
      </header>
      <dl class="pairs">
        <dt>Order</dt>
        <dd>
          {ORDERS[order]} <span class="muted">({ORDER_HINTS[order]})</span>
        </dd>
        {order !== "none" && (
          <>
            <dt>Blocked</dt>
            <dd>
              {plural(delivery.blocked, "message")} <span class="muted">that wait for others of their {order}</span>
            </dd>
          </>
        )}
        {limits.length > 0 && (
          <>
            <dt>Held back</dt>
            <dd>
              {limits.map((text) => (
                <div key={text}>{text}</div>
              ))}
            </dd>
          </>
        )}
        <dt>Filter</dt>
        <dd>{filter === null ? "none: all messages" : <code>{JSON.stringify(filter)}</code>}</dd>
        {(filter !== null || delivery.filtered > 0) && (
          <>
            <dt>Filtered</dt>
            <dd>{plural(delivery.filtered, "message")} finished without being delivered</dd>
          </>
        )}
        <dt>Attempts</dt>
        <dd>{attempts === 0 ? "without end" : `at most ${attempts}, then to the dead letters`}</dd>
        {(attempts > 0 || delivery.dead_letters > 0) && (
          <>
            <dt>Dead letters</dt>
            <dd>
              {exact(delivery.dead_letters)}
              {deadLetters !== "" && (
                <>
                  {" in "}
                  <TopicLink topic={deadLetters} />
                  {": "}
                  <a href={href(withQuery("/messages", { topic: deadLetters, match: "header", q: deadLetterOf(topic, channel) }))}>
                    messages of this channel
                  </a>
                </>
              )}
            </dd>
          </>
        )}
        <dt>Most tried</dt>
        <dd>
          {tried === null ? (
            <span class="muted">none that was delivered again</span>
          ) : (
            <>
              <MessageLink topic={topic} channel={channel} id={tried.id} broker={tried.broker} />, {plural(tried.attempts, "attempt")}
            </>
          )}
        </dd>
      </dl>
    </section>
  );
}
