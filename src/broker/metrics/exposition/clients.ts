import type { Family } from "../../../http/metrics/family.ts";
import { LINES_PER_STEP, labels, type MetricText } from "../../../http/metrics/metric-text.ts";
import { one } from "../../../http/metrics/process-metrics.ts";
import type { ReportedConnection } from "../stats.ts";
import type { MetricsSource } from "./broker-families.ts";
import type { Scope } from "./groups.ts";

/** With more consumers than this an answer is of no use to anybody. */
const MAX_CLIENTS = 10_000;
const LABELS = ["topic", "channel", "client_id", "hostname", "remote_address"];

/** A metric that each consumer has. */
export interface ClientFamily extends Family {
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

/** A consumer that is asked for. */
export interface ShownConsumer {
  readonly topic: string;
  readonly channel: string;
  readonly connection: ReportedConnection;
}

/** The consumers that are asked for, looked for once. */
export class Consumers {
  readonly shown: ShownConsumer[] = [];
  leftOut = 0;

  /** Yields after each consumer and channel. */
  *read({ registry, listener }: MetricsSource, scope: Scope): Generator<void> {
    const { topics } = registry;
    for (const topic of scope.topic === undefined ? topics.values() : [topics.get(scope.topic)]) {
      if (topic === undefined) continue;
      for (const channel of topic.channels.values()) {
        if (scope.channel !== undefined && channel.name !== scope.channel) continue;
        for (const { id } of [...channel.consumers]) {
          const connection = listener.connections.get(id);
          if (connection !== undefined) this.add({ topic: topic.name, channel: channel.name, connection });
          yield;
        }
        yield;
      }
    }
  }

  private add(consumer: ShownConsumer): void {
    if (this.shown.length < MAX_CLIENTS) this.shown.push(consumer);
    else this.leftOut++;
  }
}

/** Writes the metrics of consumers. Yields after some samples. */
export function* clientMetrics({ shown, leftOut }: Consumers, text: MetricText): Generator<void> {
  const rows: string[] = [];
  for (const { topic, channel, connection } of shown) {
    const { remoteAddress } = connection;
    const { clientId, hostname } = connection.identity;
    rows.push(labels({ topic, channel, client_id: clientId, hostname, remote_address: remoteAddress }));
    yield;
  }
  yield* clientFamilies(CLIENT_FAMILIES, shown, rows, text);
  one(text, CLIENTS_LEFT_OUT, leftOut);
}

/** Writes some families of consumers. Yields after some samples. @param rows the labels of the consumers */
export function* clientFamilies(
  families: readonly ClientFamily[],
  shown: readonly ShownConsumer[],
  rows: readonly string[],
  text: MetricText,
): Generator<void> {
  for (const family of families) {
    text.family(family);
    for (let row = 0; row < rows.length; row++) {
      text.sample(rows[row], family.read(shown[row].connection));
      if (row % LINES_PER_STEP === 0) yield;
    }
  }
}
