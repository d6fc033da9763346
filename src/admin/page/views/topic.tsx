import type { TopicReplication } from "../../cluster-api.ts";
import type { ChannelRow, TopicDetail, TopicOnBroker, TopicSettings } from "../../console-api.ts";
import { askTombstone, TopicActions } from "../dialogs/topic-actions.tsx";
import { bytes, count, plural, rate } from "../format/numbers.ts";
import { duration } from "../format/time.ts";
import {
  clients,
  deferred,
  depth,
  depthSpark,
  finishRate,
  inFlight,
  inRate,
  messageCount,
  oldest,
  onDisk,
  outRate,
  requeueRate,
  size,
  timeoutRate,
} from "../parts/count-columns.tsx";
import { Failure } from "../parts/failure.tsx";
import { GraphiteLink } from "../parts/graphite-link.tsx";
import { Histograms } from "../parts/histogram.tsx";
import { HistoryChart } from "../parts/history-chart.tsx";
import { later } from "../parts/later.tsx";
import { BrokerLink, ChannelLink, Paused, Stale, Tag } from "../parts/names.tsx";
import { PartitionsPanel, PartitionTags } from "../parts/partitions.tsx";
import { PathHeading } from "../parts/path-heading.tsx";
import { Stat, Stats } from "../parts/stats.tsx";
import { type Column, Table } from "../parts/table.tsx";
import { rowKey } from "../state/delta.ts";
import { href } from "../state/location.ts";
import { topicPath, withQuery } from "../state/routes.ts";
import { may } from "../state/session.ts";
import { useSortedRows } from "../state/use-sorted-rows.ts";
import { useView } from "../state/use-view.ts";

const TopicReplicas = later(async () => (await import("../parts/topic-replicas.tsx")).TopicReplicas);

export function TopicView({ topic }: { topic: string }) {
  const { data, error } = useView<TopicDetail>(topicPath(topic));
  return (
    <>
      <PathHeading above={[{ text: "Topics", path: "/topics" }]} name={topic}>
        {data !== undefined && <Paused paused={data.paused} brokers={data.brokers} />}
        {data?.settings?.traced && <Tag title="What happens to each message is kept">traced</Tag>}
        <PartitionTags partitions={data?.partitions} />
        <ReplicationTags replication={data?.replication} />
      </PathHeading>
      <Failure error={error} what={topic} />
      {data !== undefined && <Detail detail={data} />}
    </>
  );
}

function Detail({ detail }: { detail: TopicDetail }) {
  const { topic } = detail;
  return (
    <>
      <div class="toolbar">
        <TopicActions detail={detail} />
        <nav class="related" aria-label="More about this topic">
          <a href={href(withQuery("/messages", { topic }))}>Messages</a>
          <a href={href(withQuery("/clients", { topic }))}>Clients</a>
          <a href={href(withQuery("/producers", { topic }))}>Producers</a>
          <GraphiteLink topic={topic} />
        </nav>
      </div>
      <Stats>
        <Stat label="In">
          {rate(detail.in_rate)}
          <small> /s</small>
        </Stat>
        <Stat label="Out">
          {rate(detail.out_rate)}
          <small> /s</small>
        </Stat>
        <Stat label="Depth" note={`${count(detail.backend_depth)} on disk`}>
          {count(detail.depth)}
        </Stat>
        <Stat label="Oldest waiting">{duration(detail.oldest_age_ms)}</Stat>
        <Stat label="In flight" note={`${count(detail.deferred)} deferred`}>
          {count(detail.in_flight)}
        </Stat>
        <Stat label="Published" note={bytes(detail.message_bytes)}>
          {count(detail.message_count)}
        </Stat>
        <Stat label="Clients">{count(detail.clients)}</Stat>
      </Stats>
      <Channels rows={detail.channel_rows} />
      {detail.replication !== undefined && <TopicReplicas topic={topic} replication={detail.replication} />}
      {detail.partitions !== undefined && <PartitionsPanel topic={topic} partitions={detail.partitions} />}
      <ByBroker topic={topic} rows={detail.by_broker} />
      {detail.inactive !== true && <HistoryChart topic={topic} />}
      <div class="columns">
        <Histograms rows={detail.latency} />
        {detail.settings !== undefined && <Settings settings={detail.settings} />}
      </div>
    </>
  );
}

/** On how many brokers each partition is to be, and what is wrong with that. */
function ReplicationTags({ replication }: { replication: TopicReplication | undefined }) {
  if (replication === undefined) return null;
  const { replicas, without_leader: leaderless, under_replicated: lacking, change } = replication;
  return (
    <>
      <Tag>{plural(replicas, "replica")}</Tag>
      {leaderless > 0 && <Tag tone="bad">{count(leaderless)} without a leader</Tag>}
      {lacking > 0 && <Tag tone="warn">{count(lacking)} under-replicated</Tag>}
      {change !== null && <Tag tone="warn">{CHANGES[change]}</Tag>}
    </>
  );
}

const CHANGES: Record<NonNullable<TopicReplication["change"]>, string> = {
  create: "being made",
  expand: "getting more partitions",
  delete: "being deleted",
};

/** A message that was delivered this often is a finding of its channel, too. */
const MANY_ATTEMPTS = 5;

const CHANNEL_COLUMNS: readonly Column<ChannelRow>[] = [
  {
    sort: "channel",
    title: "Channel",
    cell: (row) => (
      <>
        <ChannelLink topic={row.topic} channel={row.channel} /> <Paused paused={row.paused} brokers={row.brokers} />
        {row.order !== undefined && <Tag>ordered by {row.order}</Tag>}{" "}
        {(row.most_attempts ?? 0) >= MANY_ATTEMPTS && (
          <Tag tone="bad" title="A message fails again and again">
            {row.most_attempts} attempts
          </Tag>
        )}
      </>
    ),
  },
  depth,
  oldest,
  { ...inFlight, priority: 2 },
  deferred,
  outRate,
  finishRate,
  requeueRate,
  timeoutRate,
  clients,
  depthSpark,
];

function Channels({ rows }: { rows: readonly ChannelRow[] }) {
  const sorted = useSortedRows(rows, "channel");
  return (
    <section class="panel" aria-labelledby="channels-title">
      <header class="panel-head">
        <h2 id="channels-title">Channels</h2>
        <span class="muted">{plural(rows.length, "channel")}</span>
      </header>
      <Table
        label="Channels"
        columns={CHANNEL_COLUMNS}
        rowKey={rowKey}
        empty="No channel: the topic keeps its messages for the first one."
        {...sorted}
      />
    </section>
  );
}

function ByBroker({ topic, rows }: { topic: string; rows: readonly TopicOnBroker[] }) {
  const sorted = useSortedRows(rows, "broker");
  const columns: Column<TopicOnBroker>[] = [
    {
      sort: "broker",
      title: "Broker",
      cell: (row) => (
        <>
          <BrokerLink address={row.broker} /> {row.paused && <Tag tone="warn">paused</Tag>}
          {row.tombstoned && <Tag title="Lookup servers do not tell consumers that it has the topic">tombstoned</Tag>}
          <Stale row={row} />
        </>
      ),
    },
    { sort: "hostname", title: "Host", width: 130, priority: 3, cell: (row) => row.hostname },
    depth,
    onDisk,
    { ...inRate, priority: 2 },
    outRate,
    messageCount,
    size,
  ];
  if (may("admin", topic)) {
    columns.push({
      title: "Action",
      width: 122,
      priority: 2,
      cell: (row) =>
        row.tombstoned ? null : (
          <button
            type="button"
            class="small danger"
            aria-label={`Tombstone ${topic} on ${row.broker}`}
            onClick={() => askTombstone(topic, row.broker)}
          >
            Tombstone …
          </button>
        ),
    });
  }
  return (
    <section class="panel" aria-labelledby="by-broker-title">
      <header class="panel-head">
        <h2 id="by-broker-title">By broker</h2>
      </header>
      <Table
        label="By broker"
        columns={columns}
        rowKey={(row) => row.broker}
        empty="No broker has it."
        tone={(row) => (row.down === undefined ? "" : "bad")}
        {...sorted}
      />
    </section>
  );
}

function Settings({ settings }: { settings: TopicSettings }) {
  return (
    <section class="panel" aria-labelledby="settings-title">
      <header class="panel-head">
        <h2 id="settings-title">Settings</h2>
        {settings.differs && <Tag tone="warn">brokers differ</Tag>}
      </header>
      <dl class="pairs">
        <dt>Durability</dt>
        <dd>{settings.durability}</dd>
        <dt>Retention</dt>
        <dd>
          {retention(settings)} {settings.is_default_retention && <span class="muted">(the broker's)</span>}
        </dd>
        <dt>Log</dt>
        <dd>
          {bytes(settings.log_bytes)}
          {settings.oldest !== null && <span class="muted"> since {settings.oldest}</span>}
        </dd>
        <dt>Tracing</dt>
        <dd>{tracing(settings)}</dd>
      </dl>
    </section>
  );
}

/** What is kept of what all channels have finished. */
function retention({ retention_time: time, retention_bytes: size }: TopicSettings): string {
  const hasTime = /[1-9]/.test(time);
  if (!hasTime && size === 0) return "none: what all channels have finished is removed";
  return [...(hasTime ? [time] : []), ...(size > 0 ? [bytes(size)] : [])].join(", at most ");
}

/** Channels that are named where they are traced by themselves. */
const NAMED_CHANNELS = 3;

function tracing({ traced, traced_channels: channels }: TopicSettings): string {
  if (channels.length === 0) return traced ? "on" : "off";
  const more = channels.length - NAMED_CHANNELS;
  const names = `${channels.slice(0, NAMED_CHANNELS).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
  return `${traced ? "on; also" : "off; only"} by itself: ${names}`;
}
