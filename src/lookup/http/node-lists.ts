import { encodeJson } from "../../base/go/json.ts";
import type { NodeInfo, RegisteredNode } from "../registered-node.ts";

/** The size of all lists together. A list of 300 nodes takes 47 KB. */
const BUDGET_BYTES = 8 * 1024 * 1024;

interface List {
  nodes: readonly RegisteredNode[];
  bytes: Buffer;
}

/**
 * A cache of the lists of nodes in the answers of /lookup. A list is encoded once for all topics that have the same nodes, and
 * a cluster's topics are usually at a few sets of brokers. A list of 300 nodes takes 32 µs to encode, of the 80 µs that a
 * request takes without the cache.
 *
 * The key of a list is its set of nodes, and nodes do not change, so a list is never out of date. The list that has not been
 * used for longest is dropped first.
 */
export class NodeLists {
  private readonly lists = new Map<number, List>();
  private totalBytes = 0;

  constructor(private readonly budgetBytes = BUDGET_BYTES) {}

  /** @param nodes in the order of their ordinals @returns JSON without the brackets of the list */
  jsonOf(nodes: readonly RegisteredNode[]): Buffer {
    const key = keyOf(nodes);
    const known = this.lists.get(key);
    if (known !== undefined) this.drop(key, known);
    const list = known !== undefined && isSame(known.nodes, nodes) ? known : layOut(nodes);
    // Behind all others, as the list that was used last.
    this.lists.set(key, list);
    this.totalBytes += list.bytes.length;
    for (const [oldest, other] of this.lists) {
      if (this.totalBytes <= this.budgetBytes) break;
      this.drop(oldest, other);
    }
    return list.bytes;
  }

  private drop(key: number, list: List): void {
    this.lists.delete(key);
    this.totalBytes -= list.bytes.length;
  }
}

function keyOf(nodes: readonly RegisteredNode[]): number {
  let key = 0;
  for (const { mark } of nodes) key ^= mark;
  return key;
}

function isSame(some: readonly RegisteredNode[], others: readonly RegisteredNode[]): boolean {
  return some.length === others.length && some.every((node, i) => node === others[i]);
}

function layOut(nodes: readonly RegisteredNode[]): List {
  return { nodes, bytes: Buffer.from(nodes.map(({ info }) => `{${nodeFields(info)}}`).join(",")) };
}

/** A node's fields as JSON without braces, in nsqlookupd's order. */
export function nodeFields(info: NodeInfo): string {
  return (
    `"remote_address":${encodeJson(info.remoteAddress)},"hostname":${encodeJson(info.hostname)},` +
    `"broadcast_address":${encodeJson(info.broadcastAddress)},"tcp_port":${info.tcpPort},"http_port":${info.httpPort},` +
    `"version":${encodeJson(info.version)}`
  );
}
