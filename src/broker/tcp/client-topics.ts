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

  /**
   * An existing topic, or a new one. The caller has checked the name.
   *
   * @param partitions how many it has at least
   * @param settings that it gets if it is new
   * @throws PublishError when it cannot be made, or the broker is drained
   */
  open(name: string, partitions = 1, settings: Partial<TopicSettings> = {}): Topic {
    if (this.isDraining) throw new PublishError(DRAINING);
    const topic = this.services.registry.topic(name, settings);
    if (topic.partitions.length < partitions) throw new PublishError(`topic ${name} has ${topic.partitions.length} partitions`);
    return topic;
  }
}
