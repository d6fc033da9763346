import type { InProcessLookup } from "../../../lookup/support/in-process.ts";
import type { LookupClient } from "../../../lookup/support/lookup-client.ts";

const VERSION = "0.3.7-HA.1.13.0";

/** What a transcript tells of one of Youzan's brokers. */
export interface Peer {
  id: string;
  remote_address: string;
  hostname: string;
  broadcast_address: string;
  tcp_port: number;
  http_port: number;
  version: string;
  distributed_id: string;
}

/** A connection that registers as Youzan's broker number 1, 2 or 3 of the transcripts does. */
export class YouzanBroker {
  private constructor(
    readonly client: LookupClient,
    readonly peer: Peer,
  ) {}

  static async register(lookup: InProcessLookup, number: number, registrations: string[]): Promise<YouzanBroker> {
    const client = await lookup.client();
    const tcpPort = 24_050 + 100 * number;
    const peer: Peer = {
      id: client.address,
      remote_address: client.address,
      hostname: "vm",
      broadcast_address: "127.0.0.1",
      tcp_port: tcpPort,
      http_port: tcpPort + 1,
      version: VERSION,
      distributed_id: `127.0.0.1:${tcpPort + 3}:${tcpPort}:${number}`,
    };
    await client.identify(peer);
    const broker = new YouzanBroker(client, peer);
    for (const registration of registrations) await broker.call(`REGISTER ${registration}`);
    return broker;
  }

  /** Sends a command that must be answered with OK. */
  async call(line: string): Promise<void> {
    const answer = await this.client.call(line);
    if (answer !== "OK") throw new Error(`${line}: ${answer}`);
  }

  /** As /nodes tells it. */
  node(tombstones: boolean[], partitions: Record<string, string[]>, topics = Object.keys(partitions)): object {
    const { id: _id, distributed_id: _distributedId, ...peer } = this.peer;
    return { ...peer, tombstones, topics, partitions };
  }
}
