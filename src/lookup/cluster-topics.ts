import type { LookupMember } from "../cluster/member/lookup-member.ts";
import type { BrokerRecord, TopicRecord } from "../cluster/state/records.ts";
import { formatAddress, parseRemoteAddress } from "../net/address.ts";
import { RegisteredNode } from "./registered-node.ts";
import type { Registry } from "./registry.ts";

/** A topic of the cluster, and who leads its partitions now. */
export interface ClusterTopic {
  readonly name: string;
  readonly record: TopicRecord;
  /** By partition; those that nobody leads are left out. */
  readonly leaders: ReadonlyMap<number, RegisteredNode>;
}

interface Stranger {
  readonly record: BrokerRecord;
  readonly node: RegisteredNode;
}

/** Behind all nodes that are registered. */
const FIRST_ORDINAL = 2 ** 50;

/**
 * Where the topics of the cluster are, as etcd says. The brokers among the nodes that are registered here are told as these; others by what
 * etcd has of them, so that an answer does not depend on who has registered here.
 */
export class ClusterTopics {
  /** Brokers that have not registered here, by their uids. */
  private readonly strangers = new Map<string, Stranger>();
  private nextOrdinal = FIRST_ORDINAL;

  constructor(
    readonly member: LookupMember,
    private readonly registry: Registry,
  ) {}

  /** @returns undefined: the cluster has no such topic, or it cannot be used yet or any more */
  find(name: string): ClusterTopic | undefined {
    const { view, names } = this.member;
    const record = view.topics.get(name)?.value;
    if (record === undefined || !isUsable(record)) return undefined;
    const registered = this.registry.topic(name)?.nodes.items ?? [];
    const leaders = new Map<number, RegisteredNode>();
    for (let partition = 0; partition < record.partitions; partition++) {
      const stored = view.partitions.get(`${name}/${partition}`)?.value;
      if (stored === undefined || stored.uid !== record.uid || stored.leader === "") continue;
      if (!names.isAlive(stored.leader) && this.member.isCurrent) continue;
      const node = this.nodeOf(stored.leader, registered);
      if (node !== undefined) leaders.set(partition, node);
    }
    return { name, record, leaders };
  }

  /** The names of all topics that can be used. */
  names(): string[] {
    const names: string[] = [];
    for (const [name, { value }] of this.member.view.topics) if (isUsable(value)) names.push(name);
    return names;
  }

  /** Whether a node is a broker of the cluster, and has gone, as etcd says. Its connection here may not have ended yet. */
  isGone({ info }: RegisteredNode): boolean {
    const { names, isCurrent } = this.member;
    const uid = names.at(formatAddress(info.broadcastAddress, Number(info.tcpPort)));
    return isCurrent && uid !== undefined && !names.isAlive(uid);
  }

  /** The brokers of the cluster that have not registered here, with the topics and partitions that each leads. */
  strangersWithTopics(): Map<RegisteredNode, Map<string, number[]>> {
    const { view } = this.member;
    const nodes = this.registry.activeNodes();
    const found = new Map<string, Map<string, number[]>>();
    for (const { value } of view.brokers.values()) found.set(value.uid, new Map());
    for (const name of this.names().sort()) {
      const { partitions = 0, uid } = view.topics.get(name)?.value ?? {};
      for (let partition = 0; partition < partitions; partition++) {
        const stored = view.partitions.get(`${name}/${partition}`)?.value;
        const topics = stored === undefined || stored.uid !== uid ? undefined : found.get(stored.leader);
        if (topics !== undefined) topics.set(name, [...(topics.get(name) ?? []), partition]);
      }
    }
    const strangers = new Map<RegisteredNode, Map<string, number[]>>();
    for (const [uid, topics] of found) {
      const node = this.nodeOf(uid, nodes);
      if (node !== undefined && !nodes.includes(node)) strangers.set(node, topics);
    }
    return strangers;
  }

  /** @param among nodes that it may be */
  private nodeOf(uid: string, among: readonly RegisteredNode[]): RegisteredNode | undefined {
    const record = this.member.names.record(uid);
    if (record === undefined || record.tcp === "" || record.http === "") return undefined;
    const registered = among.find(({ info }) => formatAddress(info.broadcastAddress, Number(info.tcpPort)) === record.tcp);
    if (registered !== undefined) return registered;
    const known = this.strangers.get(uid);
    if (known !== undefined && isSame(known.record, record)) return known.node;
    const node = new RegisteredNode(this.nextOrdinal++, infoOf(record));
    this.strangers.set(uid, { record, node });
    return node;
  }
}

/** A topic that is being made or removed is told to nobody. */
function isUsable({ change }: TopicRecord): boolean {
  return change === undefined || change.kind === "expand";
}

function isSame(some: BrokerRecord, other: BrokerRecord): boolean {
  return some === other || (some.tcp === other.tcp && some.http === other.http && some.replication === other.replication);
}

function infoOf({ tcp, http, replication, version }: BrokerRecord): RegisteredNode["info"] {
  const { hostname, port } = parseRemoteAddress(tcp);
  const replicationPort = replication === "" ? 0 : parseRemoteAddress(replication).port;
  return {
    remoteAddress: tcp,
    hostname,
    broadcastAddress: hostname,
    tcpPort: port,
    httpPort: parseRemoteAddress(http).port,
    version,
    distributedId: `${hostname}:${replicationPort}:${port}:0`,
    makesPartitions: true,
  };
}
