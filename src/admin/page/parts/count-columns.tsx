import type { Counts, Spark } from "../../console-api.ts";
import { bytes, count, exact, rate } from "../format/numbers.ts";
import { duration } from "../format/time.ts";
import { Sparkline } from "./sparkline.tsx";
import type { Column } from "./table.tsx";

/** Columns that topics, channels and brokers have alike. */

function figure<Name extends string>(
  name: Name,
  title: string,
  more: Partial<Column<Record<Name, number | null>>> = {},
): Column<Record<Name, number | null>> {
  return {
    sort: name,
    title,
    isNumber: true,
    width: 84,
    cell: (row) => (
      <span title={exact(row[name])} class={row[name] === 0 ? "zero" : ""}>
        {count(row[name])}
      </span>
    ),
    ...more,
  };
}

function perSecond<Name extends string>(
  name: Name,
  title: string,
  more: Partial<Column<Record<Name, number | null>>> = {},
): Column<Record<Name, number | null>> {
  return {
    sort: name,
    title,
    isNumber: true,
    width: 84,
    cell: (row) => <span class={row[name] === 0 ? "zero" : ""}>{rate(row[name])}</span>,
    ...more,
  };
}

export const depth = figure("depth", "Depth", { hint: "Messages that wait" });
export const onDisk = figure("backend_depth", "On disk", { hint: "Of these, not in memory", priority: 4 });
export const inFlight = figure("in_flight", "In flight");
export const deferred = figure("deferred", "Deferred", { priority: 3 });
export const messageCount = figure("message_count", "Messages", { hint: "Since the broker has the topic", priority: 4 });
export const requeues = figure("requeue_count", "Requeued", { hint: "Since the broker has the channel", priority: 4 });
export const timeouts = figure("timeout_count", "Timed out", { hint: "Since the broker has the channel", priority: 4 });
export const clients = figure("clients", "Clients", { width: 76, priority: 2 });
export const channels = figure("channels", "Channels", { width: 88, priority: 2 });
export const brokers = figure("brokers", "Brokers", { width: 82, priority: 4 });

export const inRate = perSecond("in_rate", "In /s");
export const outRate = perSecond("out_rate", "Out /s");
export const finishRate = perSecond("finish_rate", "Finish /s", { priority: 4 });
export const requeueRate = perSecond("requeue_rate", "Requeue /s", { width: 100, priority: 3 });
export const timeoutRate = perSecond("timeout_rate", "Time-out /s", { width: 104, priority: 3 });

export const oldest: Column<Pick<Counts, "oldest_age_ms">> = {
  sort: "oldest_age_ms",
  title: "Oldest",
  hint: "Age of the oldest message that waits",
  isNumber: true,
  width: 88,
  priority: 2,
  cell: (row) => duration(row.oldest_age_ms),
};

export const size: Column<{ message_bytes: number | null }> = {
  sort: "message_bytes",
  title: "Size",
  hint: "Bytes of all messages since the broker has the topic",
  isNumber: true,
  width: 84,
  priority: 3,
  cell: (row) => bytes(row.message_bytes),
};

export const depthSpark: Column<{ spark: Spark }> = {
  title: "Depth, 2 min",
  width: 96,
  priority: 3,
  cell: (row) => <Sparkline values={row.spark.depth} series={3} />,
};

export const outSpark: Column<{ spark: Spark }> = {
  title: "Out, 2 min",
  width: 96,
  priority: 3,
  cell: (row) => <Sparkline values={row.spark.out_rate} series={1} />,
};

export const inSpark: Column<{ spark: Spark }> = {
  title: "In, 2 min",
  width: 96,
  priority: 3,
  cell: (row) => <Sparkline values={row.spark.in_rate} series={2} />,
};
