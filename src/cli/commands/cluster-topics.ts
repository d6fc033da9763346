import type { ClusterTopic } from "../../client/bun.ts";
import { askCluster, brokerLabels, CLUSTER_TABLE } from "../command/cluster.ts";
import { command, EXIT_OK } from "../command/command.ts";
import { type Column, tableLines } from "../command/text-table.ts";
import { checkName, TOPIC } from "../command/words.ts";

interface Row {
  topic: ClusterTopic;
  partition: ClusterTopic["partitions"][number];
}

/** @param isAway whether a broker is not there, by its uid: the replicas in sync are as they were when somebody could write that last */
function columns(label: (uid: string) => string, isAway: (uid: string) => boolean): readonly Column<Row>[] {
  const list = (uids: readonly string[]) => uids.map(label).join(" ");
  const leaderText = (uid: string) => (uid === "" ? "none" : `${label(uid)}${isAway(uid) ? " (away)" : ""}`);
  const inSyncText = ({ replicas, min_in_sync: least }: ClusterTopic, { in_sync: inSync }: Row["partition"]) => {
    const away = inSync.filter(isAway).length;
    const which = away === 0 ? "" : away === inSync.length ? `, ${away === 1 ? "away" : "all away"}` : `, ${away} of them away`;
    return `${inSync.length} of ${replicas}, needs ${least}${which}`;
  };
  return [
    { title: "TOPIC", text: ({ topic }) => topic.topic },
    { title: "PARTITION", isNumber: true, text: ({ partition }) => String(partition.partition) },
    { title: "LEADER", text: ({ partition }) => leaderText(partition.leader) },
    { title: "IN SYNC", text: ({ topic, partition }) => inSyncText(topic, partition) },
    { title: "REPLICAS", text: ({ partition }) => list(partition.replicas) },
    { title: "NOT IN SYNC", text: ({ partition }) => list(partition.replicas.filter((uid) => !partition.in_sync.includes(uid))) },
    { title: "EPOCH", isNumber: true, text: ({ partition }) => String(partition.epoch) },
    {
      title: "STATE",
      text: ({ topic, partition: { move } }) =>
        [topic.change ?? "", move === null ? "" : `${move.what}${move.to === "" ? "" : ` to ${label(move.to)}`}: ${move.state}`]
          .filter((part) => part !== "")
          .join(", "),
    },
  ];
}

/** `bunsq cluster topics` */
export const clusterTopicsCommand = command({
  name: "topics",
  summary: "show where the replicas of topics are",
  about: `IN SYNC counts the replicas that have all that was acknowledged, and says how many the topic is to have and how many of them must have a
publish. Those of them that are away now are told apart. Topics that a broker has for itself are not among them: bunsq topics lists these.`,
  words: [{ ...TOPIC, isOptional: true }],
  table: CLUSTER_TABLE,
  run: async (call) => {
    const { terminal, options, words } = call;
    const topic = words[0] === undefined ? undefined : checkName("topic", words[0]);
    const [topics, status] = await askCluster(call, (client) => Promise.all([client.topics(topic), client.status()]));
    if (options.json) await terminal.printJson(topics);
    else if (topics.length === 0) terminal.warn("the cluster has no topics");
    else {
      const rows = topics.flatMap((one) => one.partitions.map((partition): Row => ({ topic: one, partition })));
      const away = new Set(status.brokers.filter(({ away_ms: awayMs }) => awayMs !== null).map(({ uid }) => uid));
      const [titles = "", ...lines] = tableLines(
        columns(brokerLabels(status), (uid) => away.has(uid)),
        rows,
      );
      await terminal.print(`${[terminal.style("bold", titles), ...lines].join("\n")}\n`);
    }
    return EXIT_OK;
  },
});
