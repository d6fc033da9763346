import type { PartitionRow, ReplicaRole, TopicPartitions } from "../../partition-api.ts";
import { count, exact, plural } from "../format/numbers.ts";
import { deferred, depth, inFlight, size } from "./count-columns.tsx";
import { LiveTable } from "./live-table.tsx";
import { BrokerLink, Tag } from "./names.tsx";
import type { Column } from "./table.tsx";

/** How many partitions a topic has, and what is wrong with them. Nothing for a topic with one. */
export function PartitionTags({ partitions }: { partitions: TopicPartitions | undefined }) {
  if (partitions === undefined) return null;
  const { count: all, missing, missing_indexes: indexes, differs } = partitions;
  return (
    <>
      <Tag>{all} partitions</Tag>
      {missing > 0 && (
        <Tag tone="bad" title={`No broker that answers has ${indexes}`}>
          {missing} missing
        </Tag>
      )}
      {differs && <Tag tone="warn">brokers differ</Tag>}
    </>
  );
}

const ROLE_WORDS: Record<ReplicaRole, string> = { leader: "leads", follower: "follows", out: "no leader" };
const ROLE_TONES: Record<ReplicaRole, "ok" | "" | "bad"> = { leader: "ok", follower: "", out: "bad" };

const partition: Column<PartitionRow> = { sort: "partition", title: "Partition", width: 92, cell: (row) => row.partition };
const broker: Column<PartitionRow> = {
  sort: "broker",
  title: "Broker",
  cell: (row) =>
    row.broker === "" ? (
      <span class="text-bad">{row.down === undefined ? "nobody" : `nobody: ${row.down.join(", ")} down`}</span>
    ) : (
      <>
        <BrokerLink address={row.broker} /> {row.role !== undefined && <Tag tone={ROLE_TONES[row.role]}>{ROLE_WORDS[row.role]}</Tag>}
      </>
    ),
};
const messages: Column<PartitionRow> = {
  sort: "message_count",
  title: "Messages",
  hint: "Since the broker started",
  isNumber: true,
  width: 92,
  priority: 2,
  cell: (row) => count(row.message_count),
};
const blocked: Column<PartitionRow> = {
  sort: "blocked",
  title: "Blocked",
  hint: "Messages of the depth that wait for others of their key or partition",
  isNumber: true,
  width: 84,
  cell: (row) => <span class={row.blocked === 0 ? "zero" : ""}>{exact(row.blocked)}</span>,
};
const log: Column<PartitionRow> = {
  ...size,
  sort: "log_bytes",
  title: "Log",
  hint: "Bytes on the disk",
  cell: (row) => size.cell({ message_bytes: row.log_bytes }),
};

const OF_TOPIC: readonly Column<PartitionRow>[] = [partition, broker, depth, { ...inFlight, priority: 2 }, deferred, messages, size, log];
const OF_CHANNEL: readonly Column<PartitionRow>[] = [partition, broker, depth, inFlight, blocked, deferred, messages];

interface PartitionsPanelProps {
  topic: string;
  /** Not given: the topic with all its channels. */
  channel?: string;
  partitions: TopicPartitions;
}

/** Each partition at each broker that has it. They are asked for while this is on the page. */
export function PartitionsPanel({ topic, channel, partitions }: PartitionsPanelProps) {
  const { missing, missing_indexes: indexes } = partitions;
  return (
    <section class="panel" aria-labelledby="partitions-title">
      <header class="panel-head">
        <h2 id="partitions-title">Partitions</h2>
        <span class="muted">{plural(partitions.count, "partition")}</span>
      </header>
      {missing > 0 && (
        <ul class="findings" aria-label="Missing partitions">
          <li class="bad">
            No broker that answers has {missing === 1 ? "partition" : "partitions"} {indexes}: what is published to{" "}
            {missing === 1 ? "it" : "them"} is refused, and the messages there are not delivered.
          </li>
        </ul>
      )}
      <LiveTable
        label="Partitions"
        path="/partitions"
        fixed={{ topic, channel }}
        columns={channel === undefined ? OF_TOPIC : OF_CHANNEL}
        sort="partition"
        noun="row"
        prefix="partition-"
        empty="No broker tells of its partitions."
        tone={(row) => (row.broker === "" ? "bad" : "")}
      />
    </section>
  );
}
