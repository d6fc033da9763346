import type { Broker } from "../../../../src/broker/broker.ts";
import { partitionName } from "../../../../src/broker/storage/metadata/partition-name.ts";
import type { TopicProperties } from "../../../../src/broker/topics/topic-properties.ts";
import { DEFAULT_PROPERTIES } from "../../../../src/broker/topics/topic-properties.ts";
import { idPrefix } from "../../../../src/frame/id.ts";

/** Makes a topic with properties and a number of partitions. */
export function makeTopic(broker: Broker, name: string, properties: Partial<TopicProperties>, partitions = 1): void {
  const { registry, metadata, options } = broker;
  const topic = registry.topic(name);
  topic.properties = { ...DEFAULT_PROPERTIES, ...properties };
  for (let index = topic.partitions.length; index < partitions; index++) {
    const row = partitionName(name, index);
    const made = metadata.makeTopic(row, (number) => idPrefix(options.nodeId, number));
    if (made === undefined) throw new Error("too many topics");
    registry.addPartition({ ...made, name: row }, made.nextSequence);
  }
}
