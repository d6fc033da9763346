import type { Logger } from "../../base/logger.ts";
import type { ScratchBuffer } from "../../base/scratch-buffer.ts";
import type { ClientAcks } from "../acks/group-commit.ts";
import type { Authority } from "../auth/authority.ts";
import type { ClusterRouting } from "../cluster-routing.ts";
import type { BrokerOptions } from "../options.ts";
import type { ChunkPool } from "../storage/log/chunk.ts";
import type { TopicSettings } from "../storage/metadata/topic-settings.ts";
import type { ServerTls } from "../tls-options.ts";
import type { Locality } from "../topics/locality.ts";
import type { Publishing } from "../topics/publishing.ts";
import type { Topic } from "../topics/topic.ts";
import type { Turn } from "../topics/turn.ts";

/** The turn of the event loop that is under way, for the connections of clients. */
export interface ClientTurn extends Pick<Turn, "currentMs" | "nowMs" | "readClock" | "schedule" | "steadyMs" | "wakeAt"> {
  /** At the end of the tick, flush() of this connection is called. */
  queueFlush(connection: { flush(): void }): void;
}

/** What the connections of all clients share of their broker. */
export interface ClientServices {
  readonly options: BrokerOptions;
  readonly logger: Logger;
  readonly turn: ClientTurn;
  readonly registry: {
    /** The topic whose name is in [from, to), if there is one. The look-up makes no string. */
    knownTopic(bytes: Uint8Array, from: number, to: number): Topic | undefined;
    readonly topics: ReadonlyMap<string, Topic>;
    /** Undefined: the broker is alone. */
    readonly cluster: ClusterRouting | undefined;
    /** An existing topic, or a new one. The caller has checked the name. @throws PublishError when it cannot be made */
    topic(name: string): Topic;
    /** A topic with a number of partitions. @throws PublishError when it cannot be made */
    topicWith(name: string, count: number, settings: Partial<TopicSettings>): Topic;
  };
  readonly publishing: Publishing;
  /** Whether publishes may have keys. */
  readonly keys: { readonly enabled: boolean };
  /** Acknowledgements that wait for the next commit. */
  readonly acks: { add(acks: ClientAcks): void };
  readonly chunks: ChunkPool;
  readonly scratch: ScratchBuffer;
  /** The auth servers; undefined: every client may do everything. */
  readonly authority: Authority | undefined;
  /** Where the broker is; undefined: it does not matter where consumers are. */
  readonly locality: Locality | undefined;
  /** Undefined: TLS is not offered. */
  readonly tls: ServerTls | undefined;
}
