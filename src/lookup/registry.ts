import { isEphemeral } from "../frame/names.ts";
import { type NodeInfo, RegisteredNode } from "./registered-node.ts";
import { ChannelRegistration, TopicRegistration } from "./registration.ts";
import { SortedList } from "./sorted-list.ts";

/** Stands for every topic, where a name is asked for: no topic can be called that (nsqlookupd/registration_db.go). */
const ANY = "*";

/** Clocks in ms. */
export interface RegistryClock {
  /** Never set back or forward: decides who is active. */
  monotonicMs(): number;
  /** Since 1970: what is shown. */
  wallMs(): number;
}

const SYSTEM_CLOCK: RegistryClock = { monotonicMs: () => performance.now(), wallMs: () => Date.now() };

export interface RegistryLimits {
  inactiveProducerTimeoutMs: number;
  tombstoneLifetimeMs: number;
}

/** Which of a topic and its channel were new, or went. */
export interface Change {
  topic: boolean;
  channel: boolean;
}

/** What UNREGISTER of a topic took away: the topic, and channels that should have gone before it. */
export interface TopicChange {
  topic: boolean;
  channels: string[];
}

/** Where clients find a topic. */
export interface Whereabouts {
  channels: string[];
  /** Without inactive and tombstoned ones, in the order of their connecting. */
  nodes: RegisteredNode[];
}

/**
 * Who has which topics and channels: what nsqlookupd keeps in its registration DB, with an index per topic, so that
 * neither a question nor a producer that goes has to look through what is not theirs.
 *
 * Names are taken as they come: whoever registers has checked them. Where a topic is asked for, `*` means each.
 */
export class Registry {
  private readonly nodes = new SortedList<RegisteredNode>();
  private readonly topics = new Map<string, TopicRegistration>();
  private lastOrdinal = 0;

  constructor(
    private readonly limits: RegistryLimits,
    private readonly clock: RegistryClock = SYSTEM_CLOCK,
  ) {}

  // ---- producers

  /** A broker has identified itself. */
  addNode(info: NodeInfo): RegisteredNode {
    const node = new RegisteredNode(++this.lastOrdinal, info);
    node.lastSeenMs = this.clock.monotonicMs();
    node.lastSeenAtMs = this.clock.wallMs();
    this.nodes.add(node);
    return node;
  }

  /**
   * A broker is gone: from now on nobody is told of it. What it had registered is to be taken away with forget(). The
   * names stay, ephemeral ones too, as they do in nsqlookupd.
   *
   * @returns how many topics and channels it had
   */
  removeNode(node: RegisteredNode): number {
    this.nodes.remove(node);
    node.gone = true;
    return node.registrations.size;
  }

  /**
   * Takes away at most `limit` registrations of a producer that is gone: a broker with thousands must not keep others
   * waiting, and one registration with hundreds of producers takes a microsecond.
   *
   * @returns whether all are taken away
   */
  unregisterSome(node: RegisteredNode, limit: number): boolean {
    for (let left = limit; left > 0; left--) {
      const registration = node.registrations.pop();
      if (registration === undefined) return true;
      registration.removeNode(node);
    }
    return node.registrations.size === 0;
  }

  /** A producer has been heard of. @returns how long it had not been, ms */
  markSeen(node: RegisteredNode): number {
    const nowMs = this.clock.monotonicMs();
    const silentMs = nowMs - node.lastSeenMs;
    node.lastSeenMs = nowMs;
    node.lastSeenAtMs = this.clock.wallMs();
    return silentMs;
  }

  /** All that are active, tombstoned or not. */
  activeNodes(): RegisteredNode[] {
    const nowMs = this.clock.monotonicMs();
    return this.nodes.items.filter((node) => this.isActive(node, nowMs));
  }

  /** All there are. To be read only, and not across a change. */
  allNodes(): readonly RegisteredNode[] {
    return this.nodes.items;
  }

  // ---- what producers register

  /** A producer has a topic, and a channel of it unless the name is empty. @returns which of them are new of it */
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

  /** A producer has a channel no more. An ephemeral one goes with its last producer. @returns whether it had it */
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

  /** A producer has a topic no more, nor any of its channels. An ephemeral one goes with its last producer. */
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

  // ---- what operators change

  createTopic(name: string): void {
    const topic = this.topicToChange(name);
    topic.registered = true;
  }

  createChannel(topicName: string, channelName: string): void {
    const topic = this.topicToChange(topicName);
    this.channelToChange(topic, channelName);
    topic.registered = true;
  }

  /** Its producers lose it, and its channels. @returns what went, topics with their channels */
  deleteTopic(name: string): { topic: string; registered: boolean; channels: string[] }[] {
    return [...this.matching(name)].map((topic) => {
      for (const channel of topic.channels.items) this.disband(channel);
      this.disband(topic);
      this.topics.delete(topic.name);
      return { topic: topic.name, registered: topic.registered, channels: topic.channels.items.map((channel) => channel.name) };
    });
  }

  /** @returns false if there is no such channel */
  deleteChannel(topicName: string, channelName: string): boolean {
    const topic = this.topics.get(topicName);
    const channel = topic?.channels.get(channelName);
    if (topic === undefined || channel === undefined) return false;
    this.disband(channel);
    topic.channels.remove(channel);
    this.dropIfEmpty(topic);
    return true;
  }

  /** Lets clients not find a topic at a node (`broadcast address:http port`) for the lifetime of tombstones. */
  tombstone(topicName: string, address: string): void {
    const tombstone = { sinceMs: this.clock.monotonicMs(), atMs: this.clock.wallMs() };
    for (const [node, topic] of this.nodesOf(topicName)) {
      if (node.httpAddress !== address) continue;
      topic.tombstones ??= new Map();
      topic.tombstones.set(node, tombstone);
    }
  }

  // ---- questions

  /** A topic that is there under just this name, registered or not. */
  topic(name: string): TopicRegistration | undefined {
    return this.topics.get(name);
  }

  /** All there are, those too that are no more than the home of channels. */
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

  /** @returns undefined if nobody ever registered such a topic */
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
    // Under the name * a producer is at many topics, and is told once.
    return { channels: this.channelNames(topicName), nodes: topicName === ANY ? [...new Set(nodes)] : nodes };
  }

  /** Whether clients are not to find this topic at this producer now. */
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

  /** Each producer once, with the (first) topic that it was found at. */
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

/** A copy of its own: a string that was cut out of a command line holds on to the whole line. */
function flat(name: string): string {
  return Buffer.from(name, "latin1").toString("latin1");
}
