import type { ClusterBroker, ClusterDetail, ClusterMove, ClusterRisk } from "../../cluster-api.ts";
import { askBalance, askKeep, askRemove } from "../dialogs/cluster-dialogs.tsx";
import { bytes, count, exact, plural } from "../format/numbers.ts";
import { duration } from "../format/time.ts";
import { Failure } from "../parts/failure.tsx";
import { BrokerLink, Tag, TopicLink } from "../parts/names.tsx";
import { MOVE_STATES, moveText, ReplicasTable } from "../parts/replicas.tsx";
import { Stat, Stats } from "../parts/stats.tsx";
import { type Column, Table } from "../parts/table.tsx";
import { may } from "../state/session.ts";
import { useSortedRows } from "../state/use-sorted-rows.ts";
import { useView } from "../state/use-view.ts";

export function ClusterView() {
  const { data, error } = useView<ClusterDetail>("/cluster");
  return (
    <>
      <h1>Cluster {data !== undefined && <Tag>{data.cluster}</Tag>}</h1>
      <Failure error={error} />
      {data?.down !== undefined && (
        <p class="failure" role="alert">
          What is here is old: {data.lookup} does not tell of the cluster any more: {data.down}
        </p>
      )}
      {data !== undefined && <Detail detail={data} />}
    </>
  );
}

function Detail({ detail }: { detail: ClusterDetail }) {
  const { brokers, moves, risks } = detail;
  const away = brokers.filter(({ state }) => state === "away").length;
  const members = brokers.filter(({ state }) => state !== "removed").length;
  return (
    <>
      <Stats>
        <Stat label="Brokers alive" tone={away > 0 ? "bad" : ""} note={away > 0 ? `${away} away` : zonesText(brokers)}>
          {members - away} <small>of {members}</small>
        </Stat>
        <Stat label="Partitions" note={plural(detail.topics, "topic")}>
          <span title={exact(detail.partitions)}>{count(detail.partitions)}</span>
        </Stat>
        <Stat label="Without a leader" tone={detail.without_leader > 0 ? "bad" : ""} note="nothing goes in or out">
          {count(detail.without_leader)}
        </Stat>
        <Stat label="Under-replicated" tone={detail.under_replicated > 0 ? "warn" : ""} note="replicas lack something">
          {count(detail.under_replicated)}
        </Stat>
        <Stat label="Moves" note={`${count(moves.filter(({ state }) => state === "waiting").length)} waiting`}>
          {count(moves.length)}
        </Stat>
        <Stat label="Controller" tone={detail.controller === "" ? "warn" : ""} note={detail.controller || "nothing is moved"}>
          {detail.controller === "" ? "none" : "yes"}
        </Stat>
      </Stats>
      <Risks risks={risks} />
      <Brokers brokers={brokers} isBalancing={detail.balancing} />
      <Moves moves={moves} />
      <section class="panel" aria-labelledby="replicas-title">
        <header class="panel-head">
          <h2 id="replicas-title">Partitions</h2>
        </header>
        <ReplicasTable brokers={brokers} />
      </section>
    </>
  );
}

function zonesText(brokers: readonly ClusterBroker[]): string {
  const zones = new Set(brokers.map(({ zone }) => zone).filter((zone) => zone !== ""));
  return zones.size === 0 ? "in no zones" : `in ${plural(zones.size, "zone")}`;
}

/** What is at risk and why, the worst first. */
function Risks({ risks }: { risks: readonly ClusterRisk[] }) {
  if (risks.length === 0)
    return <p class="all-well">Nothing is at risk: all partitions have a leader, and all their replicas are in sync.</p>;
  return (
    <ul class="findings" aria-label="What is at risk">
      {risks.map((risk) => (
        <li key={`${risk.kind} ${risk.partitions[0] ?? risk.text}`} class={risk.severity === "critical" ? "bad" : "warn"}>
          <WithCode text={risk.text} />
          {risk.for_ms !== null && <small> For {duration(risk.for_ms)}.</small>}
        </li>
      ))}
    </ul>
  );
}

/** A sentence in which commands stand between backticks. */
function WithCode({ text }: { text: string }) {
  return <>{text.split("`").map((part, at) => (at % 2 === 1 ? <code key={part}>{part}</code> : part))}</>;
}

function BrokerState({ broker }: { broker: ClusterBroker }) {
  const { state, away_ms: awayMs, removal, draining } = broker;
  if (state === "removed") return <Tag title="It is gone, and has nothing any more">removed</Tag>;
  if (state === "away")
    return (
      <Tag tone="bad" title="It has replicas, and is not in etcd">
        away{awayMs === null ? "" : ` for ${duration(awayMs)}`}
      </Tag>
    );
  return (
    <>
      {removal === null ? <Tag tone="ok">alive</Tag> : null}
      {draining && (
        <Tag tone="warn" title="Its partitions are handed over, and it ends">
          draining
        </Tag>
      )}
    </>
  );
}

/** How far a removal is. */
function Removal({ broker }: { broker: ClusterBroker }) {
  const { removal, state } = broker;
  if (removal === null || state === "removed") return null;
  if (removal.state === "drained") return <Tag tone="ok">has nothing any more: it may be stopped</Tag>;
  return (
    <>
      <Tag tone="warn">
        being removed: {count(removal.left)} of {count(removal.partitions)} left
      </Tag>
      {removal.problem !== "" && <span class="why text-bad">{removal.problem}</span>}
    </>
  );
}

const isThere = ({ state }: ClusterBroker) => state === "alive" || state === "leaving";

const COLUMNS: readonly Column<ClusterBroker>[] = [
  {
    sort: "name",
    title: "Broker",
    cell: (row) => (
      <span class="who" title={`${row.name}, data path ${row.uid}`}>
        {row.address === "" ? <code>{row.name}</code> : <BrokerLink address={row.address} />} <BrokerState broker={row} />{" "}
        <Removal broker={row} />
      </span>
    ),
  },
  { sort: "zone", title: "Zone", width: 100, priority: 2, cell: (row) => row.zone || "–" },
  { sort: "leaders", title: "Leads", hint: "Partitions", isNumber: true, width: 76, priority: 2, cell: (row) => count(row.leaders) },
  {
    sort: "replicas",
    title: "Replicas",
    hint: "Partitions that it has, and of how many it is in sync",
    isNumber: true,
    width: 136,
    cell: (row) => (
      <>
        {count(row.replicas)}
        {row.in_sync < row.replicas && <span class="text-warn"> ({count(row.replicas - row.in_sync)} behind)</span>}
      </>
    ),
  },
  {
    sort: "in_bytes_per_second",
    title: "In B/s",
    isNumber: true,
    width: 92,
    priority: 3,
    cell: (row) => (isThere(row) ? bytes(Math.round(row.in_bytes_per_second)) : "–"),
  },
  {
    sort: "out_bytes_per_second",
    title: "Out B/s",
    isNumber: true,
    width: 92,
    priority: 3,
    cell: (row) => (isThere(row) ? bytes(Math.round(row.out_bytes_per_second)) : "–"),
  },
  { sort: "stored_bytes", title: "Stored", isNumber: true, width: 84, priority: 4, cell: (row) => bytes(row.stored_bytes) },
  {
    sort: "disk_free_bytes",
    title: "Disk free",
    isNumber: true,
    width: 148,
    priority: 2,
    cell: (row) =>
      isThere(row) && row.disk_size_bytes !== null ? (
        <>
          {bytes(row.disk_free_bytes)} <span class="muted">of {bytes(row.disk_size_bytes)}</span>
        </>
      ) : (
        "–"
      ),
  },
  { sort: "version", title: "Version", width: 90, priority: 4, cell: (row) => row.version },
];

function KeepButton({ broker, brokers }: { broker: ClusterBroker; brokers: readonly ClusterBroker[] }) {
  const verb = broker.state === "removed" ? "Forget" : "Keep";
  return (
    <button type="button" class="small" aria-label={`${verb} ${broker.name}`} onClick={() => askKeep(broker, brokers)}>
      {verb} …
    </button>
  );
}

function Brokers({ brokers, isBalancing }: { brokers: readonly ClusterBroker[]; isBalancing: boolean }) {
  const sorted = useSortedRows(brokers, "name");
  const columns = [...COLUMNS];
  if (may("admin")) {
    columns.push({
      title: "Action",
      width: 100,
      priority: 2,
      cell: (row) =>
        row.removal === null ? (
          <button type="button" class="small danger" aria-label={`Remove ${row.name}`} onClick={() => askRemove(row, brokers)}>
            Remove …
          </button>
        ) : (
          <KeepButton broker={row} brokers={brokers} />
        ),
    });
  }
  return (
    <section class="panel" aria-labelledby="cluster-brokers-title">
      <header class="panel-head">
        <h2 id="cluster-brokers-title">Brokers</h2>
        {isBalancing && <Tag title="As was asked for: leaders are handed over, and then replicas moved">being balanced</Tag>}
        {may("admin") && (
          <button type="button" class="small" onClick={askBalance}>
            Balance …
          </button>
        )}
      </header>
      <Table
        label="Brokers of the cluster"
        columns={columns}
        rowKey={(row) => row.uid}
        empty="No broker is in the cluster."
        tone={(row) => (row.state === "away" ? "bad" : row.state === "leaving" || row.draining ? "warn" : "")}
        {...sorted}
      />
    </section>
  );
}

const REASONS: Record<ClusterMove["why"], string> = {
  asked: "asked for",
  balance: "for balance",
  removal: "its broker is removed",
  replicas: "number of replicas",
};

const MOVE_COLUMNS: readonly Column<ClusterMove>[] = [
  {
    title: "Partition",
    cell: (row) => (
      <>
        <TopicLink topic={row.topic} /> / {row.partition}
      </>
    ),
  },
  { title: "Change", cell: (row) => <span title={moveText(row)}>{moveText(row)}</span> },
  { title: "Why", width: 170, priority: 3, cell: (row) => REASONS[row.why] },
  { title: "State", width: 170, cell: (row) => MOVE_STATES[row.state] },
  { title: "For", isNumber: true, width: 84, priority: 2, cell: (row) => duration(row.for_ms) },
];

/** Moves that are shown; a removal plans a few at a time. */
const MOST_MOVES = 100;

function Moves({ moves }: { moves: readonly ClusterMove[] }) {
  if (moves.length === 0) return null;
  const shown = [...moves].sort((one, other) => Number(one.state === "waiting") - Number(other.state === "waiting")).slice(0, MOST_MOVES);
  return (
    <section class="panel" aria-labelledby="moves-title">
      <header class="panel-head">
        <h2 id="moves-title">Moves</h2>
        <span class="muted">{shown.length < moves.length ? `${shown.length} of ${exact(moves.length)}` : ""}</span>
      </header>
      <Table label="Moves" columns={MOVE_COLUMNS} rows={shown} rowKey={(row) => row.key} empty="None." />
    </section>
  );
}
