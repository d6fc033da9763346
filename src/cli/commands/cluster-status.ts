import type { ClusterBroker, ClusterMove, ClusterStatus } from "../../client/bun.ts";
import { askCluster, brokerLabels, CLUSTER_TABLE } from "../command/cluster.ts";
import { command, EXIT_FAILED, EXIT_OK } from "../command/command.ts";
import type { Terminal } from "../command/terminal.ts";
import { type Column, shortCount, shortDuration, tableLines } from "../command/text-table.ts";

const BROKERS: readonly Column<ClusterBroker>[] = [
  { title: "BROKER", text: ({ http, tcp, uid }) => http || tcp || uid.slice(0, 8) },
  { title: "UID", text: ({ uid }) => uid.slice(0, 8) },
  { title: "STATE", text: stateOf },
  { title: "LEADS", isNumber: true, text: ({ leaders }) => String(leaders) },
  { title: "REPLICAS", isNumber: true, text: ({ replicas }) => String(replicas) },
  { title: "IN SYNC", isNumber: true, text: (broker) => String(broker.in_sync) },
  { title: "ZONE", text: ({ zone }) => zone },
  { title: "DISK FREE", isNumber: true, text: freeOf },
  { title: "IN/S", isNumber: true, text: ({ load }) => shortCount(load.in_bytes_per_second) },
  { title: "OUT/S", isNumber: true, text: ({ load }) => shortCount(load.out_bytes_per_second) },
  { title: "VERSION", text: ({ version }) => version },
];

function stateOf({ state, away_ms: awayMs, removal }: ClusterBroker): string {
  if (state === "removed") return state;
  const away = awayMs === null ? state : `away for ${shortDuration(awayMs)}`;
  if (removal === null) return away;
  const leaving = removal.state === "drained" ? "drained" : `draining, ${removal.left} of ${removal.partitions} left`;
  return state === "away" ? `${away}, ${leaving}` : leaving;
}

function freeOf({ disk }: ClusterBroker): string {
  return disk.size_bytes === 0 ? "" : `${Math.floor((100 * disk.free_bytes) / disk.size_bytes)}%`;
}

function moveColumns(label: (uid: string) => string): readonly Column<ClusterMove>[] {
  return [
    { title: "MOVE", text: ({ topic, partition }) => `${topic}/${partition}` },
    { title: "WHAT", text: ({ what }) => what },
    { title: "FROM", text: ({ from }) => (from === "" ? "" : label(from)) },
    { title: "TO", text: ({ to }) => (to === "" ? "" : label(to)) },
    { title: "WHY", text: ({ why }) => why },
    { title: "STATE", text: ({ state, for_ms: forMs }) => `${state} for ${shortDuration(forMs)}` },
  ];
}

/** `bunsq cluster status` */
export const statusCommand = command({
  name: "status",
  summary: "show brokers, moves, and what is at risk and why",
  about: `LEADS and REPLICAS count partitions, IN SYNC those of the replicas that have all that was acknowledged. What is critical does not work
now, or would be lost with one more disk; then the exit code is 1.`,
  table: CLUSTER_TABLE,
  run: async (call) => {
    const { terminal, options } = call;
    const status = await askCluster(call, (client) => client.status());
    if (options.json) await terminal.printJson(status);
    else await terminal.print(`${statusLines(status, terminal).join("\n")}\n`);
    return status.risks.some(({ severity }) => severity === "critical") ? EXIT_FAILED : EXIT_OK;
  },
});

function statusLines(status: ClusterStatus, terminal: Terminal): string[] {
  const { cluster, controller, brokers, topics, partitions, moves, balancing, risks, lookups } = status;
  const alive = brokers.filter(({ away_ms: awayMs }) => awayMs === null).length;
  const missing = brokers.filter(({ state }) => state === "away").length;
  const lines = [
    `cluster ${cluster}: ${counted(alive, "broker")}${missing > 0 ? ` and ${missing} away` : ""}, ${counted(topics, "topic")}, ${counted(partitions, "partition")}`,
    `lookup servers: ${lookups.map(({ id }) => (id === controller ? `${id} (controller)` : id)).join(", ") || "none"}`,
  ];
  const table = <Row>(columns: readonly Column<Row>[], rows: readonly Row[]) => {
    const [titles = "", ...rest] = tableLines(columns, rows);
    lines.push("", terminal.style("bold", titles), ...rest);
  };
  if (brokers.length > 0) table(BROKERS, brokers);
  if (moves.length > 0) table(moveColumns(brokerLabels(status)), moves);
  if (balancing) lines.push("", "leaders and replicas are being balanced, as was asked for");
  lines.push("");
  if (risks.length === 0) lines.push(terminal.style("green", "nothing is at risk"));
  for (const { severity, text } of risks) lines.push(`${terminal.style(severity === "critical" ? "red" : "yellow", severity)}: ${text}`);
  return lines;
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}
