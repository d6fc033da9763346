import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { BROKER_FAMILIES } from "../src/broker/metrics/exposition/broker-families.ts";
import { CLIENT_FAMILIES, CLIENTS_LEFT_OUT } from "../src/broker/metrics/exposition/clients.ts";
import { LOVOO_NAMES, MIXIN_NAMES } from "../src/broker/metrics/exposition/dashboard-names.ts";
import {
  CHANNEL_FAMILIES,
  CHANNEL_RATE_FAMILIES,
  SIZES,
  TO_DELIVERY,
  TO_FINISH,
  TOPIC_FAMILIES,
  TOPIC_RATE,
} from "../src/broker/metrics/exposition/families.ts";
import { CHANNEL_PARTITION_FAMILIES, PARTITIONS_LEFT_OUT, TOPIC_PARTITION_FAMILIES } from "../src/broker/metrics/exposition/partitions.ts";
import { MEMBER_FAMILIES } from "../src/cluster/report/broker-report.ts";
import { ETCD_FAMILIES } from "../src/cluster/report/etcd-metrics.ts";
import { LOOKUP_CLUSTER_FAMILIES } from "../src/cluster/report/lookup-metrics.ts";
import { FOLLOWER_FAMILIES, REPLICA_FAMILIES } from "../src/cluster/report/replica-metrics.ts";
import { type Family, sampleName } from "../src/http/metrics/family.ts";
import { PROCESS_FAMILIES } from "../src/http/metrics/process-metrics.ts";
import { LOOKUP_FAMILIES, LOOKUP_TOPIC_FAMILIES } from "../src/lookup/http/metrics.ts";

export const METRICS_DOC_PATH = join(import.meta.dir, "../docs/metrics.md");

/** All metrics of each part of a server, with the titles of their tables. `added` are the labels that `detail` adds. */
export const METRIC_TABLES: readonly { title: string; families: readonly Family[]; added: string }[] = [
  { title: "Every server", families: PROCESS_FAMILIES, added: "" },
  { title: "The broker", families: BROKER_FAMILIES, added: "" },
  { title: "Topics", families: [...TOPIC_FAMILIES, TOPIC_RATE, SIZES], added: "`topic`" },
  { title: "Channels", families: [...CHANNEL_FAMILIES, ...CHANNEL_RATE_FAMILIES, TO_DELIVERY, TO_FINISH], added: "`topic`, `channel`" },
  {
    title: "Partitions, with detail=partition",
    families: [...TOPIC_PARTITION_FAMILIES, ...CHANNEL_PARTITION_FAMILIES, PARTITIONS_LEFT_OUT],
    added: "",
  },
  { title: "Consumers, with detail=client", families: [...CLIENT_FAMILIES, CLIENTS_LEFT_OUT], added: "" },
  { title: "Replication, at a broker of a cluster", families: [...MEMBER_FAMILIES, ...FOLLOWER_FAMILIES], added: "" },
  { title: "Partitions of a cluster, at each of its brokers", families: REPLICA_FAMILIES, added: "`topic`" },
  { title: "etcd, at every server of a cluster", families: ETCD_FAMILIES, added: "" },
  { title: "The lookup server", families: LOOKUP_FAMILIES, added: "" },
  { title: "The cluster as a whole, at each of its lookups", families: LOOKUP_CLUSTER_FAMILIES, added: "" },
  { title: "Topics at the lookup server, with detail=topic", families: LOOKUP_TOPIC_FAMILIES, added: "" },
];

const INTRODUCTION = `# Metrics

<!-- Generated from the tables in src/ by \`npm run docs\`. Change it in scripts/metrics-doc.ts or in the tables. -->

Broker, lookup server and console answer \`GET /metrics\` with what Prometheus reads: its text format 0.0.4, or OpenMetrics 1.0 where
\`Accept\` asks for it. Nothing has to be installed beside them, and nothing has to be switched on.

    scrape_configs:
      - job_name: bunsq-broker
        static_configs: [{ targets: ["127.0.0.1:4151"] }]
      - job_name: bunsq-lookup
        static_configs: [{ targets: ["127.0.0.1:4161"] }]
      - job_name: bunsq-console
        static_configs: [{ targets: ["127.0.0.1:4171"] }]

In [contrib/prometheus](../contrib/prometheus/) are this configuration, alert rules and their tests; in
[contrib/grafana](../contrib/grafana/) is a dashboard. The names in a job should begin with \`bunsq\`: the alerts look for that.

## What can be asked for

| argument | meaning |
| --- | --- |
| \`detail\` | \`topic\` gives the metrics of topics and channels by topic, \`channel\` by topic and channel, \`partition\` those of each partition, too, where a topic has several (20,000 rows at most), \`client\` those of each consumer, too (of 10,000 at most). Without it there is one value for all |
| \`topic\` | only this topic |
| \`channel\` | only channels with this name, and their topics |

\`detail\` adds labels to the same names, and the value without these labels is left out. So \`sum(nsq_channel_depth_messages)\` is the
same whatever is asked for. Rates and histograms take 3 and 10 to 20 lines each, so they are given by topic and channel only where
\`topic\` names one. Of thousands of channels Prometheus needs the sums mostly, and \`detail=channel\` for the few that matter.

A topic of 1,024 partitions with ten channels has 45,000 series of partitions. So they have names of their own, beside the sums over
partitions that every other \`detail\` gives: scrape \`detail=partition&topic=T\` for the few topics of which you want them.

Counters begin with the broker's start. Without \`topic\` and \`channel\` the totals keep what was counted in topics and channels
that are deleted since; with \`detail\` a deleted one is gone.

A long answer is sent in slices, between which clients are served, and only as fast as it is read. Four long answers are sent at a
time; a further request gets 503. There is no compression: Prometheus and broker are mostly in one network.

## Names for dashboards that exist

\`--metrics-names=mixin\` adds the names of Grafana's NSQ mixin, which come from statsd, \`--metrics-names=lovoo\` those of
lovoo/nsq_exporter, and \`mixin,lovoo\` both. They are given by topic and channel, whatever \`detail\` says, and nsqd's counters are
gauges in them, as they are there. Percentiles are in ns, and only there with \`--e2e-processing-latency-percentile\`. For lovoo's
metrics of clients ask for \`detail=client\`. \`promtool check metrics\` dislikes these names; there is nothing to be done about that.

`;

const STATS = `## Rates and latencies in /stats

\`GET /stats?format=json&bunsq=true\` adds to nsqd's statistics what bunsq's console shows. Without \`bunsq=true\` the answer has
nsqd's keys alone. The cheap form for regular polls is
\`/stats?format=json&include_clients=false&include_mem=false&include_partitions=false&bunsq=true\`.

Each topic has these keys in addition:

| key | unit | meaning |
| --- | --- | --- |
| \`rates\` | per second | an object with \`in\` (published) and, summed over its channels, \`out\` (delivered, redeliveries included), \`finish\`, \`requeue\`, \`timeout\`; each is a list of three numbers: in the last second, and averaged over about 1 and 5 minutes |
| \`oldest_age_ms\` | ms | age of the oldest message that waits, in the topic or in a channel of it; null if none waits |
| \`log_bytes\` | bytes | its log, finished messages that are kept included |
| \`latency\` | | only with \`topic=\`: \`message_size\`, and of all its channels together \`publish_to_delivery\` and \`delivery_to_finish\` |

Each channel:

| key | unit | meaning |
| --- | --- | --- |
| \`rates\` | per second | as above; \`in\` counts the messages that entered the channel |
| \`oldest_age_ms\` | ms | age of the oldest message that waits to be delivered, for the first time or again; null if none waits |
| \`backlog_bytes\` | bytes | the log from the channel's next message to its end |
| \`latency\` | | only with \`topic=\`: \`publish_to_delivery\` and \`delivery_to_finish\` |

The answer as a whole, beside \`version\` and \`health\`:

| key | unit | meaning |
| --- | --- | --- |
| \`rates\` | per second | of all topics and channels together |
| \`oldest_age_ms\` | ms | of all topics and channels; null if nothing waits |
| \`log_bytes\` | bytes | the logs of all topics |
| \`disk_free_bytes\` | bytes | free on the file system of the data path; null where the system does not say |
| \`producer_count\` | | TCP clients that have published |
| \`publish_errors\` | | publishes that were refused or failed, since the start |
| \`latency\` | | \`publish_to_ok\`, \`publish_to_delivery\`, \`delivery_to_finish\`, \`fsync\`, \`message_size\` |
| \`draining\` | | true while the broker is [drained](operations.md#drain); left out otherwise |

At a broker of a [cluster](cluster.md#what-to-look-at), each topic of the cluster has \`replicas\`, also without \`bunsq=true\`, unless
\`include_partitions\` is false: of each of its partitions here \`partition\`, \`role\` (\`leader\`, \`follower\`, or \`out\`: it knows of no leader),
\`epoch\`, \`leader\`, how many \`replicas\` there are to be and are \`in_sync\`, and \`lag_messages\`, \`lag_bytes\`, \`lag_ms\`: those of the follower that is
farthest behind, or at a follower its own, as far as it knows. statsd gets the gauges \`cluster.led_partitions\`,
\`cluster.followed_partitions\`, \`cluster.under_replicated_partitions\`, \`cluster.offline_partitions\` and \`cluster.lag_messages\`.

With clients (\`include_clients\` not false), each consumer and producer has \`publish_errors\`, the publishes of this client that
were refused or failed.

A \`latency\` is a list of histograms, counted since the start:

    {"name": "publish_to_delivery", "unit": "ms", "count": 3, "sum": 1.8,
     "bounds": [0.1, 0.25, 0.5, 1, …], "counts": [0, 1, 1, 1, …]}

\`unit\` is \`ms\` or \`bytes\`. \`bounds\` are upper bounds; \`counts\` has one more number than \`bounds\`, the last is for what is above
all bounds. Each number is of its own bucket, not of all below.
`;

/** The whole of docs/metrics.md. */
export function metricsDoc(): string {
  const named = (names: readonly string[]) => `${names.map((name) => `\`${name}\``).join(", ")}\n`;
  return [
    INTRODUCTION,
    "| flag | names |\n| --- | --- |\n",
    `| \`mixin\` | ${named(MIXIN_NAMES).trimEnd()} |\n`,
    `| \`lovoo\` | ${named(LOVOO_NAMES).trimEnd()} |\n`,
    ...METRIC_TABLES.flatMap(({ title, families, added }) => [
      `\n## ${title}\n\n`,
      added === "" ? "" : `With \`detail\` these have the label${added.includes(",") ? "s" : ""} ${added}.\n\n`,
      "| metric | type | unit | labels | meaning |\n| --- | --- | --- | --- | --- |\n",
      ...families.map(row),
    ]),
    `\n${STATS}`,
  ].join("");
}

function row(family: Family): string {
  const { kind, unit = "", labels = [], help } = family;
  const cells = [`\`${sampleName(family)}\``, kind, unit, labels.map((label) => `\`${label}\``).join(", "), help];
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |\n`;
}

if (import.meta.main) writeFileSync(METRICS_DOC_PATH, metricsDoc());
