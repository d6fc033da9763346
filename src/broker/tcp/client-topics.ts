import type { Line } from "../../frame/line.ts";
import { DRAINING, PublishError } from "../acks/pending-publish.ts";
import type { RoutedTopic } from "../cluster-routing.ts";
import type { TopicSettings } from "../storage/metadata/topic-settings.ts";
import type { Channel } from "../topics/channel/channel.ts";
import { NotLedHere } from "../topics/not-led-here.ts";
import type { Topic } from "../topics/topic.ts";
import type { ClientServices } from "./client-services.ts";

/** Addresses that an error names. */
const MOST_LEADERS = 8;

/** The topics of the broker, as one client finds and makes them. */
export class ClientTopics {
  /** The topic of the cluster that a command of the client has waited for. */
  private awaited = "";

  /** @param resume runs the command again that waits */
  constructor(
    private readonly services: Pick<ClientServices, "options" | "registry" | "publishing">,
    private readonly resume: () => void,
  ) {}

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
   * Whether a command is to wait, as a topic that it needs is not here and may yet come: it is made in the cluster, or gets a leader. A command
   * waits once.
   */
  awaits(error: unknown): boolean {
    const { cluster } = this.services.registry;
    if (!(error instanceof NotLedHere) || cluster === undefined) return false;
    const isSecond = this.awaited === error.topic;
    this.awaited = isSecond ? "" : error.topic;
    const routed = cluster.topic(error.topic);
    const isLed =
      routed !== undefined && Array.from({ length: routed.partitions }, (_, i) => i).every((i) => routed.leader(i) !== undefined);
    if (isSecond || isLed) return false;
    void cluster.create(error.topic).then(() => this.resume());
    return true;
  }

  /** Whether a command is to wait, as a channel is not at the brokers yet which would go on with it if this one were gone. */
  awaitsSharing({ sharing }: Channel): boolean {
    if (sharing === undefined) return false;
    void sharing.then(() => this.resume());
    return true;
  }

  /**
   * What IDENTIFY tells of the broker's cluster: its name, and whether a publish that is repeated at any of its brokers is recognized by its
   * key. That is not so where a broker has topics of its own.
   */
  get clusterFields(): { cluster?: string; cluster_keys?: boolean } {
    const { registry, options } = this.services;
    if (registry.cluster === undefined) return {};
    const isOwn = ({ ephemeral, partitions }: Topic) => !ephemeral && partitions[0].replicated === undefined;
    return { cluster: options.cluster, cluster_keys: ![...registry.topics.values()].some(isOwn) };
  }

  /** The cluster has a topic of a name. */
  isOfCluster(name: string): boolean {
    return this.services.registry.cluster?.topic(name) !== undefined;
  }

  /** Why a topic cannot be consumed here. Where it can be, is in the client's log then: it tries other addresses, or asks a lookup server. */
  refusal(error: Error): string {
    return error instanceof NotLedHere ? describeLeaders(error.topic, this.services.registry.cluster?.topic(error.topic)) : error.message;
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

function describeLeaders(name: string, topic: RoutedTopic | undefined): string {
  const leaders = new Set<string>();
  for (let i = 0; i < (topic?.partitions ?? 0); i++) {
    const tcp = topic?.leader(i)?.tcp ?? "";
    if (tcp !== "") leaders.add(tcp);
  }
  if (leaders.size === 0) return `nobody leads topic ${name} now`;
  const where = [...leaders].sort();
  const shown = where.slice(0, MOST_LEADERS).join(", ") + (where.length > MOST_LEADERS ? " and others" : "");
  return `this broker leads no partition of topic ${name}; it is consumed from ${shown}`;
}
