import { type Ordered, SortedList } from "./sorted-list.ts";

/** What a broker said about itself in IDENTIFY, and the address that it connected from. */
export interface NodeInfo {
  /** `ip:port` of its connection. No two nodes have the same. */
  readonly remoteAddress: string;
  readonly hostname: string;
  /** The name or address under which clients reach it. */
  readonly broadcastAddress: string;
  /** As the broker said, which may be outside of the range of ports. A bigint if a double would not be exact. */
  readonly tcpPort: number | bigint;
  readonly httpPort: number | bigint;
  readonly version: string;
  /** What Youzan's clients know it by, `ip:rpc port:tcp port:worker id`; empty for a broker without partitions. */
  readonly distributedId: string;
  /** It can be told over HTTP which partitions of a topic to make, as bunsq's brokers can. */
  readonly makesPartitions: boolean;
}

/** A topic or a channel that a node has registered. */
export interface Registration extends Ordered {
  readonly name: string;
  /** @returns false if the node was not registered there */
  removeNode(node: RegisteredNode): boolean;
}

/** A broker that is connected and has identified itself. nsqlookupd calls it a producer. Only the registry changes it. */
export class RegisteredNode implements Ordered {
  /** Its topics and channels. */
  readonly registrations = new SortedList<Registration>();
  /** It has disconnected. It is left out of answers, and its registrations are being removed. */
  gone = false;
  /** When it last sent IDENTIFY or PING, ms on a monotonic clock. */
  lastSeenMs = 0;
  /** When it last sent IDENTIFY or PING, wall-clock time in ms since 1970. */
  lastSeenAtMs = 0;
  /** 32 random bits. The XOR of these bits identifies nearly every set of nodes. */
  readonly mark = Math.floor(Math.random() * 2 ** 32);

  constructor(
    readonly ordinal: number,
    readonly info: NodeInfo,
  ) {}

  /** Its REGISTER and UNREGISTER name partitions. */
  get namesPartitions(): boolean {
    return this.info.distributedId !== "";
  }

  /** `broadcast address:http port`, the name of the node in /topic/tombstone. */
  get httpAddress(): string {
    return `${this.info.broadcastAddress}:${this.info.httpPort}`;
  }
}
