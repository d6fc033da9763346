import type { GroupCommit } from "../acks/group-commit.ts";
import { type PendingPublish, PublishError, type Replicated } from "../acks/pending-publish.ts";
import type { KeyStore } from "../storage/idempotency/key-store.ts";
import type { SequencedKey } from "../storage/idempotency/unreplicated-keys.ts";
import type { MetadataStore } from "../storage/metadata/metadata-store.ts";
import type { PartitionState } from "./partition-state.ts";
import type { TopicPartition } from "./topic-partition.ts";
import type { Turn } from "./turn.ts";

const NOT_LED = new PublishError("this broker does not lead the partition");

/** What a replicated partition works with. */
export interface ReplicatedPartitionParts {
  readonly turn: Turn;
  readonly acks: Pick<GroupCommit, "replicasRefuse" | "requestSync">;
  readonly keys: Pick<KeyStore<PendingPublish>, "keysBetween" | "take" | "voidFrom">;
  readonly metadata: Pick<MetadataStore, "changeAll" | "saveSynced">;
}

/**
 * What a partition that other brokers have as well does differently: it releases no message that not all replicas have that count, and its
 * publishes are acknowledged then. With fsync, replicas have what is on their disks; this broker is one of them. Who leads and which
 * replicas count is decided elsewhere.
 */
export class ReplicatedPartition implements Replicated {
  /** Why publishes are refused that are not on the replicas. */
  replicaFailure: Error | undefined;
  /** This broker leads it: its channels are here. */
  leads = true;
  /** Why it takes no publish now, though this broker leads it; undefined: it does. */
  refusal: () => Error | undefined = () => undefined;
  /** Another broker is about to lead it: publishes wait for that one. */
  isHandedOver: () => boolean = () => false;
  /** While another broker leads it: the first sequence that channels may still need. */
  keptFrom: () => number = () => this.partition.log.startSequence;
  /** No other broker delivers its messages now: the one that led it before, which may not know that it does no more, surely does not. */
  mayDeliverInOrder: () => boolean = () => true;
  /** While this broker leads it: what other brokers get beside its messages. */
  state: PartitionState | undefined;
  /** Called when its log has more, in its file or on the disk. */
  onGrew: () => void = () => {};

  constructor(
    private readonly partition: TopicPartition,
    private readonly parts: ReplicatedPartitionParts,
  ) {}

  /** Sequence after the last committed message. */
  get committedNext(): number {
    return this.partition.log.committedNext;
  }

  /** Messages below this sequence are on all replicas that count. */
  get releasable(): number {
    return this.partition.releasable;
  }

  /** It takes publishes, and its messages are delivered. */
  get isServing(): boolean {
    return this.leads && !this.isHandedOver();
  }

  /** Why nothing may be published to it now. */
  get publishRefusal(): Error | undefined {
    return this.leads ? this.refusal() : NOT_LED;
  }

  /** What was published is committed. With fsync it counts once it is on the disk. */
  committed(): void {
    if (this.partition.fsync) this.requestSync();
    this.onGrew();
  }

  /** The log has more of the leader's. */
  appended(): void {
    if (this.partition.fsync) this.requestSync();
    this.partition.markTrimmable();
  }

  /** All replicas that count have the messages below a sequence. It may be lower than before: a new leader may know of less. */
  release(sequence: number): void {
    this.partition.releasable = Math.max(sequence, this.partition.released);
    this.partition.releaseToChannels();
    this.state?.released();
    this.parts.turn.schedule();
  }

  /** Has what is committed synced: replicas have what is on their disks. */
  requestSync(): void {
    this.parts.turn.queueSync(this.partition);
    this.parts.acks.requestSync();
  }

  /** Another broker leads: refuses all that waits, and the publishes that are not committed yet, until accept(). See refusePublishes(). */
  refuse(failure: Error): void {
    this.refusePublishes(failure);
    this.state?.end(failure);
  }

  /** Refuses the publishes that wait, and those that are not committed yet, until accept(). They may be in the log, and on some replicas. */
  refusePublishes(failure: Error): void {
    this.replicaFailure = failure;
    this.parts.acks.replicasRefuse(this, failure);
    if (this.state !== undefined) this.parts.acks.replicasRefuse(this.state, failure);
    this.parts.turn.schedule();
  }

  /** Publishes are acknowledged again when the replicas have them. */
  accept(): void {
    this.replicaFailure = undefined;
  }

  /** The idempotency keys of messages with sequences in [from, to). */
  keysBetween(from: number, to: number): readonly SequencedKey[] {
    return this.parts.keys.keysBetween(this.partition.id, from, to);
  }

  /** Takes the idempotency keys of messages that the leader sent, before they are appended. */
  takeKeys(keys: readonly SequencedKey[]): void {
    this.parts.keys.take(this.partition, keys, this.parts.turn.agingMs);
  }

  /** The messages from a sequence on could not be appended: their idempotency keys do not count. */
  dropKeys(sequence: number): void {
    this.parts.keys.voidFrom(this.partition.id, sequence, this.parts.turn.agingMs);
  }

  /**
   * Removes the messages from a sequence on, with the idempotency keys that were given with them: a new leader does not have them. No
   * channel that is here has been given any. A leader that was the last one in sync may have lost what this broker has released before.
   *
   * @throws RangeError for a sequence below those that were released to channels that are here, or that the log does not reach; Error while
   *   publishes to it are accepted; what disk and metadata store throw: a later call goes on
   */
  truncateTo(sequence: number): void {
    const { partition, parts } = this;
    const { log, id } = partition;
    if (this.replicaFailure === undefined) throw new Error(`${partition.name} accepts publishes`);
    const given = partition.channels.size === 0 ? 0 : partition.released;
    if (sequence < Math.max(given, log.startSequence) || sequence > log.committedNext)
      throw new RangeError(`cannot truncate ${partition.name}, which is released up to ${partition.released}, to ${sequence}`);
    // A start that finds a higher one than the log reaches takes the messages between for lost, and skips their sequences.
    if ((log.files?.syncs.savedSequence ?? 0) > sequence) parts.metadata.changeAll(() => parts.metadata.saveSynced(id, sequence), true);
    // Before the messages go: a key must not outlive its message.
    parts.keys.voidFrom(id, sequence, parts.turn.agingMs);
    log.truncateTo(sequence);
    // Other messages will have these sequences.
    if (partition.released > sequence) partition.goesOnAt(sequence);
    partition.releasable = Math.min(partition.releasable, sequence);
    log.files?.syncs.onSaved(sequence);
    for (const channel of partition.channels.values()) channel.backlog.unskipFrom(sequence);
    partition.deferredPublishes.onTruncated(sequence);
  }

  /**
   * Removes all messages, and goes on at a sequence: what a new leader has begins there. There must be no channels.
   *
   * @throws as truncateTo()
   */
  restartAt(sequence: number, position: number): void {
    const { partition, parts } = this;
    const { log, id } = partition;
    if (this.replicaFailure === undefined || partition.channels.size > 0) throw new Error(`${partition.name} is in use`);
    const { startSequence: start } = log;
    if ((log.files?.syncs.savedSequence ?? 0) > Math.min(start, sequence))
      parts.metadata.changeAll(() => parts.metadata.saveSynced(id, Math.min(start, sequence)), true);
    parts.keys.voidFrom(id, start, parts.turn.agingMs);
    partition.deferredPublishes.onTruncated(start);
    log.restartAt(sequence, position);
    log.files?.syncs.onSaved(Math.min(start, sequence));
    partition.goesOnAt(sequence);
  }
}
