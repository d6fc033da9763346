import { useState } from "preact/hooks";
import type { BrokerRow, ChannelRow, LookupRow, Overview, ServerState } from "../../console-api.ts";
import { bytes, count, exact, plural, rate } from "../format/numbers.ts";
import { duration } from "../format/time.ts";
import { depth, depthSpark, inFlight, oldest, outRate, requeueRate, timeoutRate } from "../parts/count-columns.tsx";
import { Failure } from "../parts/failure.tsx";
import { HistoryChart } from "../parts/history-chart.tsx";
import { BrokerLink, ChannelLink, Health, Paused } from "../parts/names.tsx";
import { Segments } from "../parts/segments.tsx";
import { Sparkline } from "../parts/sparkline.tsx";
import { Stat, Stats } from "../parts/stats.tsx";
import { type Column, Table } from "../parts/table.tsx";
import { rowKey } from "../state/delta.ts";
import { href } from "../state/location.ts";
import { useView } from "../state/use-view.ts";

/** Below this share of free space a disk is marked: a broker stops accepting publishes when it is full. */
const LITTLE_SPACE_BYTES = 1_000_000_000;

export function OverviewView() {
  const { data, error } = useView<Overview>("/overview");
  return (
    <>
      <h1>Overview</h1>
      <Failure error={error} />
      {data !== undefined && (
        <>
          <AtRisk atRisk={data.at_risk} />
          <Totals data={data} />
          <Servers brokers={data.brokers} lookups={data.lookups} />
          <Worst worst={data.worst} />
          <HistoryChart />
        </>
      )}
    </>
  );
}

/** Leads to what is at risk of a replicated cluster, if there is something. */
function AtRisk({ atRisk }: { atRisk: Overview["at_risk"] }) {
  if (atRisk === undefined || atRisk.critical + atRisk.warning === 0) return null;
  const { critical, warning } = atRisk;
  const texts = [...(critical > 0 ? [`${exact(critical)} critical`] : []), ...(warning > 0 ? [plural(warning, "warning")] : [])];
  return (
    <ul class="findings" aria-label="Cluster">
      <li class={critical > 0 ? "bad" : "warn"}>
        The <a href={href("/cluster")}>cluster</a> is at risk: {texts.join(", ")}.
      </li>
    </ul>
  );
}

function Totals({ data }: { data: Overview }) {
  const { spark } = data;
  return (
    <Stats>
      <Stat label="In" note={<Sparkline values={spark.in_rate} series={2} wide />}>
        {rate(data.in_rate)}
        <small> /s</small>
      </Stat>
      <Stat label="Out" note={<Sparkline values={spark.out_rate} series={1} wide />}>
        {rate(data.out_rate)}
        <small> /s</small>
      </Stat>
      <Stat label="Backlog" note={<Sparkline values={spark.depth} series={3} wide />}>
        <span title={exact(data.depth)}>{count(data.depth)}</span>
      </Stat>
      <Stat label="Oldest waiting">{duration(data.oldest_age_ms)}</Stat>
      <Stat label="In flight" note={`${count(data.deferred)} deferred`}>
        {count(data.in_flight)}
      </Stat>
      <Stat label="Time-outs" note={`${rate(data.requeue_rate)} requeued /s`} tone={(data.timeout_rate ?? 0) > 0 ? "warn" : ""}>
        {rate(data.timeout_rate)}
        <small> /s</small>
      </Stat>
      <Stat label="Topics" note={plural(data.channels, "channel")}>
        <a href={href("/topics")}>{count(data.topics)}</a>
      </Stat>
      <Stat label="Clients">
        <a href={href("/clients")}>{count(data.clients)}</a>
      </Stat>
    </Stats>
  );
}

const BROKER_COLUMNS: readonly Column<BrokerRow>[] = [
  {
    title: "Broker",
    cell: (row) => (
      <>
        <BrokerLink address={row.address} /> <Health server={row} />
        {row.down !== undefined && <span class="why text-bad">{row.down}</span>}
        {row.unhealthy !== undefined && <span class="why text-warn">{row.unhealthy}</span>}
      </>
    ),
  },
  { title: "In /s", isNumber: true, width: 80, cell: (row) => (row.down === undefined ? rate(row.in_rate) : "–") },
  { title: "Out /s", isNumber: true, width: 80, cell: (row) => (row.down === undefined ? rate(row.out_rate) : "–") },
  { title: "Backlog", isNumber: true, width: 84, priority: 2, cell: (row) => (row.down === undefined ? count(row.depth) : "–") },
  { title: "Log", hint: "Bytes of its data path", isNumber: true, width: 84, priority: 3, cell: (row) => bytes(row.log_bytes) },
  {
    title: "Disk free",
    isNumber: true,
    width: 92,
    priority: 2,
    cell: (row) => (
      <span class={row.disk_free_bytes !== null && row.disk_free_bytes < LITTLE_SPACE_BYTES ? "text-bad" : ""}>
        {bytes(row.disk_free_bytes)}
      </span>
    ),
  },
];

const LOOKUP_COLUMNS: readonly Column<LookupRow>[] = [
  {
    title: "Lookup server",
    cell: (row) => (
      <>
        {row.address} <Health server={row} />
        {row.down !== undefined && <span class="why text-bad">{row.down}</span>}
      </>
    ),
  },
  { title: "Brokers", isNumber: true, width: 84, cell: (row) => (row.down === undefined ? count(row.brokers) : "–") },
  { title: "Topics", isNumber: true, width: 84, cell: (row) => (row.down === undefined ? count(row.topics) : "–") },
];

function Servers({ brokers, lookups }: { brokers: readonly BrokerRow[]; lookups: readonly LookupRow[] }) {
  const down = brokers.filter((broker) => broker.down !== undefined).length;
  return (
    <div class="columns">
      <section class="panel wide" aria-labelledby="brokers-title">
        <header class="panel-head">
          <h2 id="brokers-title">
            <a href={href("/nodes")}>Brokers</a>
          </h2>
          <span class={down > 0 ? "text-bad" : "muted"}>
            {down > 0 ? `${down} of ${brokers.length} down` : `${plural(brokers.length, "broker")}, all up`}
          </span>
        </header>
        <Table
          label="Brokers"
          columns={BROKER_COLUMNS}
          rows={brokers}
          rowKey={rowKey}
          tone={(row: ServerState) => (row.down === undefined ? "" : "bad")}
          empty="No broker is known."
        />
      </section>
      <section class="panel" aria-labelledby="lookups-title">
        <header class="panel-head">
          <h2 id="lookups-title">
            <a href={href("/lookup")}>Lookup servers</a>
          </h2>
        </header>
        <Table
          label="Lookup servers"
          columns={LOOKUP_COLUMNS}
          rows={lookups}
          rowKey={rowKey}
          tone={(row: ServerState) => (row.down === undefined ? "" : "bad")}
          empty="None: the brokers are given by their addresses."
        />
      </section>
    </div>
  );
}

type Measure = keyof Overview["worst"];

const MEASURES: readonly { value: Measure; label: string }[] = [
  { value: "depth", label: "Depth" },
  { value: "oldest_age_ms", label: "Oldest" },
  { value: "timeout_rate", label: "Time-outs" },
  { value: "requeue_rate", label: "Requeues" },
];

const WORST_COLUMNS: readonly Column<ChannelRow>[] = [
  {
    title: "Channel",
    cell: (row) => (
      <>
        <ChannelLink topic={row.topic} channel={row.channel} full /> <Paused paused={row.paused} brokers={row.brokers} />
      </>
    ),
  },
  depth,
  oldest,
  { ...inFlight, priority: 3 },
  { ...outRate, priority: 2 },
  { ...timeoutRate, priority: 2 },
  requeueRate,
  depthSpark,
];

function Worst({ worst }: { worst: Overview["worst"] }) {
  const [measure, setMeasure] = useState<Measure>("depth");
  return (
    <section class="panel" aria-labelledby="worst-title">
      <header class="panel-head">
        <h2 id="worst-title">Worst channels</h2>
        <Segments
          label="By"
          options={MEASURES}
          value={measure}
          onChange={(value) => setMeasure(MEASURES.find((option) => option.value === value)?.value ?? "depth")}
        />
      </header>
      <Table label="Worst channels" columns={WORST_COLUMNS} rows={worst[measure]} rowKey={rowKey} empty="No channel stands out." />
    </section>
  );
}
