import type { Family } from "../../../http/metrics/family.ts";
import { labels, type MetricText } from "../../../http/metrics/metric-text.ts";
import { one } from "../../../http/metrics/process-metrics.ts";
import type { Topic } from "../../topics/topic.ts";
import type { ReportedConnection } from "../stats.ts";
import type { MetricsSource } from "./broker-families.ts";
import type { Scope } from "./groups.ts";

/** With more consumers than this an answer is of no use to anybody. */
const MAX_CLIENTS = 10_000;
const LABELS = ["topic", "channel", "client_id", "hostname", "remote_address"];

/** A metric that each consumer has. */
interface ClientFamily extends Family {
  read(connection: ReportedConnection): number;
}

const family = (name: string, kind: "counter" | "gauge", help: string, read: (connection: ReportedConnection) => number): ClientFamily => ({
  ...{ name, kind, help, read, labels: LABELS },
  ...(name.endsWith("_messages") ? { unit: "messages" } : {}),
});

/** The metrics of consumers. */
export const CLIENT_FAMILIES: readonly ClientFamily[] = [
  family("nsq_client_ready", "gauge", "RDY count of a consumer", ({ readyCount }) => readyCount),
  family(
    "nsq_client_in_flight_messages",
    "gauge",
    "Messages that a consumer has and has not finished",
    ({ inFlightCount }) => inFlightCount,
  ),
  family("nsq_client_delivered_messages", "counter", "Messages that went to a consumer", ({ messageCount }) => messageCount),
  family("nsq_client_finished_messages", "counter", "Messages that a consumer finished", ({ finishCount }) => finishCount),
  family("nsq_client_requeued_messages", "counter", "Messages that a consumer requeued", ({ requeueCount }) => requeueCount),
];

export const CLIENTS_LEFT_OUT: Family = {
  name: "nsq_clients_left_out",
  kind: "gauge",
  help: `Consumers that this answer has no metrics of, because there are more than ${MAX_CLIENTS}; ask for one topic or channel`,
};

/** Writes the metrics of the consumers that are asked for. Yields after each sample. */
export function* clientMetrics(source: MetricsSource, scope: Scope, text: MetricText): Generator<void> {
  const clients: { labels: string; connection: ReportedConnection }[] = [];
  let leftOut = 0;
  for (const [topic, channel, connection] of consumersOf(source, scope)) {
    if (clients.length < MAX_CLIENTS) {
      const { clientId, hostname, remoteAddress } = connection;
      clients.push({ labels: labels({ topic, channel, client_id: clientId, hostname, remote_address: remoteAddress }), connection });
    } else {
      leftOut++;
    }
    yield;
  }
  for (const client of CLIENT_FAMILIES) {
    text.family(client);
    for (const { labels, connection } of clients) {
      text.sample(labels, client.read(connection));
      yield;
    }
  }
  one(text, CLIENTS_LEFT_OUT, leftOut);
}

/** The consumers that are asked for, with their topics and channels. */
export function* consumersOf(source: MetricsSource, scope: Scope): Generator<[topic: string, channel: string, ReportedConnection]> {
  const { topics } = source.registry;
  for (const topic of scope.topic === undefined ? topics.values() : [topics.get(scope.topic)]) {
    if (topic !== undefined) yield* consumersIn(source, topic, scope.channel);
  }
}

function* consumersIn(
  { listener }: MetricsSource,
  topic: Topic,
  only: string | undefined,
): Generator<[string, string, ReportedConnection]> {
  for (const channel of topic.channels.values()) {
    if (only !== undefined && channel.name !== only) continue;
    for (const { id } of [...channel.consumers]) {
      const connection = listener.connections.get(id);
      if (connection !== undefined) yield [topic.name, channel.name, connection];
    }
  }
}
