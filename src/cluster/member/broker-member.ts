import { join, resolve } from "node:path";
import { type Clock, systemClock, type Timer } from "../../base/clock.ts";
import { systemRandom } from "../../base/random-source.ts";
import { RateLimitedLog } from "../../base/rate-limited-log.ts";
import type { ClusterMember } from "../../broker/cluster-routing.ts";
import type { Forwarder } from "../../broker/forwarding/forwarder.ts";
import { DATA_FOLDER } from "../../broker/storage/data-path.ts";
import { formatAddress, parseRemoteAddress } from "../../net/address.ts";
import { BUNSQ_VERSION } from "../../version.ts";
import { dataPathUid } from "../data-path-uid.ts";
import { EtcdError } from "../etcd/etcd-error.ts";
import { EtcdHttp } from "../etcd/etcd-http.ts";
import { readEtcdOptions } from "../etcd/etcd-settings.ts";
import { EtcdTrouble } from "../etcd/etcd-trouble.ts";
import { MeteredEtcd } from "../etcd/metered-etcd.ts";
import { Forwarding } from "../forwarding/forwarding.ts";
import type { Network } from "../net/network.ts";
import { SocketNetwork } from "../net/socket-network.ts";
import { TopicChanges } from "../placement/topic-changes.ts";
import { Replication } from "../replication/replication.ts";
import { StateStore } from "../replication/state/state-store.ts";
import { WIRE_VERSION } from "../replication/wire.ts";
import { BrokerReport } from "../report/broker-report.ts";
import { RunFile } from "../run-file.ts";
import { ClusterView } from "../state/cluster-view.ts";
import type { ClusterKeys } from "../state/keys.ts";
import { Membership } from "../state/membership.ts";
import { type BrokerRecord, SHAPES } from "../state/records.ts";
import { RunClaim } from "../state/run-claim.ts";
import { LoadMeter } from "./load-meter.ts";
import { MemberPartitions } from "./member-partitions.ts";
import type { MemberBroker } from "./member-parts.ts";
import { warnOfOpen } from "./open-replication.ts";
import { keysOf, newRun } from "./own-names.ts";
import { readReplicationTls } from "./replication-tls.ts";
import { Routing } from "./routing.ts";
import { TopicAdoption } from "./topic-adoption.ts";
import { TopicMaker } from "./topic-maker.ts";

/** How long answers have to go out, after partitions were handed over and before connections are closed. */
const ANSWERS_MS = 50;
/** How often it is looked whether others are to know of another load. */
const LOAD_INTERVAL_MS = 15_000;
/** How long other brokers may take to get what they lack, before they are handed partitions. */
const HAND_OVER_MS = 1_000;

/** A broker as a member of a cluster: what it has in etcd, and its replicas. */
export class BrokerMember implements ClusterMember {
  readonly routing: Routing;
  readonly report: BrokerReport;
  /** Its data path uid. */
  readonly uid: string;
  /** Names this run of the process. */
  private readonly run: string;
  private readonly states: StateStore;
  private readonly meter: LoadMeter;
  private loadTimer: Timer | undefined;
  private readonly partitions: MemberPartitions;
  private readonly forwarding: Forwarding;
  private readonly topics: TopicMaker;
  private readonly keys: ClusterKeys;
  readonly etcd: MeteredEtcd;
  private readonly network: Network;
  readonly view: ClusterView;
  private readonly errors: RateLimitedLog;
  private readonly trouble: EtcdTrouble;
  /** Its key is in etcd. */
  isMember = false;
  private hasJoined = false;
  /** It has opened all replicas that it was to have at its start. */
  private isOpen = false;
  /** Why it cannot be a member; undefined: it can. */
  private refusal: Error | undefined;
  replication: Replication | undefined;
  private membership: Membership<BrokerRecord> | undefined;
  private readonly claim: RunClaim;
  private whenJoined: (() => void) | undefined;

  /** @throws StartError for options that are wrong, and if the data path's uid cannot be read */
  constructor(
    private readonly broker: MemberBroker,
    private readonly clock: Clock = systemClock,
  ) {
    const { options, logger, openFiles } = broker;
    this.errors = new RateLimitedLog(logger, () => clock.steadyMs());
    this.keys = keysOf(options.cluster);
    this.etcd = new MeteredEtcd(new EtcdHttp(readEtcdOptions(options)), clock);
    const tls = readReplicationTls(options);
    if (tls === undefined) warnOfOpen(options.replicationAddress, logger);
    this.network = new SocketNetwork("replication-address", logger, tls);
    const directory = join(resolve(options.dataPath), DATA_FOLDER);
    this.uid = dataPathUid(openFiles, directory, systemRandom);
    this.run = newRun();
    this.trouble = new EtcdTrouble(logger, clock);
    this.claim = new RunClaim(this.etcd, clock, this.keys.member("runs", this.uid), new RunFile(openFiles, directory), this.run, {
      onCopy: () => this.distrust(),
      onTrouble: (error) => (error instanceof EtcdError ? this.trouble.tell(error) : this.errors.error(`CLUSTER: ${error.message}`)),
    });
    this.view = new ClusterView(this.etcd, this.keys, clock, logger, (error) => this.trouble.tell(error));
    const changes = new TopicChanges(this.etcd, this.keys, this.view, clock, Math.random);
    const own = {
      uid: this.uid,
      isServing: (name: string) => this.partitions.isServing(name),
      create: (topic: string, partitions?: number) => this.topics.make(topic, partitions),
      adopt: (topic: string) => this.adopt(topic),
    };
    this.routing = new Routing(this.view, own, changes);
    this.topics = new TopicMaker(options, this.view, changes, this.routing, clock, logger);
    this.meter = new LoadMeter(broker);
    this.states = new StateStore(directory, clock, broker.ballast);
    this.partitions = new MemberPartitions({
      ...{ broker, clock, uid: this.uid, view: this.view, keys: this.keys, errors: this.errors, states: this.states },
      onServing: (topics) => this.routing.tell(topics),
    });
    this.report = new BrokerReport(this);
    this.forwarding = new Forwarding({
      ...{ broker, routing: this.routing, network: this.network, clock, uid: this.uid },
      errors: new RateLimitedLog(logger, () => clock.steadyMs()),
      addressOf: (uid) => this.view.brokers.get(uid)?.value.replication || undefined,
    });
    broker.publishing.forwarder = this.forwarding.forwarder;
  }

  get forwarder(): Forwarder {
    return this.forwarding.forwarder;
  }

  get lease(): { readonly holds: boolean } | undefined {
    return this.membership?.lease;
  }

  get notReady(): string | undefined {
    return this.refusal === undefined ? this.unopened : `this broker is no member of its cluster: ${this.refusal.message}`;
  }

  /** What it waits for before it takes part. Later it stays ready, whether etcd answers or not: others may have its publishes passed on. */
  private get unopened(): string | undefined {
    const { replication, view, uid } = this;
    if (this.isOpen) return undefined;
    if (!this.hasJoined || replication === undefined || view.revision === 0) return "this broker is not known in its cluster yet";
    let waiting = 0;
    for (const { value } of view.partitions.values())
      if (value.replicas.includes(uid) && replication.replica(value.prefix) === undefined) waiting++;
    this.isOpen = waiting === 0;
    return waiting === 0 ? undefined : `${waiting} replicas are not open yet`;
  }

  start(): void {
    const { clock, etcd, network, uid, run, view, broker } = this;
    const { options, logger } = broker;
    this.membership = new Membership(
      etcd,
      clock,
      this.keys.member("brokers", uid),
      SHAPES.brokers,
      this.record(""),
      options.clusterLeaseMs,
      {
        onJoined: () => this.joined(),
        onLapsed: () => logger.warn("CLUSTER: etcd was not reached for as long as the lease lasts"),
        onRenewed: () => {
          this.trouble.over();
          logger.info("CLUSTER: etcd answers again, and the lease holds");
        },
        onLost: () => this.lost(),
        onRefused: (error) => this.refused(error),
        onTrouble: (error) => this.trouble.tell(error),
      },
    );
    const replication = new Replication({
      clock,
      etcd,
      network,
      random: Math.random,
      hello: { kind: "hello", version: WIRE_VERSION, cluster: options.cluster, uid, run },
      address: options.replicationAddress,
      settings: {
        lagMs: options.clusterLagMs,
        suspectMs: options.clusterSuspectMs,
        catchUpBytesPerSecond: options.clusterCatchUpBytes,
        scrubMs: options.clusterScrubMs,
      },
      lease: this.membership.lease,
      isAlive: (other) => view.brokers.has(other),
      removalOf: (other) => view.removals.get(other)?.value,
      logger,
      takeOther: this.forwarding.services.take,
      saveEpochs: (epochs) => this.partitions.saveEpochs(epochs),
    });
    this.replication = replication;
    // Replicas get what was published before consumers are served.
    broker.turn.onCommits = () => replication.peers.sendNow();
    this.membership.update(this.record(replication.peers.address));
    view.listen((changes) => {
      for (const { kind, after } of changes) if (kind === "brokers" && after !== undefined) replication.peers.know(after.value);
    });
    this.partitions.start(replication);
    this.tellLoad();
    void this.join(replication);
  }

  /** Nothing of the cluster is looked at before it is known whether this data path has all that it is said to have. */
  private async join(replication: Replication): Promise<void> {
    const isCopy = await this.claim.claim();
    if (isCopy === undefined) return;
    if (!isCopy) this.membership?.start();
    replication.start();
    void this.view.start();
  }

  /** This data path is an older copy of itself. @returns when this broker has joined: nobody uses another copy then */
  private async distrust(): Promise<void> {
    this.partitions.distrust();
    this.broker.logger.warn(
      "CLUSTER: this data path is an older copy of itself, and may lack messages: what is missing is read from other replicas",
    );
    await new Promise<void>((resolve) => {
      this.whenJoined = resolve;
      this.membership?.start(true);
    });
  }

  /** Has others know what this broker has to do. */
  private tellLoad(): void {
    this.loadTimer = this.clock.callAfter(LOAD_INTERVAL_MS, () => this.tellLoad());
    const load = this.meter.notable(this.clock.steadyMs());
    if (load !== undefined) this.membership?.update(load);
  }

  handOver(): Promise<void> {
    const { replication, broker } = this;
    return new Promise((resolve) => {
      if (replication === undefined) return resolve();
      // While etcd does not answer it is not known whether others lead.
      const limit = this.clock.callAfter(2 * HAND_OVER_MS, () => {
        broker.logger.warn("CLUSTER: partitions were not handed over in time; others take them over");
        resolve();
      });
      replication.drain(HAND_OVER_MS, (failures) => {
        for (const [name, { message }] of failures) broker.logger.warn(`PARTITION(${name}): not handed over: ${message}`);
        this.clock.cancel(limit);
        resolve();
      });
    });
  }

  async leave(): Promise<void> {
    await this.handOver();
    // What was published before is still answered, to clients and to brokers that have passed it on.
    await new Promise<void>((resolve) => this.clock.callAfter(ANSWERS_MS, resolve));
    if (this.loadTimer !== undefined) this.clock.cancel(this.loadTimer);
    this.claim.close();
    this.partitions.close();
    this.replication?.close();
    this.forwarding.close();
    this.view.close();
    this.states.close();
    await this.membership?.leave();
  }

  private async adopt(topic: string): Promise<Error | undefined> {
    const { etcd, keys, view, uid } = this;
    const { registry, options, logger } = this.broker;
    const partitions = registry.topics.get(topic)?.partitions.length ?? 0;
    const adoption = new TopicAdoption({ etcd, keys, view, uid, durability: options.durability, topics: registry.topics, newUid: newRun });
    const refusal = await adoption.adopt(topic);
    if (refusal !== undefined) return refusal;
    logger.info(`TOPIC(${topic}): is a topic of the cluster now`, { topic });
    return this.topics.untilLed(topic, partitions);
  }

  private joined(): void {
    const { logger, options } = this.broker;
    this.isMember = this.hasJoined = true;
    this.trouble.over();
    logger.info(`CLUSTER: member ${this.uid} of ${options.cluster}`);
    this.whenJoined?.();
  }

  private lost(): void {
    this.isMember = false;
    this.broker.logger.warn("CLUSTER: the lease has ended; taking another one");
  }

  private refused(error: Error): void {
    this.isMember = false;
    this.refusal = error;
    this.broker.logger.error(`CLUSTER: this broker is no member: ${error.message}`);
    // What etcd says of its data path is said of the other one from now on.
    this.partitions.close();
    this.replication?.close();
  }

  /** @param listens where it listens for other brokers */
  private record(listens: string): BrokerRecord {
    const { options, tcpPort, httpPort } = this.broker;
    const { broadcastAddress, broadcastTcpPort, broadcastHttpPort, topologyRegion, topologyZone } = options;
    const at = (port: number) => (port === 0 ? "" : formatAddress(broadcastAddress, port));
    return {
      uid: this.uid,
      run: this.run,
      tcp: at(broadcastTcpPort || tcpPort),
      http: at(broadcastHttpPort || httpPort),
      replication: at(listens === "" ? 0 : parseRemoteAddress(listens).port),
      region: topologyRegion,
      zone: topologyZone,
      version: BUNSQ_VERSION,
      disk: { sizeBytes: 0, freeBytes: 0 },
      load: { inBytesPerSecond: 0, outBytesPerSecond: 0, storedBytes: 0 },
    };
  }
}
