import type { Logger } from "../../base/logger.ts";
import type { Scrapes } from "../../http/metrics/scrape.ts";
import { Call, type Incoming } from "../../http/server/call.ts";
import type { ConnectionLimit } from "../../http/server/connection-limit.ts";
import type { ClusterRouting } from "../cluster-routing.ts";
import type { DrainProgress } from "../drain.ts";
import type { MetricsSource } from "../metrics/exposition/broker-families.ts";
import type { ReportedConnection } from "../metrics/stats.ts";
import type { BrokerOptions } from "../options.ts";
import type { DeferredStore } from "../storage/deferred/deferred-store.ts";
import type { TopicSettings } from "../storage/metadata/topic-settings.ts";
import type { DeferredControl } from "../topics/deferred-control.ts";
import type { MessageControl } from "../topics/message-control.ts";
import type { Publishing } from "../topics/publishing.ts";
import type { Topic } from "../topics/topic.ts";
import type { Tracing } from "../topics/tracing.ts";
import type { OtlpExporter } from "../trace/otlp/exporter.ts";
import type { TraceFiles } from "../trace/trace-files.ts";
import type { TraceSearch } from "../trace/trace-search.ts";
import type { Tracer } from "../trace/tracer.ts";

/** What the handlers of the HTTP API need of the broker. */
export interface BrokerApi extends MetricsSource {
  readonly options: BrokerOptions;
  readonly logger: Logger;
  /** When the broker started, ms since 1970. */
  readonly startTimeMs: number;
  /** Port of the TCP listener; 0 for a unix socket. */
  readonly tcpPort: number;
  /** Port of the HTTP listener; 0 without one, and for a unix socket. */
  httpPort: number;
  /** Port of the HTTPS listener; 0 without one. */
  httpsPort: number;
  /** Undefined: the broker is alone. */
  readonly cluster: ClusterRouting | undefined;
  readonly drain: ApiDrain;
  readonly turn: ApiTurn;
  readonly registry: MetricsSource["registry"] & ApiRegistry;
  readonly publishing: Publishing;
  readonly messageControl: MessageControl;
  readonly deferredControl: DeferredControl;
  /** The answers to /metrics. */
  readonly scrapes: Scrapes;
  readonly deferred: DeferredStore;
  readonly tracing: Tracing;
  readonly tracer: Tracer;
  readonly traceFiles: Pick<TraceFiles, "bytes">;
  readonly traceSearch: TraceSearch;
  /** Undefined: no spans are exported. */
  readonly otlp: OtlpExporter | undefined;
  readonly listener: ApiListener;
  /** The HTTP and HTTPS connections. */
  readonly httpConnections: Readonly<Pick<ConnectionLimit, "open" | "openBy" | "refused" | "closedIdle">>;
  /** Called after an option was changed at run time. */
  readonly optionsChanged: Iterable<() => void>;
  readonly readFailures: {
    /** Who waits because a file cannot be read, and why. */
    readonly list: { waiting: string; error: string }[];
  };
  readonly health: {
    /** "OK", or "NOK - " and why. */
    readonly text: string;
  };
  /** Damage to files that no single topic owns. */
  readonly damage: { readonly counts: ReadonlyMap<string, number> };
}

/** The clients on TCP. */
interface ApiListener {
  readonly connections: ReadonlyMap<number, ReportedConnection>;
  /** Those that have published. */
  readonly producerCount: number;
  /** Clients that were turned away. */
  readonly refused: number;
}

/** The end of the broker's service. */
interface ApiDrain {
  readonly isDraining: boolean;
  readonly progress: DrainProgress;
  /** Begins it, unless it has begun. */
  begin(timeoutMs: number): void;
}

/** The broker's time. */
interface ApiTurn {
  /** The broker's time at this moment, ms. */
  readonly currentMs: number;
  /** What the wall clock says at a moment of the broker's time, ms. */
  toWall(atMs: number): number;
}

/** The topics. */
interface ApiRegistry {
  readonly topics: ReadonlyMap<string, Topic>;
  /** Topics of an earlier run that cannot be opened yet. */
  readonly waiting: { readonly size: number };
  /** @throws TopicWaits if the topic of a name was left by an earlier run and cannot be opened yet */
  checkWaiting(name: string): void;
  /** An existing topic, or a new one. The caller has checked the name. @throws PublishError if it cannot be made */
  topic(name: string): Topic;
  /** Makes a topic with a number of partitions, or gives one as many. @throws PublishError; OperatorError */
  topicWith(name: string, count: number, more?: Partial<TopicSettings>): Topic;
  /** Deletes a topic with its channels and messages, and closes its consumers' connections. @returns false: no such topic */
  deleteTopic(name: string): boolean;
}

/** One request to the broker that is being answered. */
export class HttpCall extends Call {
  constructor(
    readonly broker: BrokerApi,
    incoming: Incoming,
  ) {
    super(incoming);
  }
}
