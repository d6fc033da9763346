import { hostname } from "node:os";
import type { Logger } from "../../base/logger.ts";
import { isEphemeral, isValidName } from "../../frame/names.ts";
import { get } from "../../http/client/get.ts";
import { type Address, formatAddress, parseRemoteAddress } from "../../net/address.ts";
import { NSQ_VERSION } from "../../version.ts";
import type { BrokerOptions } from "../options.ts";
import type { Channel } from "../topics/channel/channel.ts";
import type { Topic } from "../topics/topic.ts";
import type { TopicObserver } from "../topics/topic-registry.ts";
import { type Identity, LookupPeer, type Registrant } from "./lookup-peer.ts";

/** Topics whose channels are asked for at the same time: thousands may be created in one moment. */
const MAX_QUERIES = 32;
/** Of a lookup's list of channels. */
const MAX_LIST_BYTES = 4 * 1024 * 1024;

/** A lookup in this process: where it is, without a detour over names that others know it by. */
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
 * The broker's side of discovery: tells every lookup which topics and channels there are, and learns from them which
 * channels a new topic has elsewhere.
 */
export class Discovery implements Registrant, TopicObserver {
  private readonly peers = new Map<string, LookupPeer>();
  private closed = false;
  private queries = 0;
  private readonly waitingQueries: (() => void)[] = [];

  /**
   * Starts to register with --lookupd-tcp-address, and follows that option when it is changed at run time.
   *
   * @throws StartError for an address that is none
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
    broker.optionsChanged.push(() => this.update());
    this.update();
  }

  /** Hangs up: the lookups forget this broker. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.broker.registry.observer = undefined;
    this.broker.logger.info("LOOKUP: closing");
    for (const peer of this.peers.values()) peer.close();
    this.peers.clear();
  }

  // ---- what lookups are told

  identity(): Identity {
    const { options } = this.broker;
    return {
      version: NSQ_VERSION,
      tcp_port: this.broadcastTcpPort,
      http_port: this.broadcastHttpPort,
      hostname: hostname(),
      broadcast_address: options.broadcastAddress,
    };
  }

  *registrations(): Generator<string, undefined> {
    for (const topic of this.broker.registry.topics.values()) {
      if (topic.channels.size === 0) yield `REGISTER ${topic.name}`;
      // A channel's registration is its topic's too.
      else for (const channel of topic.channels.values()) yield `REGISTER ${topic.name} ${channel.name}`;
    }
  }

  topicCreated(topic: Topic): void {
    this.tell(`REGISTER ${topic.name}`);
    if (this.peers.size > 0) void this.createChannels(topic);
  }

  topicDeleted(topic: Topic): void {
    this.tell(`UNREGISTER ${topic.name}`);
  }

  channelCreated(channel: Channel): void {
    this.tell(`REGISTER ${channel.topic.name} ${channel.name}`);
  }

  channelDeleted(channel: Channel): void {
    this.tell(`UNREGISTER ${channel.topic.name} ${channel.name}`);
  }

  private tell(command: string): void {
    for (const peer of this.peers.values()) peer.tell(command);
  }

  // ---- which lookups there are

  private get broadcastHttpPort(): number {
    return this.broker.options.broadcastHttpPort || this.broker.httpPort;
  }

  private get broadcastTcpPort(): number {
    return this.broker.options.broadcastTcpPort || this.broker.tcpPort;
  }

  /** Connects to what is new among the addresses, and hangs up on what is no longer. */
  private update(): void {
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
        logger.error(`LOOKUP(${text}): ${(error as Error).message}`);
      }
    }
    if (addresses.length > 0 && this.broadcastHttpPort === 0) {
      logger.error("LOOKUP: not registering with any: a lookup asks for an HTTP port; give -http-address or -broadcast-http-port");
      return new Map();
    }
    if (addresses.length > 0 && this.broadcastTcpPort === 0) {
      logger.error("LOOKUP: not registering with any: a lookup asks for a TCP port, and a unix socket has none; give -broadcast-tcp-port");
      return new Map();
    }
    const wanted = new Map<string, Address>();
    for (const address of addresses) {
      const name = formatAddress(address.hostname, address.port);
      // Of the same address twice the first counts: the own one.
      if (!wanted.has(name)) wanted.set(name, address);
    }
    return wanted;
  }

  // ---- what lookups are asked

  /**
   * Creates the channels that a new topic has on other brokers. Its messages wait until that is done, so that they
   * reach these channels from the first one on; but not longer than --http-client-request-timeout.
   */
  private async createChannels(topic: Topic): Promise<void> {
    const { logger, options } = this.broker;
    topic.withhold();
    const release = (problem?: string): void => {
      if (!topic.withheld) return;
      if (problem !== undefined) logger.warn(`failed to query nsqlookupd for channels to pre-create for topic ${topic.name} - ${problem}`);
      topic.endWithholding();
    };
    const timer = setTimeout(
      () => release(`no answer within ${options.httpClientRequestTimeoutMs} ms`),
      options.httpClientRequestTimeoutMs,
    );
    try {
      await this.queryTurn();
      if (topic.withheld && !topic.deleted) {
        const names = await this.findChannels(topic.name);
        if (topic.withheld && !topic.deleted && !this.closed) for (const name of names) topic.channel(name);
      }
      release();
    } catch (error) {
      release((error as Error).message);
    } finally {
      clearTimeout(timer);
      this.queryDone();
    }
  }

  private async queryTurn(): Promise<void> {
    if (this.queries < MAX_QUERIES) this.queries++;
    else await new Promise<void>((resolve) => this.waitingQueries.push(resolve));
  }

  private queryDone(): void {
    const next = this.waitingQueries.shift();
    if (next === undefined) this.queries--;
    else next();
  }

  /** The channels, ephemeral ones excepted, that any lookup knows of a topic. Who does not answer is told of in the log. */
  private async findChannels(topic: string): Promise<Set<string>> {
    const { logger } = this.broker;
    const names = new Set<string>();
    const answers = await Promise.all([...this.peers.values()].map((peer) => this.askPeer(peer, topic)));
    if (answers.every((answer) => answer === undefined)) {
      logger.error(`no available nsqlookupd to query for channels to pre-create for topic ${topic}`);
    }
    for (const answer of answers) {
      if (answer instanceof Error) {
        logger.warn(`failed to query nsqlookupd for channels to pre-create for topic ${topic} - ${answer.message}`);
        continue;
      }
      // Without a consumer an ephemeral channel would stay for ever.
      for (const name of answer ?? []) if (isValidName(name) && !isEphemeral(name)) names.add(name);
    }
    return names;
  }

  /** @returns undefined for a lookup that has never told where its HTTP side is; an error for one that does not answer */
  private async askPeer(peer: LookupPeer, topic: string): Promise<string[] | Error | undefined> {
    // The first message may be there before the first connection.
    await peer.tried;
    if (peer.httpAddress === undefined) return undefined;
    try {
      const { httpClientConnectTimeoutMs, httpClientRequestTimeoutMs } = this.broker.options;
      const text = await get(peer.httpAddress, `/channels?topic=${encodeURIComponent(topic)}`, {
        connectTimeoutMs: httpClientConnectTimeoutMs,
        requestTimeoutMs: httpClientRequestTimeoutMs,
        responseBytes: MAX_LIST_BYTES,
      });
      return readChannels(text);
    } catch (error) {
      return error as Error;
    }
  }
}

/** @throws for what is no list of channels */
function readChannels(text: string): string[] {
  const parsed: unknown = JSON.parse(text);
  if (typeof parsed !== "object" || parsed === null || !("channels" in parsed)) return [];
  const { channels } = parsed;
  if (!Array.isArray(channels)) throw new Error("its channels are no list");
  return channels.filter((name) => typeof name === "string");
}
