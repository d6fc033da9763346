import type { ChannelDetail, ChannelOnBroker } from "../../console-api.ts";
import { ChannelActions } from "../dialogs/channel-actions.tsx";
import { count, rate } from "../format/numbers.ts";
import { duration } from "../format/time.ts";
import {
  clients,
  deferred,
  depth,
  finishRate,
  inFlight,
  messageCount,
  oldest,
  onDisk,
  outRate,
  requeueRate,
  requeues,
  timeoutRate,
  timeouts,
} from "../parts/count-columns.tsx";
import { Delivery, isChosen } from "../parts/delivery.tsx";
import { Failure } from "../parts/failure.tsx";
import { Findings } from "../parts/findings.tsx";
import { GraphiteLink } from "../parts/graphite-link.tsx";
import { Histograms } from "../parts/histogram.tsx";
import { HistoryChart } from "../parts/history-chart.tsx";
import { LiveTable } from "../parts/live-table.tsx";
import { BrokerLink, Paused, Stale, Tag, Traced } from "../parts/names.tsx";
import { PartitionsPanel, PartitionTags } from "../parts/partitions.tsx";
import { PathHeading } from "../parts/path-heading.tsx";
import { Stat, Stats } from "../parts/stats.tsx";
import { type Column, Table } from "../parts/table.tsx";
import { href } from "../state/location.ts";
import { channelPath, topicPath, withQuery } from "../state/routes.ts";
import { useSortedRows } from "../state/use-sorted-rows.ts";
import { useView } from "../state/use-view.ts";
import { channelClientColumns } from "./clients.tsx";

export function ChannelView({ topic, channel }: { topic: string; channel: string }) {
  const { data, error } = useView<ChannelDetail>(channelPath(topic, channel));
  return (
    <>
      <PathHeading
        above={[
          { text: "Topics", path: "/topics" },
          { text: topic, path: topicPath(topic) },
        ]}
        name={channel}
      >
        {data !== undefined && <Paused paused={data.paused} brokers={data.brokers} />}
        <Traced trace={data?.trace} />
        {data?.order !== undefined && <Tag title="It delivers in order">ordered by {data.order}</Tag>}
        <PartitionTags partitions={data?.partitions} />
      </PathHeading>
      <Failure error={error} what={`${topic} / ${channel}`} />
      {data !== undefined && <Detail detail={data} />}
    </>
  );
}

function Detail({ detail }: { detail: ChannelDetail }) {
  const { topic, channel } = detail;
  return (
    <>
      <div class="toolbar">
        <ChannelActions detail={detail} />
        <nav class="related" aria-label="More about this channel">
          <a href={href(withQuery("/messages", { topic, channel, state: "waiting" }))}>Messages</a>
          <GraphiteLink topic={topic} channel={channel} />
        </nav>
      </div>
      <Findings topic={topic} channel={channel} findings={detail.findings} />
      <Stats>
        <Stat label="Out">
          {rate(detail.out_rate)}
          <small> /s</small>
        </Stat>
        <Stat label="Finished">
          {rate(detail.finish_rate)}
          <small> /s</small>
        </Stat>
        <Stat label="Depth" note={`${count(detail.backend_depth)} on disk`}>
          {count(detail.depth)}
        </Stat>
        <Stat label="Oldest waiting">{duration(detail.oldest_age_ms)}</Stat>
        <Stat label="In flight" note={`${count(detail.deferred)} deferred`}>
          {count(detail.in_flight)}
        </Stat>
        <Stat label="Requeued" note={`${count(detail.requeue_count)} in all`}>
          {rate(detail.requeue_rate)}
          <small> /s</small>
        </Stat>
        <Stat label="Timed out" note={`${count(detail.timeout_count)} in all`} tone={(detail.timeout_rate ?? 0) > 0 ? "warn" : ""}>
          {rate(detail.timeout_rate)}
          <small> /s</small>
        </Stat>
      </Stats>
      {isChosen(detail.delivery) && <Delivery topic={topic} channel={channel} delivery={detail.delivery} />}
      <section class="panel" aria-labelledby="consumers-title">
        <header class="panel-head">
          <h2 id="consumers-title">Consumers</h2>
        </header>
        <LiveTable
          label="Consumers"
          path="/clients"
          fixed={{ topic, channel }}
          columns={channelClientColumns}
          sort="client_id"
          noun="consumer"
          empty="Nobody consumes: messages wait."
          tone={(row) => (row.findings.length > 0 ? "warn" : "")}
        />
      </section>
      {detail.partitions !== undefined && <PartitionsPanel topic={topic} channel={channel} partitions={detail.partitions} />}
      <ByBroker rows={detail.by_broker} />
      <HistoryChart topic={topic} channel={channel} />
      <div class="columns">
        <Histograms rows={detail.latency} />
        {detail.delivery !== undefined && !isChosen(detail.delivery) && (
          <Delivery topic={topic} channel={channel} delivery={detail.delivery} />
        )}
      </div>
    </>
  );
}

const BROKER_COLUMNS: readonly Column<ChannelOnBroker>[] = [
  {
    sort: "broker",
    title: "Broker",
    cell: (row) => (
      <>
        <BrokerLink address={row.broker} /> {row.paused && <Tag tone="warn">paused</Tag>}
        <Stale row={row} />
        {row.read_failure !== undefined && <span class="why text-bad">{row.read_failure}</span>}
      </>
    ),
  },
  depth,
  oldest,
  onDisk,
  { ...inFlight, priority: 2 },
  deferred,
  outRate,
  finishRate,
  requeueRate,
  timeoutRate,
  messageCount,
  requeues,
  timeouts,
  clients,
];

function ByBroker({ rows }: { rows: readonly ChannelOnBroker[] }) {
  const sorted = useSortedRows(rows, "broker");
  return (
    <section class="panel" aria-labelledby="by-broker-title">
      <header class="panel-head">
        <h2 id="by-broker-title">By broker</h2>
      </header>
      <Table
        label="By broker"
        columns={BROKER_COLUMNS}
        rowKey={(row) => row.broker}
        tone={(row) => (row.read_failure === undefined && row.down === undefined ? "" : "bad")}
        empty="No broker has it."
        {...sorted}
      />
    </section>
  );
}
