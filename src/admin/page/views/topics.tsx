import type { TopicRow } from "../../console-api.ts";
import { askCreate } from "../dialogs/create-dialog.tsx";
import {
  brokers,
  channels,
  clients,
  deferred,
  depth,
  depthSpark,
  finishRate,
  inFlight,
  inRate,
  messageCount,
  oldest,
  outRate,
} from "../parts/count-columns.tsx";
import { LiveTable } from "../parts/live-table.tsx";
import { Paused, Tag, TopicLink } from "../parts/names.tsx";
import { PartitionTags } from "../parts/partitions.tsx";
import type { Column } from "../parts/table.tsx";
import { may } from "../state/session.ts";

export const TOPIC_COLUMN: Column<TopicRow> = {
  sort: "topic",
  title: "Topic",
  cell: (row) => (
    <>
      <TopicLink topic={row.topic} /> <Paused paused={row.paused} brokers={row.brokers} />
      <PartitionTags partitions={row.partitions} />
      {row.inactive && <Tag title="Only a lookup server knows it: no broker has it.">inactive</Tag>}
    </>
  ),
};

const COLUMNS: readonly Column<TopicRow>[] = [
  TOPIC_COLUMN,
  depth,
  oldest,
  { ...inFlight, priority: 2 },
  deferred,
  inRate,
  outRate,
  finishRate,
  messageCount,
  channels,
  clients,
  brokers,
  depthSpark,
];

export function TopicsView() {
  return (
    <>
      <h1>Topics</h1>
      <LiveTable
        label="Topics"
        path="/topics"
        columns={COLUMNS}
        sort="topic"
        noun="topic"
        empty="There is no topic yet. The first publish or subscription creates one."
        tone={(row) => (row.inactive ? "off" : "")}
      >
        {may("admin") && (
          <button type="button" onClick={() => askCreate()}>
            New topic …
          </button>
        )}
      </LiveTable>
    </>
  );
}
