import { expect } from "bun:test";

const ACCEPT = { Accept: "application/vnd.nsq; version=1.0" };

export interface Peer {
  broadcast_address: string;
  tcp_port: number;
  http_port: number;
}

export interface LookupAnswer {
  meta: { partition_num: number; extend_support: boolean; ordered: boolean };
  partitions: Record<string, Peer>;
  producers: Peer[];
}

/** Where a client of Youzan's finds topics: its lookup servers, as it asks them. It goes by what the answers say alone. */
export class YouzanLookup {
  private readonly lookups: string[];

  constructor(seed: string) {
    this.lookups = [seed];
  }

  private async ask<Answer>(path: string): Promise<Answer> {
    const response = await fetch(`http://${this.lookups[0]}${path}`, { headers: ACCEPT });
    if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`);
    expect(response.headers.get("x-nsq-content-type")).toBe("nsq; version=1.0");
    return (await response.json()) as Answer;
  }

  /** Asks for the other lookup servers. @returns all of them */
  async discover(): Promise<string[]> {
    const { lookupdnodes } = await this.ask<{ lookupdnodes: { NodeIP: string; HttpPort: string }[] }>("/listlookup");
    for (const { NodeIP, HttpPort } of lookupdnodes) {
      const address = `${NodeIP}:${HttpPort}`;
      if (!this.lookups.includes(address)) this.lookups.push(address);
    }
    return this.lookups;
  }

  /** Where a topic is, to read or to write. */
  find(topic: string, access: "r" | "w"): Promise<LookupAnswer> {
    return this.ask(`/lookup?access=${access}&metainfo=true&topic=${topic}`);
  }

  /** A consumer's connections: one for each partition, and one without for each broker that has none. */
  async connections(topic: string): Promise<string[]> {
    const { partitions, producers } = await this.find(topic, "r");
    const places = Object.entries(partitions).map(([index, peer]) => `${peer.tcp_port} ${index}`);
    const known = new Set(Object.values(partitions).map(({ tcp_port }) => tcp_port));
    const others = producers.filter(({ tcp_port }) => !known.has(tcp_port)).map(({ tcp_port }) => `${tcp_port} -1`);
    return [...places, ...others].sort();
  }

  /** The partition of a key, which the client computes itself, and the broker that has it. */
  async partitionOf(topic: string, key: string): Promise<{ index: number; peer: Peer }> {
    const { meta, partitions } = await this.find(topic, "w");
    const index = Bun.hash.murmur32v3(key, 0) % meta.partition_num;
    const peer = partitions[index];
    if (peer === undefined) throw new Error(`partition ${index} has no broker`);
    return { index, peer };
  }
}
