import type { Broker } from "../../../../src/broker/broker.ts";
import type { TopicProperties } from "../../../../src/broker/topics/topic-properties.ts";
import { DEFAULT_PROPERTIES } from "../../../../src/broker/topics/topic-properties.ts";

/** Makes a topic with properties and a number of partitions. */
export function makeTopic(broker: Broker, name: string, properties: Partial<TopicProperties>, partitions = 1): void {
  const topic = broker.registry.topicWith(name, partitions);
  topic.properties = { ...DEFAULT_PROPERTIES, ...properties };
}
