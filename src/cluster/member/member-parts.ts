import type { Clock } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import type { RateLimitedLog } from "../../base/rate-limited-log.ts";
import type { EventLoopTurn } from "../../broker/loop/turn.ts";
import type { BrokerOptions } from "../../broker/options.ts";
import type { Ballast } from "../../broker/storage/disk/ballast.ts";
import type { Disk } from "../../broker/storage/disk/disk.ts";
import type { LastRun } from "../../broker/storage/file-notes.ts";
import type { MetadataStore } from "../../broker/storage/metadata/metadata-store.ts";
import type { Publishing } from "../../broker/topics/publishing.ts";
import type { ReplicatedPartitionParts } from "../../broker/topics/replicated-partition.ts";
import type { StateValues } from "../../broker/topics/state-values.ts";
import type { TopicPartition } from "../../broker/topics/topic-partition.ts";
import type { TopicRegistry } from "../../broker/topics/topic-registry.ts";
import type { Turn } from "../../broker/topics/turn.ts";
import type { StateStore } from "../replication/state/state-store.ts";
import type { MeteredBroker } from "./load-meter.ts";

/** The broker that is a member, as the cluster sees it. */
export interface MemberBroker extends ReplicatedPartitionParts {
  readonly options: BrokerOptions;
  readonly logger: Logger;
  readonly registry: TopicRegistry;
  readonly metadata: MetadataStore;
  readonly turn: Turn & Pick<EventLoopTurn, "onCommits">;
  readonly openFiles: Disk;
  readonly publishing: Publishing;
  readonly keys: ReplicatedPartitionParts["keys"] & { readonly enabled: boolean };
  readonly ballast: Ballast;
  readonly freeSpace: MeteredBroker["freeSpace"];
  /** How the run before ended. */
  readonly notes: { readonly lastRun: LastRun };
  /** Takes up the channels of a partition that this broker begins to lead, and puts them away when it does no more. */
  readonly channelKeeper: {
    canTakeUp(partition: TopicPartition, values: StateValues): boolean;
    takeUp(partition: TopicPartition, values: StateValues, channels: Iterable<string>): void;
    putAway(partition: TopicPartition): void;
  };
  /** Ports of its listeners; 0: it has none. */
  readonly tcpPort: number;
  readonly httpPort: number;
}

/** What the partitions of a member work with. */
export interface MemberParts {
  readonly broker: MemberBroker;
  /** This broker's data path uid. */
  readonly uid: string;
  readonly clock: Clock;
  /** What may repeat many times a second. */
  readonly errors: RateLimitedLog;
  /** The channels and deferred messages of its replicas. */
  readonly states: StateStore;
}
