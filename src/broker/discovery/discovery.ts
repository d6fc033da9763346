import { hostname } from "node:os";
import type { Logger } from "../../base/logger.ts";
import { isEphemeral, isValidName } from "../../frame/names.ts";
import { get } from "../../http/client/get.ts";
import { type Address, formatAddress, parseRemoteAddress } from "../../net/address.ts";
import { NSQ_VERSION } from "../../version.ts";
import type { BrokerOptions } from "../options.ts";
import type { Channel } from "../topics/channel/channel.ts";
import type { Topic } from "../topics/topic.ts";
import type { TopicPartition } from "../topics/topic-partition.ts";
import type { TopicObserver } from "../topics/topic-registry.ts";
import { DISCOVERY, type Identity, LookupPeer, type Registrant } from "./lookup-peer.ts";
import { allLines, changedLines, channelLine, leaderLines, topicLines, type Verb } from "./registrations.ts";

/** Topics whose channels are asked for at the same time. Thousands of topics may be created at once. */
const MAX_QUERIES = 32;
/** The limit for a lookup's list of channels. */
const MAX_LIST_BYTES = 4 * 1024 * 1024;

/** The addresses of a lookup in this process. It is reached by these, whatever address it tells others. */
export interface OwnLookup {
  tcpAddress: Address;
  httpAddress: Address;
}

/** The broker whose topics are registered. */
export interface RegisteredBroker {
  readonly options: BrokerOptions;
  readonly logger: Logger;
  /** Port of the TCP listener; 0 for a unix socket. */
  readonly tcpPort: number;
  /** Port of the HTTP listener; 0 without one, and for a unix socket. */
  readonly httpPort: number;
  readonly registry: {
    readonly topics: ReadonlyMap<string, Topic>;
    observer: TopicObserver | undefined;
  };
  /** Called after an option was changed at run time. */
  readonly optionsChanged: { push(changed: () => void): void };
}

/**
 * The broker's side of discovery: registers every topic and channel with all lookups, and asks them which channels a new
 * topic has on other brokers.
 */
export class Discovery implements Registrant, TopicObserver {
  private readonly peers = new Map<string, LookupPeer>();
  private closed = false;
  private queries = 0;
  private readonly waitingQueries: (() => void)[] = [];

  /**
   * Starts to register with the lookups of --lookupd-tcp-address, also when that option is changed at run time.
   *
   * @throws StartError for a malformed address
   */
  static start(broker: RegisteredBroker, ownLookup?: OwnLookup): Discovery {
    for (const address of broker.options.lookupdTcpAddresses) parseRemoteAddress(address);
    return new Discovery(broker, ownLookup);
  }

  private constructor(
    private readonly broker: RegisteredBroker,
    private readonly ownLookup: OwnLookup | undefined,
  ) {
    broker.registry.observer = this;
    broker.optionsChanged.push(() => this.updatePeers());
    this.updatePeers();
  }

  /** Closes the connections. The lookups then forget this broker. */
  close(): void {
    for (const peer of this.endRegistering()) peer.close();
  }

  /** Closes the connections. Resolves once no lookup tells clients of this broker any more, or one has not answered in time. */
  async leave(): Promise<void> {
    await Promise.all(this.endRegistering().map((peer) => peer.leave()));
  }

  /** @returns the peers, for their connections to be closed */
  private endRegistering(): LookupPeer[] {
    if (this.closed) return [];
    this.closed = true;
    this.broker.registry.observer = undefined;
    this.broker.logger.info("LOOKUP: closing", DISCOVERY);
    const peers = [...this.peers.values()];
    this.peers.clear();
    return peers;
  }

  /** How many lookups there are to register with. */
  get configured(): number {
    return this.peers.size;
  }

  /** How many lookups have all topics and channels now. */
  get registered(): number {
    let count = 0;
    for (const { registered } of this.peers.values()) if (registered) count++;
    return count;
  }

  // ---- registering

  identity(): Identity {
    const { options } = this.broker;
    return {
      version: NSQ_VERSION,
      tcp_port: this.broadcastTcpPort,
      http_port: this.broadcastHttpPort,
      hostname: hostname(),
      broadcast_address: options.broadcastAddress,
      registers_partitions: true,
      node_id: options.nodeId,
    };
  }

  *registrations(partitioned: boolean): Generator<string, undefined> {
    for (const topic of this.broker.registry.topics.values()) yield* allLines(topic, partitioned);
  }

  topicCreated(topic: Topic): void {
    this.sendTopic("REGISTER", topic);
    if (this.peers.size > 0) void this.createChannels(topic);
  }

  topicChanged(topic: Topic): void {
    if (topic.served.length === 0) return;
    for (const peer of this.peers.values()) for (const line of changedLines(topic, peer.knowsPartitions)) peer.queueChange(line);
  }

  topicOpened(topic: Topic): void {
    this.sendTopic("REGISTER", topic);
  }

  topicDeleted(topic: Topic): void {
    this.sendTopic("UNREGISTER", topic);
  }

  channelCreated(channel: Channel): void {
    this.sendChannel("REGISTER", channel);
  }

  channelDeleted(channel: Channel): void {
    this.sendChannel("UNREGISTER", channel);
  }

  leaderChanged(partition: TopicPartition): void {
    for (const peer of this.peers.values()) for (const line of leaderLines(partition, peer.knowsPartitions)) peer.queueChange(line);
  }

  private sendTopic(verb: Verb, topic: Topic): void {
    for (const peer of this.peers.values()) {
      for (const line of topicLines(verb, topic, peer.knowsPartitions)) peer.queueChange(line);
    }
  }

  private sendChannel(verb: Verb, channel: Channel): void {
    for (const peer of this.peers.values()) peer.queueChange(channelLine(verb, channel, peer.knowsPartitions));
  }

  // ---- the lookups

  private get broadcastHttpPort(): number {
    return this.broker.options.broadcastHttpPort || this.broker.httpPort;
  }

  private get broadcastTcpPort(): number {
    return this.broker.options.broadcastTcpPort || this.broker.tcpPort;
  }

  /** Connects to the addresses that are new, and closes the connections to those that are gone. */
  private updatePeers(): void {
    if (this.closed) return;
    const wanted = this.wantedAddresses();
    for (const [name, peer] of this.peers) {
      if (wanted.has(name)) continue;
      peer.close();
      this.peers.delete(name);
    }
    for (const [name, address] of wanted) {
      if (this.peers.has(name)) continue;
      const own = address === this.ownLookup?.tcpAddress ? this.ownLookup.httpAddress : undefined;
      this.peers.set(name, new LookupPeer(address, this, this.broker.logger, own));
    }
  }

  private wantedAddresses(): Map<string, Address> {
    const { options, logger } = this.broker;
    const addresses = this.ownLookup === undefined ? [] : [this.ownLookup.tcpAddress];
    for (const text of options.lookupdTcpAddresses) {
      try {
        addresses.push(parseRemoteAddress(text));
      } catch (error) {
        logger.error(`LOOKUP(${text}): ${(error as Error).message}`, DISCOVERY);
      }
    }
    if (addresses.length > 0 && this.broadcastHttpPort === 0) {
      logger.error(
        "LOOKUP: not registering with any lookup: they require an HTTP port; give -http-address or -broadcast-http-port",
        DISCOVERY,
      );
      return new Map();
    }
    if (addresses.length > 0 && this.broadcastTcpPort === 0) {
      logger.error(
        "LOOKUP: not registering with any lookup: they require a TCP port, and a unix socket has none; give -broadcast-tcp-port",
        DISCOVERY,
      );
      return new Map();
    }
    const wanted = new Map<string, Address>();
    for (const address of addresses) {
      const name = formatAddress(address.hostname, address.port);
      // The first of two equal addresses counts: it is the own lookup's.
      if (!wanted.has(name)) wanted.set(name, address);
    }
    return wanted;
  }

  // ---- channels of other brokers

  /**
   * Creates the channels that a new topic has on other brokers. Until then its messages wait, for up to
   * --http-client-request-timeout, so that these channels get them from the first one on.
   */
  private async createChannels(topic: Topic): Promise<void> {
    const { logger, options } = this.broker;
    topic.withhold();
    const release = (problem?: Error): void => {
      if (!topic.withheld) return;
      if (problem !== undefined)
        logger.warn(`failed to query nsqlookupd for channels to pre-create for topic ${topic.name} - ${problem.message}`, {
          part: "discovery",
          topic: topic.name,
        });
      topic.endWithholding();
    };
    const timer = setTimeout(
      () => release(new Error(`no answer within ${options.httpClientRequestTimeoutMs} ms`)),
      options.httpClientRequestTimeoutMs,
    );
    try {
      await this.beginQuery();
      if (topic.withheld && !topic.deleted) {
        const names = await this.findChannels(topic.name);
        if (topic.withheld && !topic.deleted && !this.closed) for (const name of names) topic.channel(name);
      }
      release();
    } catch (error) {
      release(error as Error);
    } finally {
      clearTimeout(timer);
      this.endQuery();
    }
  }

  private async beginQuery(): Promise<void> {
    if (this.queries < MAX_QUERIES) this.queries++;
    else await new Promise<void>((resolve) => this.waitingQueries.push(resolve));
  }

  private endQuery(): void {
    const next = this.waitingQueries.shift();
    if (next === undefined) this.queries--;
    else next();
  }

  /** The channels of a topic that any lookup knows, without ephemeral ones. Lookups that do not answer are logged. */
  private async findChannels(topic: string): Promise<Set<string>> {
    const { logger } = this.broker;
    const names = new Set<string>();
    const answers = await Promise.all([...this.peers.values()].map((peer) => this.askPeer(peer, topic)));
    if (answers.every((answer) => answer === undefined)) {
      logger.error(`no available nsqlookupd to query for channels to pre-create for topic ${topic}`, { part: "discovery", topic });
    }
    for (const answer of answers) {
      if (answer instanceof Error) {
        logger.warn(`failed to query nsqlookupd for channels to pre-create for topic ${topic} - ${answer.message}`, {
          part: "discovery",
          topic,
        });
        continue;
      }
      // An ephemeral channel is deleted with its last consumer, so one that never has a consumer would stay for ever.
      for (const name of answer ?? []) if (isValidName(name) && !isEphemeral(name)) names.add(name);
    }
    return names;
  }

  /** @returns undefined for a lookup that has not told its HTTP address yet; an error for one that does not answer */
  private async askPeer(peer: LookupPeer, topic: string): Promise<string[] | Error | undefined> {
    // The topic's first message may come before the connection to the lookup is made.
    await peer.firstAttempt;
    if (peer.httpAddress === undefined) return undefined;
    try {
      const { httpClientConnectTimeoutMs, httpClientRequestTimeoutMs } = this.broker.options;
      const text = await get(peer.httpAddress, `/channels?topic=${encodeURIComponent(topic)}`, {
        connectTimeoutMs: httpClientConnectTimeoutMs,
        requestTimeoutMs: httpClientRequestTimeoutMs,
        responseBytes: MAX_LIST_BYTES,
      });
      return parseChannels(text);
    } catch (error) {
      return error as Error;
    }
  }
}

/** @throws for anything but a list of channels */
function parseChannels(text: string): string[] {
  const parsed: unknown = JSON.parse(text);
  if (typeof parsed !== "object" || parsed === null || !("channels" in parsed)) return [];
  const { channels } = parsed;
  if (!Array.isArray(channels)) throw new Error("its channels are not a list");
  return channels.filter((name) => typeof name === "string");
}
