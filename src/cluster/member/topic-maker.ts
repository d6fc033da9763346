import type { Clock } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import { PublishError } from "../../broker/acks/pending-publish.ts";
import type { BrokerOptions } from "../../broker/options.ts";
import { candidatesOf } from "../placement/layout.ts";
import { minInSyncOf, warnOfFew } from "../placement/min-in-sync.ts";
import type { TopicChanges } from "../placement/topic-changes.ts";
import type { ClusterView } from "../state/cluster-view.ts";
import type { Routing } from "./routing.ts";

/** How long a new topic may take until its partitions are led. */
const LIMIT_MS = 8_000;
/** For so long after the start a topic waits for as many brokers as it is to have replicas. */
const SETTLING_MS = 2_000;
/** How often it is looked, besides whenever leaders change. */
const LOOK_MS = 50;

/** Makes topics of the cluster that clients use for the first time, and waits until they can be used. */
export class TopicMaker {
  /** When this broker started, by the steady clock. */
  private readonly sinceMs: number;
  /** Those that are being made by this broker. */
  private readonly making = new Map<string, Promise<Error | undefined>>();

  constructor(
    private readonly options: Pick<BrokerOptions, "clusterReplicas" | "minInSync" | "durability" | "retentionTimeMs" | "retentionBytes">,
    private readonly view: ClusterView,
    private readonly changes: TopicChanges,
    private readonly routing: Pick<Routing, "topic" | "listen">,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {
    this.sinceMs = clock.steadyMs();
  }

  /** @returns once someone leads its partitions; an error if that did not come to be in time */
  make(topic: string, partitions = 1): Promise<Error | undefined> {
    const what = `${topic} ${partitions}`;
    const known = this.making.get(what);
    if (known !== undefined) return known;
    const making = this.makeOne(topic, partitions).finally(() => this.making.delete(what));
    this.making.set(what, making);
    return making;
  }

  /** Waits until somebody leads the partitions of a topic that is in etcd. @returns an error if that did not come to be in time */
  async untilLed(topic: string, partitions: number): Promise<Error | undefined> {
    const isLed = await this.until(this.clock.steadyMs() + LIMIT_MS, () => this.isLed(topic, partitions));
    return isLed ? undefined : new PublishError(`nobody leads the partitions of topic ${topic} yet`);
  }

  private async makeOne(topic: string, partitions: number): Promise<Error | undefined> {
    const untilMs = this.clock.steadyMs() + LIMIT_MS;
    const isRead = await this.until(untilMs, () => this.view.revision > 0);
    if (!isRead) return new PublishError("etcd has not told yet which topics there are");
    if (!this.view.topics.has(topic)) {
      // Brokers of a cluster are often started together.
      await this.until(Math.min(untilMs, this.sinceMs + SETTLING_MS), () => this.view.brokers.size >= this.options.clusterReplicas);
      const settings = { ...this.settings(), partitions };
      const refusal = await this.changes.create(topic, settings);
      if (refusal === undefined) warnOfFew(this.logger, topic, settings.replicas, this.options.minInSync);
      if (refusal !== undefined && refusal.reason !== "topic-exists") return new PublishError(refusal.message);
    } else if ((this.view.topics.get(topic)?.value.partitions ?? partitions) < partitions) {
      const refusal = await this.changes.expand(topic, partitions);
      if (refusal !== undefined) return new PublishError(refusal.message);
    }
    const isLed = await this.until(untilMs, () => this.isLed(topic, partitions));
    return isLed ? undefined : new PublishError(`nobody leads the partitions of topic ${topic} yet`);
  }

  private settings() {
    const { clusterReplicas, minInSync, durability, retentionTimeMs, retentionBytes } = this.options;
    const replicas = Math.max(1, Math.min(clusterReplicas, candidatesOf(this.view).length));
    return {
      replicas,
      minInSync: minInSyncOf(replicas, minInSync),
      ordered: false,
      durability,
      retentionMs: retentionTimeMs,
      retentionBytes,
      channels: [],
      paused: false,
    };
  }

  private isLed(topic: string, partitions: number): boolean {
    const routed = this.routing.topic(topic);
    if (routed === undefined || routed.partitions < partitions) return false;
    for (let partition = 0; partition < routed.partitions; partition++) if (routed.leader(partition) === undefined) return false;
    return true;
  }

  /** @returns false: it was not so in time */
  private until(untilMs: number, isSo: () => boolean): Promise<boolean> {
    return new Promise((resolve) => {
      let isOver = false;
      const look = () => {
        const isNow = isSo();
        if (isOver || (!isNow && this.clock.steadyMs() < untilMs)) return;
        isOver = true;
        end();
        resolve(isNow);
      };
      const end = this.routing.listen(look);
      const again = () => {
        look();
        if (!isOver) this.clock.callAfter(LOOK_MS, again);
      };
      again();
    });
  }
}
