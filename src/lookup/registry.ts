import { isEphemeral } from "../frame/names.ts";
import { type NodeInfo, RegisteredNode } from "./registered-node.ts";
import { ChannelRegistration, TopicRegistration } from "./registration.ts";
import { SortedList } from "./sorted-list.ts";
import type { TopicSettings } from "./topic-settings.ts";

/** In a question this name means every topic. No topic can have this name (nsqlookupd/registration_db.go). */
const ANY = "*";

/** The clocks of a registry, in ms. */
export interface RegistryClock {
  /** A clock that is never set. Decides which nodes are active. */
  monotonicMs(): number;
  /** Time since 1970, for display. */
  wallMs(): number;
}

const SYSTEM_CLOCK: RegistryClock = { monotonicMs: () => performance.now(), wallMs: () => Date.now() };

export interface RegistryLimits {
  inactiveProducerTimeoutMs: number;
  tombstoneLifetimeMs: number;
}

/** Whether a registration was new for the node. */
export interface Change {
  topic: boolean;
  channel: boolean;
}

/** What UNREGISTER of a topic removed: the topic, and channels that the node should have unregistered before. */
export interface TopicChange {
  topic: boolean;
  channels: string[];
}

/** The answer to the question where a topic is. */
export interface Whereabouts {
  channels: string[];
  /** Without inactive and tombstoned nodes, in the order in which they connected. */
  nodes: RegisteredNode[];
}

/**
 * Which nodes have which topics and channels. It has the contents of nsqlookupd's registration DB, but with an index per topic,
 * so that a question and the removal of a node touch only their own entries.
 *
 * The caller has checked the names. In a question about a topic, `*` means every topic.
 */
export class Registry {
  private readonly nodes = new SortedList<RegisteredNode>();
  private readonly topics = new Map<string, TopicRegistration>();
  private lastOrdinal = 0;

  constructor(
    private readonly limits: RegistryLimits,
    private readonly clock: RegistryClock = SYSTEM_CLOCK,
  ) {}

  // ---- nodes

  /** Adds a broker that has identified itself. */
  addNode(info: NodeInfo): RegisteredNode {
    const node = new RegisteredNode(++this.lastOrdinal, info);
    node.lastSeenMs = this.clock.monotonicMs();
    node.lastSeenAtMs = this.clock.wallMs();
    this.nodes.add(node);
    return node;
  }

  /**
   * Removes a broker that has disconnected: it is left out of answers from now on. The caller has to remove its registrations
   * with unregisterSome(). The names of its topics and channels stay, also ephemeral ones, as in nsqlookupd.
   *
   * @returns how many topics and channels it had registered
   */
  removeNode(node: RegisteredNode): number {
    this.nodes.remove(node);
    node.gone = true;
    return node.registrations.size;
  }

  /**
   * Removes at most `limit` registrations of a node that has gone, so that a broker with thousands does not block others. One
   * registration of a topic with hundreds of nodes takes a microsecond.
   *
   * @returns whether all are removed
   */
  unregisterSome(node: RegisteredNode, limit: number): boolean {
    for (let left = limit; left > 0; left--) {
      const registration = node.registrations.pop();
      if (registration === undefined) return true;
      registration.removeNode(node);
    }
    return node.registrations.size === 0;
  }

  /** Notes a sign of life of a node. @returns the time since the one before, ms */
  markSeen(node: RegisteredNode): number {
    const nowMs = this.clock.monotonicMs();
    const silentMs = nowMs - node.lastSeenMs;
    node.lastSeenMs = nowMs;
    node.lastSeenAtMs = this.clock.wallMs();
    return silentMs;
  }

  /** All active nodes, tombstoned or not. */
  activeNodes(): RegisteredNode[] {
    const nowMs = this.clock.monotonicMs();
    return this.nodes.items.filter((node) => this.isActive(node, nowMs));
  }

  /** All nodes. Read-only, and valid until the next change. */
  allNodes(): readonly RegisteredNode[] {
    return this.nodes.items;
  }

  // ---- registrations

  /** Registers a topic at a node, and a channel of it unless its name is empty. @returns which of them are new for the node */
  register(node: RegisteredNode, topicName: string, channelName: string): Change {
    const topic = this.topicToChange(topicName);
    const change = { topic: false, channel: false };
    if (channelName !== "") {
      const channel = this.channelToChange(topic, channelName);
      change.channel = channel.nodes.add(node);
      if (change.channel) node.registrations.add(channel);
    }
    topic.registered = true;
    change.topic = topic.nodes.add(node);
    if (change.topic) {
      node.registrations.add(topic);
    }
    return change;
  }

  /** Registers a partition of a topic at a node. A channel is of all partitions. @returns what is new for the node */
  registerPartition(node: RegisteredNode, topicName: string, index: number, channelName: string): Change {
    const change = this.register(node, topicName, channelName);
    const isNew = this.topicToChange(topicName).addPartition(node, index, change.topic);
    return { topic: isNew, channel: change.channel };
  }

  /** Unregisters a partition at a node, and with its last one the topic. */
  unregisterPartition(node: RegisteredNode, topicName: string, index: number): TopicChange {
    const topic = this.topics.get(topicName);
    if (topic?.partitionsAt(node).includes(index) !== true) return { topic: false, channels: [] };
    if (topic.removePartition(node, index)) return { topic: true, channels: [] };
    return this.unregisterTopic(node, topicName);
  }

  /** Notes what a node says of a topic, if it has registered it. */
  setSettings(node: RegisteredNode, topicName: string, settings: TopicSettings): void {
    const topic = this.topics.get(topicName);
    if (topic?.nodes.items.includes(node) === true) topic.setSettings(node, settings);
  }

  /** Unregisters a channel at a node. An ephemeral channel is removed with its last node. @returns whether the node had it */
  unregisterChannel(node: RegisteredNode, topicName: string, channelName: string): boolean {
    const topic = this.topics.get(topicName);
    const channel = topic?.channels.get(channelName);
    if (topic === undefined || channel === undefined) return false;
    const removed = channel.removeNode(node);
    if (removed) node.registrations.remove(channel);
    if (channel.nodes.size === 0 && isEphemeral(channelName)) {
      topic.channels.remove(channel);
      this.dropIfEmpty(topic);
    }
    return removed;
  }

  /** Unregisters a topic and its channels at a node. An ephemeral topic is removed with its last node. */
  unregisterTopic(node: RegisteredNode, topicName: string): TopicChange {
    const change: TopicChange = { topic: false, channels: [] };
    const topic = this.topics.get(topicName);
    if (topic === undefined) return change;
    for (const channel of topic.channels.items) {
      if (!channel.removeNode(node)) continue;
      node.registrations.remove(channel);
      change.channels.push(channel.name);
    }
    change.topic = topic.removeNode(node);
    if (change.topic) node.registrations.remove(topic);
    if (topic.nodes.size === 0 && isEphemeral(topicName)) {
      topic.registered = false;
      this.dropIfEmpty(topic);
    }
    return change;
  }

  // ---- changes by operators

  createTopic(name: string): void {
    const topic = this.topicToChange(name);
    topic.registered = true;
  }

  createChannel(topicName: string, channelName: string): void {
    const topic = this.topicToChange(topicName);
    this.channelToChange(topic, channelName);
    topic.registered = true;
  }

  /** Deletes a topic and its channels, at all its nodes. @returns the deleted topics with their channels */
  deleteTopic(name: string): { topic: string; registered: boolean; channels: string[] }[] {
    return [...this.matching(name)].map((topic) => {
      for (const channel of topic.channels.items) this.disband(channel);
      this.disband(topic);
      this.topics.delete(topic.name);
      return { topic: topic.name, registered: topic.registered, channels: topic.channels.items.map((channel) => channel.name) };
    });
  }

  /** Deletes a channel at all its nodes. @returns false if there is no such channel */
  deleteChannel(topicName: string, channelName: string): boolean {
    const topic = this.topics.get(topicName);
    const channel = topic?.channels.get(channelName);
    if (topic === undefined || channel === undefined) return false;
    this.disband(channel);
    topic.channels.remove(channel);
    this.dropIfEmpty(topic);
    return true;
  }

  /**
   * Hides a topic at a node from clients for the lifetime of a tombstone.
   *
   * @param address `broadcast address:http port`, with the broadcast address in brackets or without
   */
  tombstone(topicName: string, address: string): void {
    const tombstone = { sinceMs: this.clock.monotonicMs(), atMs: this.clock.wallMs() };
    const named = withoutBrackets(address);
    for (const [node, topic] of this.nodesOf(topicName)) {
      if (withoutBrackets(node.httpAddress) !== named) continue;
      topic.tombstones ??= new Map();
      topic.tombstones.set(node, tombstone);
    }
  }

  /** Takes tombstone() back. */
  removeTombstone(topicName: string, address: string): void {
    const named = withoutBrackets(address);
    for (const [node, topic] of this.nodesOf(topicName)) if (withoutBrackets(node.httpAddress) === named) topic.tombstones?.delete(node);
  }

  // ---- queries

  /** The topic of exactly this name, registered or not. */
  topic(name: string): TopicRegistration | undefined {
    return this.topics.get(name);
  }

  /** All topics, including those that are not registered and only have channels. */
  allTopics(): IterableIterator<TopicRegistration> {
    return this.topics.values();
  }

  topicNames(): string[] {
    const names: string[] = [];
    for (const topic of this.topics.values()) if (topic.registered) names.push(topic.name);
    return names;
  }

  channelNames(topicName: string): string[] {
    const names: string[] = [];
    for (const topic of this.matching(topicName)) for (const channel of topic.channels.items) names.push(channel.name);
    return names;
  }

  /** @returns undefined if there is no such topic */
  lookup(topicName: string): Whereabouts | undefined {
    const nowMs = this.clock.monotonicMs();
    const nodes: RegisteredNode[] = [];
    let registered = false;
    for (const topic of this.matching(topicName)) {
      registered ||= topic.registered;
      for (const node of topic.nodes.items) {
        if (this.isActive(node, nowMs) && !this.isTombstoned(topic, node, nowMs)) nodes.push(node);
      }
    }
    if (!registered) return undefined;
    // The name * finds a node at many topics, but it is listed once.
    return { channels: this.channelNames(topicName), nodes: topicName === ANY ? [...new Set(nodes)] : nodes };
  }

  /** The active nodes of a topic, in the order in which they connected. @param tombstoned whether those are among them where it is hidden */
  activeNodesOf(topic: TopicRegistration, tombstoned: boolean): RegisteredNode[] {
    const nowMs = this.clock.monotonicMs();
    return topic.nodes.items.filter((node) => this.isActive(node, nowMs) && (tombstoned || !this.isTombstoned(topic, node, nowMs)));
  }

  /** Whether a topic is hidden at a node now. */
  isTombstoned(topic: TopicRegistration, node: RegisteredNode, nowMs = this.clock.monotonicMs()): boolean {
    const tombstone = topic.tombstones?.get(node);
    return tombstone !== undefined && nowMs - tombstone.sinceMs < this.limits.tombstoneLifetimeMs;
  }

  get nowMs(): number {
    return this.clock.monotonicMs();
  }

  private isActive(node: RegisteredNode, nowMs: number): boolean {
    return !node.gone && nowMs - node.lastSeenMs <= this.limits.inactiveProducerTimeoutMs;
  }

  /** Each node once, with the first topic that it was found at. */
  private *nodesOf(topicName: string): Generator<[RegisteredNode, TopicRegistration]> {
    const seen = topicName === ANY ? new Set<RegisteredNode>() : undefined;
    for (const topic of this.matching(topicName)) {
      for (const node of topic.nodes.items) {
        if (seen?.has(node)) continue;
        seen?.add(node);
        yield [node, topic];
      }
    }
  }

  private matching(topicName: string): Iterable<TopicRegistration> {
    if (topicName === ANY) return this.topics.values();
    const topic = this.topics.get(topicName);
    return topic === undefined ? [] : [topic];
  }

  private topicToChange(name: string): TopicRegistration {
    let topic = this.topics.get(name);
    if (topic === undefined) {
      topic = new TopicRegistration(++this.lastOrdinal, flat(name));
      this.topics.set(topic.name, topic);
    }
    return topic;
  }

  private channelToChange(topic: TopicRegistration, name: string): ChannelRegistration {
    let channel = topic.channels.get(name);
    if (channel === undefined) {
      channel = new ChannelRegistration(++this.lastOrdinal, flat(name), topic);
      topic.channels.add(channel);
    }
    return channel;
  }

  private disband(registration: TopicRegistration | ChannelRegistration): void {
    for (const node of registration.nodes.items) node.registrations.remove(registration);
    registration.nodes.clear();
  }

  private dropIfEmpty(topic: TopicRegistration): void {
    if (!topic.registered && topic.channels.size === 0) this.topics.delete(topic.name);
  }
}

/** Copies a name. A string that was cut out of a command line would keep the whole line in memory. */
function flat(name: string): string {
  return Buffer.from(name, "latin1").toString("latin1");
}

/** An address as nsqlookupd joins it, `host:port`: `::1:4151` for `[::1]:4151`. Either side may have been given with brackets. */
function withoutBrackets(address: string): string {
  return address.replace(/^\[([^[\]]+)\]:/, "$1:");
}
