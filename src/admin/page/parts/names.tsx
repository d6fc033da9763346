import type { ComponentChildren } from "preact";
import type { ChannelTracing, ServerState } from "../../console-api.ts";
import { clock } from "../format/time.ts";
import { href } from "../state/location.ts";
import { now } from "../state/now.ts";
import { brokerPath, channelPath, topicPath, withQuery } from "../state/routes.ts";

/** Links to things by their names. */

export function TopicLink({ topic }: { topic: string }) {
  return (
    <a class="row-link" href={href(topicPath(topic))} title={topic}>
      {topic}
    </a>
  );
}

export function ChannelLink({ topic, channel, full = false }: { topic: string; channel: string; full?: boolean }) {
  return (
    <a class="row-link" href={href(channelPath(topic, channel))} title={`${topic} / ${channel}`}>
      {full ? `${topic} / ${channel}` : channel}
    </a>
  );
}

export function BrokerLink({ address, children }: { address: string; children?: ComponentChildren }) {
  return (
    <a class="row-link" href={href(brokerPath(address))} title={address}>
      {children ?? address}
    </a>
  );
}

/** Leads to one message, beside the list that has it. @param id a message's */
export function MessageLink({ topic, channel, id, broker }: { topic: string; channel: string; id: string; broker: string }) {
  return (
    <a href={href(withQuery("/messages", { topic, channel, state: "waiting", id, at: broker }))}>
      message <code>{id}</code>
    </a>
  );
}

/** A word about a thing: `paused`, `TLS`. */
export function Tag({ tone = "", title, children }: { tone?: "bad" | "warn" | "ok" | ""; title?: string; children: ComponentChildren }) {
  return (
    <span class={`tag ${tone}`} {...(title === undefined ? {} : { title })}>
      {children}
    </span>
  );
}

/** Whether a server answers, and if not, why. */
export function Health({ server }: { server: ServerState & { draining?: true } }) {
  if (server.down !== undefined)
    return (
      <Tag tone="bad" title={server.down}>
        down
      </Tag>
    );
  if (server.draining)
    return (
      <Tag tone="warn" title="It takes no new consumers and publishes, and ends">
        draining
      </Tag>
    );
  if (server.unhealthy !== undefined)
    return (
      <Tag tone="warn" title={server.unhealthy}>
        unhealthy
      </Tag>
    );
  return <Tag tone="ok">up</Tag>;
}

/** Marks a row whose broker does not answer: its figures are the last that the broker told. */
export function Stale({ row }: { row: Pick<ServerState, "down" | "down_since"> }) {
  if (row.down === undefined) return null;
  return (
    <>
      <Tag tone="bad" title="The figures are the last that it told">
        {row.down_since === undefined ? "down" : `down since ${clock(row.down_since, now.value)}`}
      </Tag>
      <span class="why text-bad">{row.down}</span>
    </>
  );
}

/** `paused` if all brokers have paused it, else on how many. */
export function Paused({ paused, brokers }: { paused: number; brokers: number }) {
  if (paused === 0) return null;
  return <Tag tone="warn">{paused === brokers ? "paused" : `paused on ${paused} of ${brokers}`}</Tag>;
}

/** `traced` if all brokers that can do it trace the channel, else on how many. */
export function Traced({ trace }: { trace: ChannelTracing | undefined }) {
  if (trace === undefined) return null;
  const { brokers, own, with_topic: withTopic } = trace;
  const most = Math.max(own, withTopic);
  if (most === 0) return null;
  const where = most === brokers ? "" : ` on ${most} of ${brokers}`;
  return <Tag title="What happens to each message is kept">{own === 0 ? `traced with its topic${where}` : `traced${where}`}</Tag>;
}
