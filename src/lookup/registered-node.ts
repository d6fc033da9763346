import { type Ordered, SortedList } from "./sorted-list.ts";

/** Who a broker says it is (IDENTIFY), and from where it said so. */
export interface NodeInfo {
  /** `ip:port` of its connection: two producers never share one. */
  readonly remoteAddress: string;
  readonly hostname: string;
  /** Name or address under which clients reach it. */
  readonly broadcastAddress: string;
  /** As it said: not held to the range of ports. A bigint where a double would not be exact. */
  readonly tcpPort: number | bigint;
  readonly httpPort: number | bigint;
  readonly version: string;
}

/** A topic or a channel, as a node that registered it knows it. */
export interface Registration extends Ordered {
  readonly name: string;
  /** @returns false if the node was not registered there */
  removeNode(node: RegisteredNode): boolean;
}

/** A broker that is connected and has identified itself. Only the registry changes it. */
export class RegisteredNode implements Ordered {
  /** All topics and channels that it has. */
  readonly registrations = new SortedList<Registration>();
  /** It has left, and what it registered is being taken away; nobody is told of it any more. */
  gone = false;
  /** When it was last heard of, on a clock that is never set, ms. */
  lastSeenMs = 0;
  /** The same in wall-clock time, ms since 1970. */
  lastSeenAtMs = 0;
  /** 32 random bits: those of several producers, taken together by XOR, tell most sets of producers apart. */
  readonly mark = Math.floor(Math.random() * 2 ** 32);

  constructor(
    readonly ordinal: number,
    readonly info: NodeInfo,
  ) {}

  /** `broadcast address:http port`, by which /topic/tombstone names it. */
  get httpAddress(): string {
    return `${this.info.broadcastAddress}:${this.info.httpPort}`;
  }
}
