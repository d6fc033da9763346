import type { Broker } from "../../../../src/broker/broker.ts";
import type { TopicSettings } from "../../../../src/broker/storage/metadata/topic-settings.ts";

/** Makes a topic with settings and a number of partitions. */
export function makeTopic(broker: Broker, name: string, settings: Partial<TopicSettings>, partitions = 1): void {
  broker.registry.topicWith(name, partitions, settings);
}
