import type { Clock } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import type { RateLimitedLog } from "../../base/rate-limited-log.ts";
import type { ScratchBuffer } from "../../base/scratch-buffer.ts";
import type { BrokerOptions } from "../options.ts";
import type { DeferredStore } from "../storage/deferred/deferred-store.ts";
import type { Ballast } from "../storage/disk/ballast.ts";
import type { Disk } from "../storage/disk/disk.ts";
import type { FreeSpace } from "../storage/disk/free-space.ts";
import type { ReadFailures } from "../storage/disk/read-failures.ts";
import type { ChunkPool } from "../storage/log/chunk.ts";
import type { Recycler } from "../storage/log/recycler.ts";
import type { MetadataStore } from "../storage/metadata/metadata-store.ts";
import type { Checkpointer } from "./checkpointer.ts";
import type { DeadLetterDesk } from "./dead-letter-desk.ts";
import type { Tracing } from "./tracing.ts";
import type { Turn } from "./turn.ts";

/** Options that apply to topics and channels. */
export type TopicOptions = Pick<
  BrokerOptions,
  | "durability"
  | "e2eProcessingLatencyPercentiles"
  | "e2eProcessingLatencyWindowTimeMs"
  | "maxChannelConsumers"
  | "maxMsgTimeoutMs"
  | "memQueueSize"
  | "retentionBytes"
  | "retentionTimeMs"
>;

/** What the topics and channels of a broker work with, all of them the same. */
export interface TopicParts {
  readonly options: TopicOptions;
  readonly turn: Turn;
  readonly logger: Logger;
  /** For errors that a full disk would otherwise log many times a second. */
  readonly rateLimitedLog: RateLimitedLog;
  /** Who waits because a file cannot be read. */
  readonly readFailures: ReadFailures;
  readonly deferred: DeferredStore;
  readonly metadata: MetadataStore;
  readonly checkpointer: Checkpointer;
  /** `critical`: so little space is free that due messages and requeues wait. */
  readonly freeSpace: Pick<FreeSpace, "critical">;
  readonly scratch: ScratchBuffer;
  readonly deadLetterDesk: DeadLetterDesk;
}

/** What the registry opens logs with, beside what it hands to topics. */
export interface RegistryParts extends TopicParts {
  readonly options: TopicOptions & Pick<BrokerOptions, "maxBytesPerFile" | "nodeId" | "syncEvery">;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly chunks: ChunkPool;
  readonly tracing: Tracing;
  readonly recycler: Recycler;
  readonly ballast: Ballast;
}
