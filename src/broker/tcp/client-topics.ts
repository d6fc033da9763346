import type { Line } from "../../frame/line.ts";
import { DRAINING, PublishError } from "../acks/pending-publish.ts";
import type { TopicSettings } from "../storage/metadata/topic-settings.ts";
import type { Topic } from "../topics/topic.ts";
import type { ClientServices } from "./client-services.ts";

/** The topics of the broker, as one client finds and makes them. */
export class ClientTopics {
  constructor(private readonly services: Pick<ClientServices, "registry" | "publishing">) {}

  /** The broker is drained: nobody may subscribe. */
  get isDraining(): boolean {
    return this.services.publishing.isDraining;
  }

  /** The topic that a word of a line names, if it exists. */
  known(line: Line, word: number): Topic | undefined {
    return this.services.registry.knownTopic(line.buffer, line.start(word), line.end(word));
  }

  /** An existing topic, or a new one. The caller has checked the name. @throws PublishError when it cannot be made, or the broker is drained */
  open(name: string): Topic {
    if (this.isDraining) throw new PublishError(DRAINING);
    return this.services.registry.topic(name);
  }

  /**
   * Makes a partition of a topic, with those before it, and the topic if there is none of the name. The caller has checked the name.
   *
   * @param settings that the topic gets if it is new
   * @throws PublishError when it cannot be made, or the broker is drained
   */
  makePartition(name: string, index: number, settings: Partial<TopicSettings>): void {
    if (this.isDraining) throw new PublishError(DRAINING);
    const { registry } = this.services;
    const topic = registry.topics.get(name);
    if (topic?.partition(index) !== undefined) return;
    if (topic?.settings.held !== undefined) {
      throw new PublishError(
        `a lookup server has spread topic ${name} over brokers, and makes its partitions: /topic/partition/expand there`,
      );
    }
    registry.topicWith(name, Math.max(index + 1, topic?.settings.partitions ?? 1), topic === undefined ? settings : {});
  }
}
