import type { ClusterBroker, ClusterMove, ReplicaAt, ReplicaRow } from "../../cluster-api.ts";
import { askLead, askMove } from "../dialogs/cluster-dialogs.tsx";
import { bytes, count, exact } from "../format/numbers.ts";
import { duration } from "../format/time.ts";
import { may } from "../state/session.ts";
import { LiveTable } from "./live-table.tsx";
import { Tag, TopicLink } from "./names.tsx";
import type { Column } from "./table.tsx";

const STATES: Record<ReplicaRow["state"], { text: string; tone: "bad" | "warn" | "ok" | ""; title: string }> = {
  ok: { text: "in sync", tone: "ok", title: "All its replicas have everything" },
  moving: { text: "moving", tone: "", title: "A change of its replicas is under way" },
  under_replicated: { text: "under-replicated", tone: "warn", title: "Fewer replicas are in sync than it is to have" },
  unwritable: { text: "not writable", tone: "bad", title: "Too few replicas are in sync, so publishes are refused; consumers go on" },
  offline: { text: "no leader", tone: "bad", title: "Nothing can be published to it or consumed" },
};

const ROLES: Record<ReplicaAt["role"], { tone: "bad" | "warn" | "ok" | ""; title: string }> = {
  leader: { tone: "ok", title: "leads" },
  in_sync: { tone: "", title: "is in sync" },
  behind: { tone: "warn", title: "is not in sync" },
  away: { tone: "bad", title: "is away" },
};

/** `from A to B`, in words. */
export function moveText({ what, from, to }: Pick<ClusterMove, "what" | "from" | "to">): string {
  switch (what) {
    case "replace":
      return `from ${from} to ${to}`;
    case "add":
      return `new replica at ${to}`;
    case "drop":
      return `no replica at ${from} any more`;
    case "lead":
      return `${to} is to lead`;
  }
}

export const MOVE_STATES: Record<ClusterMove["state"], string> = {
  waiting: "waits for other moves",
  copying: "is copied",
  leading: "waits for the hand-over",
};

const topic: Column<ReplicaRow> = {
  sort: "topic",
  title: "Partition",
  cell: (row) => (
    <>
      <TopicLink topic={row.topic} /> / {row.partition}
    </>
  ),
};
const partition: Column<ReplicaRow> = { sort: "partition", title: "Partition", width: 92, cell: (row) => row.partition };

const state: Column<ReplicaRow> = {
  sort: "state",
  title: "State",
  width: 128,
  cell: ({ state: name, move }) => {
    const { tone, text, title } = STATES[name];
    return (
      <Tag tone={tone} title={move === null ? title : `${title}; ${moveText(move)}: ${MOVE_STATES[move.state]}`}>
        {text}
      </Tag>
    );
  },
};
const replicas: Column<ReplicaRow> = {
  sort: "leader",
  title: "Replicas",
  hint: "The leader is green; yellow is not in sync, red is away",
  cell: (row) => (
    <span class="replicas">
      {row.replicas.map(({ uid, name, role, lag_messages: lag }) => (
        <Tag key={uid} tone={ROLES[role].tone} title={`${name} ${ROLES[role].title}${lag ? `, and lacks ${exact(lag)} messages` : ""}`}>
          {name}
        </Tag>
      ))}
    </span>
  ),
};
const ALIKE: readonly Column<ReplicaRow>[] = [
  {
    sort: "in_sync",
    title: "In sync",
    hint: "Replicas that have everything, of those that there are to be",
    isNumber: true,
    width: 76,
    cell: (row) => (
      <span class={row.in_sync < row.min_in_sync ? "text-bad" : row.in_sync < row.replica_count ? "text-warn" : ""}>
        {row.in_sync} of {row.replica_count}
      </span>
    ),
  },
  {
    sort: "lag_messages",
    title: "Lag",
    hint: "Messages that the follower lacks that is farthest behind",
    isNumber: true,
    width: 76,
    priority: 2,
    cell: (row) => (
      <span class={row.lag_messages === 0 ? "zero" : ""} title={row.lag_bytes === null ? undefined : `about ${bytes(row.lag_bytes)}`}>
        {count(row.lag_messages)}
      </span>
    ),
  },
  {
    sort: "lag_ms",
    title: "Behind for",
    isNumber: true,
    width: 92,
    priority: 3,
    cell: (row) => (row.lag_ms === 0 ? <span class="zero">–</span> : duration(row.lag_ms)),
  },
  {
    sort: "epoch",
    title: "Epoch",
    hint: "Grows with each change of leader",
    isNumber: true,
    width: 68,
    priority: 4,
    cell: (row) => row.epoch,
  },
];

/** Three replicas with addresses of usual length fit, and the list into a window of usual width. */
const OF_CLUSTER: readonly Column<ReplicaRow>[] = [{ ...topic, width: 170 }, state, { ...replicas, width: 340 }, ...ALIKE];
const OF_TOPIC: readonly Column<ReplicaRow>[] = [partition, state, replicas, ...ALIKE];

interface ReplicasTableProps {
  /** Only this topic's partitions. */
  topic?: string;
  brokers: readonly ClusterBroker[];
}

/** The partitions of the cluster with their replicas, or those of one topic. They are asked for while this is on the page. */
export function ReplicasTable({ topic: only, brokers }: ReplicasTableProps) {
  const columns = [...(only === undefined ? OF_CLUSTER : OF_TOPIC)];
  if (may("admin", only ?? "")) {
    columns.push({
      title: "Action",
      width: 172,
      cell: (row) => (
        <>
          <button type="button" class="small" aria-label={`Move ${row.key}`} onClick={() => askMove(row, brokers)}>
            Move …
          </button>{" "}
          <button type="button" class="small" aria-label={`Change the leader of ${row.key}`} onClick={() => askLead(row)}>
            Leader …
          </button>
        </>
      ),
    });
  }
  return (
    <LiveTable
      label="Replicas"
      path="/replicas"
      fixed={{ topic: only }}
      columns={columns}
      sort={only === undefined ? "state" : "partition"}
      noun="partition"
      prefix="replica-"
      empty="The cluster has no topics."
      tone={({ state }) => {
        const { tone } = STATES[state];
        return tone === "ok" ? "" : tone;
      }}
    />
  );
}
