import { isValidName } from "../../frame/names.ts";
import { amount, BadValue, type Check, type Extensible, flag, matching, oneOf, optional, Shape, setOf, text, whole } from "./shape.ts";

/** No topic has more partitions, and no partition more replicas. */
const MAX_PARTITIONS = 1_024;
export const MAX_REPLICAS = 16;
const MAX_CHANNELS = 10_000;
const MAX_ADDRESS = 300;
const MAX_TAKEN = 100_000;
/** The first 24 bits of message ids; 0 is no prefix. */
export const MAX_PREFIX = 0xffffff;
const MAX_ADDITIONS = 0xffffffff;

const uid = matching(/^[0-9a-f]{16,32}$/, "a uid of 16 to 32 hex digits");
const noneOrUid: Check<string> = (value, where) => (value === "" ? "" : uid(value, where));
const address = text(MAX_ADDRESS, 0);
const name: Check<string> = (value, where) => {
  if (typeof value !== "string" || !isValidName(value)) throw new BadValue(`${where} is no valid name`);
  return value;
};

/** Whose a leased key is. */
export interface Owner {
  /** The data path of a broker: on its disk, and made with it. A lookup server has none; it takes its id's place there. */
  readonly uid: string;
  /** Random, for this run of the process. */
  readonly run: string;
}

/** How full a broker's disk is. */
export interface DiskRecord extends Extensible {
  readonly sizeBytes: number;
  readonly freeBytes: number;
}

/** What a broker has to do, as it said last. */
export interface LoadRecord extends Extensible {
  readonly inBytesPerSecond: number;
  readonly outBytesPerSecond: number;
  readonly storedBytes: number;
}

/** `brokers/ID`, leased: a broker that is alive. Addresses are `host:port`, or empty if it does not listen there. */
export interface BrokerRecord extends Owner, Extensible {
  readonly tcp: string;
  readonly http: string;
  readonly replication: string;
  readonly region: string;
  readonly zone: string;
  readonly version: string;
  readonly disk: DiskRecord;
  readonly load: LoadRecord;
}

/** `lookups/ID`, leased: a lookup server that is alive. */
export interface LookupRecord extends Owner, Extensible {
  readonly tcp: string;
  readonly http: string;
  readonly version: string;
}

/** `controller`, leased: the lookup server that moves and balances. */
export interface ControllerRecord extends Extensible {
  readonly lookup: string;
  readonly run: string;
}

/** `topics/T`: what a topic is to be. */
export interface TopicRecord extends Extensible {
  /** Drawn when the topic is made. One of the same name that is made later has another. */
  readonly uid: string;
  readonly partitions: number;
  readonly replicas: number;
  readonly minInSync: number;
  readonly ordered: boolean;
  readonly durability: "write" | "fsync";
  /** How long finished messages are kept, ms, and how many bytes of them; 0: they are not kept. */
  readonly retentionMs: number;
  readonly retentionBytes: number;
  readonly channels: readonly string[];
  readonly paused: boolean;
  /** As the settings of a broker's topic; undefined: as by default. */
  readonly multiPart?: boolean | undefined;
  readonly extended?: boolean | undefined;
  readonly fixedChannels?: boolean | undefined;
  readonly channelOrder?: "none" | "key" | "partition" | undefined;
  /**
   * Keys are spread over the first this many partitions: those that the topic was made with, so that expanding it leaves each key where it
   * is, and in order. Undefined: over all.
   */
  readonly keyPartitions?: number | undefined;
  /** A change that takes several transactions is under way. Whoever sees it may finish it. */
  readonly change?: TopicChange | undefined;
}

/**
 * - `create`: the topic cannot be used yet; its partitions are being made
 * - `expand`: partitions beyond `TopicRecord.partitions` are being made
 * - `delete`: its partitions are being removed, then the topic
 */
export interface TopicChange extends Extensible {
  readonly kind: "create" | "expand" | "delete";
  /** How many the topic is to have. */
  readonly partitions: number;
  /** What the first of the new partitions gets; those after it get the numbers that follow. */
  readonly firstPrefix: number;
}

/** `partitions/T/P`: who has a partition. It changes by transactions on its revision only. */
export interface PartitionRecord extends Extensible {
  /** The topic's. */
  readonly uid: string;
  /** The 24 bits that the ids of its messages begin with. */
  readonly prefix: number;
  /** The data paths that are to have it, the preferred leader first. */
  readonly replicas: readonly string[];
  /** The data path that leads; "": none does. */
  readonly leader: string;
  /** Grows with each change of leader; 0: it has had none. */
  readonly epoch: number;
  /** Those of the replicas that have all that was acknowledged. */
  readonly inSync: readonly string[];
  /** The replica that the leader is to hand over to, once that one has everything. */
  readonly successor?: string | undefined;
  /**
   * How often a replica was added, 0 if undefined. One that was removed and added again may not have heard of its removal yet, and is about to
   * drop what it has: it may join the in-sync set once it knows of the newest addition.
   */
  readonly additions?: number | undefined;
}

/** `prefixes`: which prefixes partitions have got. */
export interface PrefixesRecord extends Extensible {
  /** The next one that is given. All below it were. */
  readonly next: number;
  /** Others that are not given: partitions had them before they became the cluster's. */
  readonly taken: readonly number[];
}

/** `moves/PREFIX`, by the partition's prefix: a change of a partition's replicas. */
export interface MoveRecord extends Extensible {
  /**
   * - `waiting`: for its brokers to have no other move that copies
   * - `copying`: for `to` to be in sync
   * - `leading`: for the leader to hand over
   */
  readonly state: "waiting" | "copying" | "leading";
  /** `replace`: `to` in the place of `from`; `add`: `to`; `drop`: `from`; `lead`: `to` is to lead. What is not used is "". */
  readonly what: "replace" | "add" | "drop" | "lead";
  readonly why: "asked" | "balance" | "removal" | "replicas";
  readonly topic: string;
  readonly partition: number;
  /** The topic's. */
  readonly uid: string;
  readonly from: string;
  readonly to: string;
  /** How many replicas were in sync before it began. */
  readonly inSync: number;
}

/** `removals/UID`, by the data path uid: a broker that is to have no partitions any more. */
export interface RemovalRecord extends Extensible {
  readonly state: "draining" | "drained";
  /** How many partitions it had when it began, and has. */
  readonly partitions: number;
  readonly left: number;
  /** What holds it up; "": nothing. */
  readonly problem: string;
  /** Nobody asked for it: its broker came back with this data path in its place. Undefined: somebody did. */
  readonly replacedBy?: string | undefined;
}

/**
 * `deleted/UID`, by the uid of a topic: it was deleted. Brokers that were away drop what they have of it. A topic that etcd does not have
 * and that is not named here may have been lost with etcd, and stays on their disks.
 */
export interface DeletedRecord extends Extensible {
  readonly topic: string;
}

/** `requests/balance`: an operator wants leaders and replicas spread evenly now. The controller removes it when nothing is left to move. */
export interface RequestRecord extends Extensible {
  readonly what: "balance";
}

const disk = new Shape<DiskRecord>({ sizeBytes: whole(0), freeBytes: whole(0) });
const load = new Shape<LoadRecord>({ inBytesPerSecond: amount, outBytesPerSecond: amount, storedBytes: amount });
const run = text(64);
const change = new Shape<TopicChange>({
  kind: oneOf("create", "expand", "delete"),
  partitions: whole(1, MAX_PARTITIONS),
  firstPrefix: whole(0, MAX_PREFIX),
});

/** The shape of each kind of key below `/bunsq/NAME/`. */
export const SHAPES = {
  brokers: new Shape<BrokerRecord>({
    uid,
    run,
    tcp: address,
    http: address,
    replication: address,
    region: optional(text(MAX_ADDRESS, 0), ""),
    zone: optional(text(MAX_ADDRESS, 0), ""),
    version: text(100),
    disk: optional(disk.check, { sizeBytes: 0, freeBytes: 0 }),
    load: optional(load.check, { inBytesPerSecond: 0, outBytesPerSecond: 0, storedBytes: 0 }),
  }),
  lookups: new Shape<LookupRecord>({ uid: text(100), run, tcp: address, http: address, version: text(100) }),
  controller: new Shape<ControllerRecord>({ lookup: text(100), run }),
  topics: new Shape<TopicRecord>(
    {
      uid,
      partitions: whole(1, MAX_PARTITIONS),
      replicas: whole(1, MAX_REPLICAS),
      minInSync: whole(1, MAX_REPLICAS),
      ordered: optional(flag, false),
      durability: optional(oneOf("write", "fsync"), "write"),
      retentionMs: optional(whole(0), 0),
      retentionBytes: optional(whole(0), 0),
      channels: optional(setOf(name, MAX_CHANNELS), []),
      paused: optional(flag, false),
      multiPart: optional<boolean | undefined>(flag, undefined),
      extended: optional<boolean | undefined>(flag, undefined),
      fixedChannels: optional<boolean | undefined>(flag, undefined),
      channelOrder: optional<TopicRecord["channelOrder"]>(oneOf("none", "key", "partition"), undefined),
      keyPartitions: optional<number | undefined>(whole(1, MAX_PARTITIONS), undefined),
      change: optional<TopicChange | undefined>(change.check, undefined),
    },
    ({ replicas, minInSync }) => (minInSync > replicas ? "minInSync is more than replicas" : undefined),
  ),
  partitions: new Shape<PartitionRecord>(
    {
      uid,
      prefix: whole(1, MAX_PREFIX),
      replicas: setOf(uid, MAX_REPLICAS, 1),
      leader: noneOrUid,
      epoch: whole(0),
      inSync: setOf(uid, MAX_REPLICAS),
      successor: optional<string | undefined>(uid, undefined),
      additions: optional<number | undefined>(whole(0, MAX_ADDITIONS), undefined),
    },
    ({ replicas, leader, inSync }) => {
      if (inSync.some((one) => !replicas.includes(one))) return "inSync has one that is no replica";
      if (leader !== "" && !inSync.includes(leader)) return "the leader is not in inSync";
      return undefined;
    },
  ),
  moves: new Shape<MoveRecord>({
    state: oneOf("waiting", "copying", "leading"),
    what: oneOf("replace", "add", "drop", "lead"),
    why: oneOf("asked", "balance", "removal", "replicas"),
    topic: name,
    partition: whole(0, MAX_PARTITIONS - 1),
    uid,
    from: noneOrUid,
    to: noneOrUid,
    inSync: whole(0, MAX_REPLICAS),
  }),
  removals: new Shape<RemovalRecord>({
    state: oneOf("draining", "drained"),
    partitions: whole(0),
    left: whole(0),
    problem: optional(text(300, 0), ""),
    replacedBy: optional(uid, undefined),
  }),
  deleted: new Shape<DeletedRecord>({ topic: name }),
  requests: new Shape<RequestRecord>({ what: oneOf("balance") }),
} as const;

export const PREFIXES_SHAPE = new Shape<PrefixesRecord>({
  next: whole(1, MAX_PREFIX + 1),
  taken: optional<readonly number[]>(setOf(whole(1, MAX_PREFIX), MAX_TAKEN), []),
});

export type Kind = keyof typeof SHAPES;

/** The record of each kind of key. */
export interface Records {
  readonly brokers: BrokerRecord;
  readonly lookups: LookupRecord;
  readonly controller: ControllerRecord;
  readonly topics: TopicRecord;
  readonly partitions: PartitionRecord;
  readonly moves: MoveRecord;
  readonly removals: RemovalRecord;
  readonly deleted: DeletedRecord;
  readonly requests: RequestRecord;
}
