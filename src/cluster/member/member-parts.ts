import type { Logger } from "../../base/logger.ts";
import type { BrokerOptions } from "../../broker/options.ts";
import type { Disk } from "../../broker/storage/disk/disk.ts";
import type { ReplicatedPartitionParts } from "../../broker/topics/replicated-partition.ts";
import type { TopicRegistry } from "../../broker/topics/topic-registry.ts";

/** The broker that is a member, as the cluster sees it. */
export interface MemberBroker extends ReplicatedPartitionParts {
  readonly options: BrokerOptions;
  readonly logger: Logger;
  readonly registry: TopicRegistry;
  readonly openFiles: Disk;
  /** Ports of its listeners; 0: it has none. */
  readonly tcpPort: number;
  readonly httpPort: number;
}
