import { type Clock, systemClock } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import { StartError } from "../../base/start-error.ts";
import type { MetricText } from "../../http/metrics/metric-text.ts";
import type { ClusterOptions } from "../../net/cluster-options.ts";
import { BUNSQ_VERSION } from "../../version.ts";
import type { Etcd } from "../etcd/etcd.ts";
import { EtcdHttp } from "../etcd/etcd-http.ts";
import { readEtcdOptions } from "../etcd/etcd-settings.ts";
import { EtcdTrouble } from "../etcd/etcd-trouble.ts";
import { MeteredEtcd } from "../etcd/metered-etcd.ts";
import { parseBalanceHours } from "../placement/balance-hours.ts";
import { Controller } from "../placement/controller.ts";
import { candidatesOf } from "../placement/layout.ts";
import { minInSyncOf, warnOfFew } from "../placement/min-in-sync.ts";
import { OperatorCalls } from "../placement/operator-calls.ts";
import { PlacementRequests } from "../placement/placement-requests.ts";
import { TopicChanges } from "../placement/topic-changes.ts";
import { BrokerNames } from "../report/broker-names.ts";
import { type ClusterStatus, clusterStatus } from "../report/cluster-status.ts";
import { lookupMetrics } from "../report/lookup-metrics.ts";
import { Sightings } from "../report/sightings.ts";
import { type TopicStatus, topicList } from "../report/topic-list.ts";
import { ClusterView } from "../state/cluster-view.ts";
import { Membership } from "../state/membership.ts";
import { type LookupRecord, SHAPES } from "../state/records.ts";
import { keysOf, newRun } from "./own-names.ts";

/** Brokers that differ by less than this part of the average are balanced. */
const BALANCE_THRESHOLD = 0.2;
/** What cannot be part of a key. */
const NOT_IN_IDS = /[^A-Za-z0-9._:@-]/g;

export interface LookupMemberOptions extends ClusterOptions {
  /** Like `2-4`; empty: at any time. */
  readonly balanceHours: string;
}

/** Where a lookup server is reached, `host:port`. */
export interface LookupPlace {
  readonly tcp: string;
  readonly http: string;
}

/** A lookup server as a member of a cluster: it knows what etcd has, changes it for operators, and may be the controller. */
export class LookupMember {
  readonly view: ClusterView;
  readonly names: BrokerNames;
  readonly topics: TopicChanges;
  readonly operators: OperatorCalls;
  /** Its name in etcd. */
  readonly id: string;
  readonly etcd: MeteredEtcd;
  private readonly sightings: Sightings;
  private readonly membership: Membership<LookupRecord>;
  private readonly controller: Controller;
  private controllerGoneMs: number | undefined;

  /** @throws StartError for options that are wrong */
  constructor(
    readonly options: LookupMemberOptions,
    place: LookupPlace,
    private readonly logger: Logger,
    private readonly clock: Clock = systemClock,
    etcd?: Etcd,
  ) {
    const keys = keysOf(options.cluster);
    const hours = options.balanceHours === "" ? undefined : parseBalanceHours(options.balanceHours);
    if (options.balanceHours !== "" && hours === undefined)
      throw new StartError(`invalid -balance-hours "${options.balanceHours}": give two hours of the day in UTC, like 2-4 or 22-5`);
    this.etcd = new MeteredEtcd(etcd ?? new EtcdHttp(readEtcdOptions(options)), clock);
    this.id = place.http.replace(NOT_IN_IDS, "_");
    const trouble = new EtcdTrouble(logger, clock);
    this.view = new ClusterView(this.etcd, keys, clock, logger, (error) => trouble.tell(error));
    this.names = new BrokerNames(this.view);
    this.sightings = new Sightings(this.view, clock);
    const run = newRun();
    const record = { uid: this.id, run, ...place, version: BUNSQ_VERSION };
    this.membership = new Membership(this.etcd, clock, keys.member("lookups", this.id), SHAPES.lookups, record, options.clusterLeaseMs, {
      onJoined: () => {
        trouble.over();
        logger.info(`CLUSTER: member of ${options.cluster} as ${this.id}`);
      },
      onLapsed: () => logger.warn("CLUSTER: etcd was not reached for as long as the lease lasts"),
      onRenewed: () => {
        trouble.over();
        logger.info("CLUSTER: etcd answers again, and the lease holds");
      },
      onLost: () => logger.warn("CLUSTER: the lease has ended; taking another one"),
      onRefused: (error) =>
        logger.error(
          `CLUSTER: this lookup server is no member, and only tells what etcd has: ${error.message}; is -broadcast-address unique?`,
        ),
      onTrouble: (error) => trouble.tell(error),
    });
    this.topics = new TopicChanges(this.etcd, keys, this.view, clock, Math.random);
    const { view, topics, names } = this;
    this.operators = new OperatorCalls({
      view,
      names,
      requests: new PlacementRequests(this.etcd, keys, view, (uid) => names.label(uid)),
      topics,
      logger,
      minInSyncOf: (replicas) => this.minInSyncOf(replicas),
    });
    this.controller = new Controller({
      etcd: this.etcd,
      keys,
      view,
      clock,
      logger,
      topics,
      own: { lookup: this.id, run },
      lease: this.membership.lease,
      threshold: BALANCE_THRESHOLD,
      balanceHours: hours,
    });
    this.noteController();
    view.listen(() => this.noteController());
  }

  start(): void {
    this.membership.start();
    void this.view.start();
    this.controller.start();
  }

  /** Gives up what it is in the cluster. It never rejects. */
  async leave(): Promise<void> {
    await this.controller.close();
    this.view.close();
    await this.membership.leave();
  }

  /** How many replicas must have a publish of a new topic, as the flags say. */
  minInSyncOf(replicas: number): number {
    const { minInSync } = this.options;
    return minInSyncOf(replicas, minInSync);
  }

  /** Whether a broker of the cluster is there. @param http `host:port` */
  isBrokerAt(http: string): boolean {
    return [...this.view.brokers.values()].some(({ value }) => value.http === http);
  }

  /** Says that a new topic has fewer replicas than are to have each publish, if it has. */
  warnOfFew(topic: string, replicas: number): void {
    warnOfFew(this.logger, topic, replicas, this.options.minInSync);
  }

  /** How many brokers may get replicas. */
  get candidates(): number {
    return candidatesOf(this.view).length;
  }

  /** Whether it was read what etcd has. */
  get isLoaded(): boolean {
    return this.view.revision > 0;
  }

  /** Whether etcd has answered lately, so that the view is not old. */
  get isCurrent(): boolean {
    return this.membership.lease.holds;
  }

  get lease(): { readonly holds: boolean } {
    return this.membership.lease;
  }

  /** Writes the metrics of its cluster. Yields after some of them. */
  metrics(text: MetricText): Generator<void> {
    return lookupMetrics(this, text);
  }

  status(): ClusterStatus {
    const { view, names, sightings, isCurrent } = this;
    const withoutControllerMs = this.controllerGoneMs === undefined ? 0 : this.clock.steadyMs() - this.controllerGoneMs;
    return clusterStatus(this.options.cluster, {
      view,
      names,
      sightings,
      isCurrent,
      withoutControllerMs,
      minInSync: this.options.minInSync,
    });
  }

  /** @param only given: this topic alone; an empty list if there is none of this name */
  topicList(only?: string): TopicStatus[] {
    return topicList(this.view, only);
  }

  private noteController(): void {
    if (this.view.controller !== undefined) this.controllerGoneMs = undefined;
    else this.controllerGoneMs ??= this.clock.steadyMs();
  }
}
