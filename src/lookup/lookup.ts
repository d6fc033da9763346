import type { DescriptorBudget, DescriptorShare } from "../base/descriptor-budget.ts";
import type { Logger } from "../base/logger.ts";
import { RateLimitedLog } from "../base/rate-limited-log.ts";
import { Scrapes } from "../http/metrics/scrape.ts";
import type { ClusterTopics } from "./cluster-topics.ts";
import type { LookupOptions } from "./options.ts";
import { Registry, type RegistryClock } from "./registry.ts";

/** Brokers and clients of HTTP are each sure of this part of the descriptors that are shared. */
const GUARANTEED_PART = 1 / 16;

/** Brokers that lost a lookup server find it again within this time. */
const STARTING_MS = 5_000;

interface LookupConnections {
  brokers: number;
  refused: number;
  http: { readonly open: number; readonly refused: number } | undefined;
}

/** The state that all parts of a lookup server share. */
export class Lookup {
  readonly registry: Registry;
  /** For errors that may come many times a second. */
  readonly rateLimitedLog: RateLimitedLog;
  readonly clientDescriptors: { readonly tcp: DescriptorShare; readonly http: DescriptorShare };
  /** The answers to /metrics. */
  readonly scrapes = new Scrapes();
  /** Open and refused connections of brokers, and those of HTTP clients once there is a listener for these. */
  readonly connections: LookupConnections = { brokers: 0, refused: 0, http: undefined };
  /** The ports that the server listens on; 0 until it does. The answer to IDENTIFY contains them. */
  tcpPort = 0;
  httpPort = 0;
  /** Where the topics of its cluster are; undefined: it is in none, or has not begun yet. */
  cluster: ClusterTopics | undefined;
  private readonly startMs: number;

  constructor(
    readonly options: LookupOptions,
    readonly logger: Logger,
    readonly descriptors: DescriptorBudget,
    private readonly flagPrefix = "",
    clock?: RegistryClock,
  ) {
    this.registry = new Registry(options, clock);
    this.startMs = this.registry.nowMs;
    this.rateLimitedLog = new RateLimitedLog(logger);
    // A broker in the same process needs most of them.
    const share = () => descriptors.share(() => false, GUARANTEED_PART);
    this.clientDescriptors = { tcp: share(), http: share() };
  }

  /** It was started so lately that brokers may not have registered yet, which clients would take for topics that do not exist. */
  get isStarting(): boolean {
    return this.registry.nowMs - this.startMs < STARTING_MS;
  }

  /** It is to be in a cluster, and does not know yet what that has. */
  get isJoining(): boolean {
    return this.options.etcdEndpoints.length > 0 && this.cluster?.member.isLoaded !== true;
  }

  /** The name of a flag as it is on the command line, with its prefix. */
  flagName(name: string): string {
    return this.flagPrefix + name;
  }
}
