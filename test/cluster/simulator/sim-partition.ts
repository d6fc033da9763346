import type { InSyncSet } from "../../../src/cluster/replication/in-sync-set.ts";
import type { Replica } from "../../../src/cluster/replication/replica.ts";
import type { ReplicaHost, Role } from "../../../src/cluster/replication/replica-log.ts";
import type { StateKey } from "../../../src/cluster/replication/state/replica-state.ts";
import type { TopicRecord } from "../../../src/cluster/state/records.ts";
import type { SimBroker } from "./sim-broker.ts";
import { SimChannel } from "./sim-channel.ts";
import type { SimDisk } from "./sim-disk.ts";
import { SimLog } from "./sim-log.ts";
import { SimState } from "./sim-state.ts";

/** `refused`: it was not written; `unknown`: it may have been, and what was may be lost. */
export type Outcome = "ok" | "refused" | "unknown";

interface Pending {
  readonly messages: readonly number[];
  readonly end: number;
  readonly answer: (outcome: Outcome) => void;
}

/** Messages with an even number have an idempotency key. */
export function hasKey(message: number): boolean {
  return message % 2 === 0;
}

/** One partition in one run of a broker. */
export class SimPartition implements ReplicaHost {
  role: Role = { name: "out", epoch: 0 };
  readonly log: SimLog;
  readonly replica: Replica;
  private pending: Pending[] = [];
  /** Changes of the state that are not answered yet, by the numbers of the last of each. */
  private pendingState: { readonly number: number; readonly answer: () => void }[] = [];
  /** Where each publish with a key ends, while this broker leads. */
  private readonly keys = new Map<number, number>();
  /** Below this, messages may be delivered, while this broker leads. */
  highWatermark = 0;
  channel: SimChannel | undefined;

  /** @param name `TOPIC/PARTITION` */
  constructor(
    readonly broker: SimBroker,
    readonly name: string,
    readonly prefix: number,
    readonly disk: SimDisk,
  ) {
    const { node, site, dataPath } = broker;
    disk.recover();
    this.log = new SimLog(disk, node, site.world.random, dataPath.faults, () => this.replica.logGrew());
    this.replica = broker.replication.add({
      key: broker.keyOf(name),
      name,
      number: prefix,
      log: this.log,
      state: new SimState(disk.state, node, site.world.random, dataPath.faults, disk.durability),
      memory: this.log.memory,
      host: this,
    });
  }

  get topic(): TopicRecord | undefined {
    return this.broker.view.topics.get(this.name.split("/")[0])?.value;
  }

  get minInSync(): number {
    return this.topic?.minInSync ?? 1;
  }

  get durability(): "write" | "fsync" {
    return this.disk.durability;
  }

  get isOrdered(): boolean {
    return this.topic?.ordered === true;
  }

  /** Tells whether messages of an ordered partition may go to consumers. */
  get mayHandOut(): boolean {
    return this.replica.mayHandOut;
  }

  onMayHandOut(): void {
    this.channel?.pump();
  }

  /** A change of the partition's record is under way. */
  get isChanging(): boolean {
    const { leading } = this.replica;
    const inSync: InSyncSet | undefined = leading === undefined ? undefined : Reflect.get(leading, "inSync");
    return Reflect.get(this.replica, "isChanging") === true || inSync?.isChanging === true;
  }

  /** A client publishes, or tries again what has a key. */
  publish(messages: readonly number[], answer: (outcome: Outcome) => void): void {
    if (this.replica.refusal !== undefined || this.topic === undefined) return answer("refused");
    const known = this.keys.get(messages[0]);
    if (known !== undefined && this.highWatermark >= known) return answer("ok");
    // Brokers know keys for longer than a request may take, with or without the messages. Here keys go with them.
    if (known === undefined && hasKey(messages[0]) && this.broker.site.watch.isRemoved(this, messages[0])) return answer("ok");
    if (known === undefined) {
      try {
        this.log.publish(messages);
      } catch {
        return answer("refused");
      }
      if (hasKey(messages[0])) this.keys.set(messages[0], this.log.end);
    }
    this.pending.push({ messages, end: known ?? this.log.end, answer });
    this.replica.logGrew();
  }

  /** Changes the state. What comes of it, the watch hears. @returns the versions that the keys get; none if this broker does not lead */
  changeState(changes: readonly { readonly key: string; readonly value: Buffer | undefined }[], done = () => {}): StateKey[] {
    const { leading } = this.replica;
    if (leading === undefined) return [];
    const { state, epoch } = leading;
    const versions = changes.map(({ key, value }): StateKey => {
      state.change(key, value);
      return { key, epoch, number: state.number };
    });
    const answer = () => {
      this.broker.site.watch.onStateAck(this, versions);
      done();
    };
    if (state.mark >= state.number) answer();
    else this.pendingState.push({ number: state.number, answer });
    return versions;
  }

  /** More changes of the state are on all replicas that count. */
  onStateMark(): void {
    const mark = this.replica.leading?.state.mark ?? -1;
    while (this.pendingState.length > 0 && this.pendingState[0].number <= mark) this.pendingState.shift()?.answer();
  }

  /** The broker has no part in it any more. */
  close(): void {
    this.broker.replication.remove(this.prefix);
    this.endPending();
    this.pendingState = [];
    this.channel?.close();
  }

  onRole(role: Role): void {
    this.role = role;
    this.highWatermark = 0;
    this.endPending();
    this.pendingState = [];
    this.channel?.close();
    this.channel = undefined;
    this.broker.site.watch.onRole(this, role);
    if (role.name !== "leader") return;
    this.keys.clear();
    this.takeKeys();
    this.channel = new SimChannel(this);
  }

  private takeKeys(): void {
    for (const { first, end } of this.disk.publishes()) if (hasKey(first)) this.keys.set(first, end);
  }

  onHighWatermark(sequence: number): void {
    const { watch } = this.broker.site;
    this.highWatermark = sequence;
    watch.onHighWatermark(this, sequence);
    const settled = this.pending.filter(({ end }) => end <= sequence);
    if (settled.length > 0) this.pending = this.pending.filter(({ end }) => end > sequence);
    for (const { messages, end, answer } of settled) {
      watch.onAck(this, messages, end);
      answer("ok");
    }
    this.channel?.pump();
  }

  onStall(reason: string | undefined): void {
    if (reason !== undefined) this.endPending();
  }

  /** What a former leader did not acknowledge it will not. */
  private endPending(): void {
    const { pending } = this;
    this.pending = [];
    for (const { answer } of pending) answer("unknown");
  }
}
