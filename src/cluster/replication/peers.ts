import type { NetworkListener } from "../net/network.ts";
import type { BrokerRecord } from "../state/records.ts";
import { type Greeted, Greeting, type TakeConnection } from "./greeting.ts";
import { Peer, type PeerEvents, type PeerParts } from "./peer.ts";

/** No more connections wait to say who they are, or for etcd to say so, too: whoever makes many must not use up what the process may open. */
const MOST_GREETINGS = 256;

/** What etcd says of another broker. */
export type KnownBroker = Pick<BrokerRecord, "uid" | "run" | "replication">;

/** All other brokers of the cluster. */
export class Peers {
  private readonly byUid = new Map<string, Peer>();
  /** The runs of their processes, as etcd has them. */
  private readonly runs = new Map<string, string>();
  /** Connections of which it is not known whose they are. */
  private readonly greetings = new Set<Greeting>();
  private readonly listener: NetworkListener;
  /** Where others reach this broker, once it is known in the cluster. */
  private ownAddress = "";

  /**
   * @param address where others reach this broker
   * @param takeOther takes a connection whose first frame is no HELLO, if it is for something else
   * @throws StartError if it cannot listen there
   */
  constructor(
    private readonly parts: PeerParts,
    address: string,
    private readonly events: PeerEvents,
    takeOther: TakeConnection = () => undefined,
  ) {
    this.listener = parts.network.listen(address, (connection) => {
      const greeted: Greeted = {
        peerOf: ({ uid, run }) => (this.runs.get(uid) === run ? this.byUid.get(uid) : undefined),
        onEnded: (ended) => this.greetings.delete(ended),
      };
      const greeting = new Greeting(connection, parts, events, greeted, takeOther);
      this.greetings.add(greeting);
      if (this.greetings.size > MOST_GREETINGS) this.abortOldest();
      return greeting;
    });
  }

  close(): void {
    this.listener.close();
    for (const greeting of [...this.greetings]) greeting.abort();
    for (const peer of this.byUid.values()) peer.close();
  }

  /** Where this one listens, with its port. */
  get address(): string {
    return this.listener.address;
  }

  /** @returns undefined for one that was never heard of */
  get(uid: string): Peer | undefined {
    return this.byUid.get(uid);
  }

  /** Sends what would be sent at the end of the turn. */
  sendNow(): void {
    for (const peer of this.byUid.values()) peer.sendNow();
  }

  all(): IterableIterator<Peer> {
    return this.byUid.values();
  }

  /** A broker is alive, and has this address now. @param run names its process */
  know({ uid, run, replication: address }: KnownBroker): void {
    // Who was there before has another address now, or is gone.
    for (const peer of this.byUid.values()) if (peer.uid !== uid && peer.address === address) peer.moveTo("");
    if (uid === this.parts.hello.uid) {
      this.ownAddress = address;
      return;
    }
    // A data path that was at this broker's address before: this broker is there now.
    const reachedAt = address === this.ownAddress ? "" : address;
    const known = this.byUid.get(uid);
    if (known === undefined) this.add(uid, reachedAt).start();
    else known.moveTo(reachedAt);
    this.runs.set(uid, run);
    for (const greeting of [...this.greetings]) greeting.admit();
  }

  /** Brokers say who they are at once: the oldest one that has not is none. */
  private abortOldest(): void {
    const [oldest] = this.greetings;
    const silent = [...this.greetings].find(({ isSilent }) => isSilent);
    (silent ?? oldest).abort();
  }

  private add(uid: string, address: string): Peer {
    const peer = new Peer(this.parts, uid, address, this.events);
    this.byUid.set(uid, peer);
    return peer;
  }
}
