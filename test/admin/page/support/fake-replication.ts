import type {
  ClusterBroker,
  ClusterDetail,
  ClusterMove,
  ClusterRisk,
  ReplicaAt,
  ReplicaRow,
  TopicReplication,
} from "../../../../src/admin/cluster-api.ts";

const PER_TOPIC = 4;
const REPLICAS = 3;
const MIN_IN_SYNC = 2;
const UIDS = ["1f0c", "2a77", "3be1", "4d90", "5e12"].map((digits) => digits.repeat(4));
/** The broker that is away, and the one that is being removed. */
const AWAY = 2;
const LEAVING = 4;
/** Who is away for long is known by the digits of its data path alone. */
const NAMES = ["nsq-a:4151", "nsq-b:4151", "3be13be1", "nsq-d:4151", "nsq-e:4151"];
const WAITING_MOVES = 6;

/** A replicated cluster of five brokers, one of which is away and one is being removed. */
export class FakeReplication {
  readonly rows: readonly ReplicaRow[];
  private readonly moves: readonly ClusterMove[];

  /** @param isWell nothing is wrong with it */
  constructor(
    partitions: number,
    topics: readonly string[],
    private readonly isWell = false,
  ) {
    this.moves = isWell ? [] : movesOf(topics);
    const moving = new Map(this.moves.map((move) => [move.key, move]));
    this.rows = Array.from({ length: partitions }, (_, at) => this.rowOf(topics[Math.floor(at / PER_TOPIC)] ?? `t.${at}`, at, moving));
  }

  detail(): ClusterDetail {
    const { rows, moves, isWell } = this;
    return {
      cluster: "bunsq",
      lookup: "nsq-a:4161",
      controller: "nsq-a:4161",
      topics: Math.ceil(rows.length / PER_TOPIC),
      partitions: rows.length,
      without_leader: rows.filter(({ state }) => state === "offline").length,
      under_replicated: rows.filter(({ in_sync: inSync, replica_count: count }) => inSync < count).length,
      brokers: UIDS.map((_, at) => this.brokerOf(at)),
      moves: [...moves],
      balancing: !isWell,
      risks: isWell ? [] : this.risks(),
    };
  }

  topic(name: string): TopicReplication | undefined {
    const own = this.rows.filter(({ topic }) => topic === name);
    if (own.length === 0) return undefined;
    return {
      ...{ partitions: own.length, replicas: REPLICAS, min_in_sync: MIN_IN_SYNC, change: null },
      under_replicated: own.filter(({ in_sync: inSync }) => inSync < REPLICAS).length,
      without_leader: own.filter(({ state }) => state === "offline").length,
    };
  }

  private rowOf(topic: string, at: number, moving: ReadonlyMap<string, ClusterMove>): ReplicaRow {
    const partition = at % PER_TOPIC;
    const key = `${topic}/${partition}`;
    // As many as a prime, so that partitions do not all have the same neighbours.
    const places = Array.from({ length: REPLICAS }, (_, i) => (at + i * (1 + (at % 2))) % UIDS.length);
    const isOffline = !this.isWell && at % 97 === 5;
    const away = this.isWell ? -1 : AWAY;
    const leader = isOffline ? undefined : places.find((place) => place !== away);
    const behind = !this.isWell && at % 61 === 7 ? places.findLast((place) => place !== leader && place !== away) : undefined;
    const replicas = places.map((place): ReplicaAt => {
      const role = place === away || isOffline ? "away" : place === leader ? "leader" : place === behind ? "behind" : "in_sync";
      const lag = { leader: null, in_sync: at % 5, behind: 48_211 + at, away: null }[role];
      return { uid: UIDS[place] ?? "", name: this.nameOf(place), role, lag_messages: lag };
    });
    const inSync = replicas.filter(({ role }) => role === "leader" || role === "in_sync").length;
    const move = moving.get(key);
    const lags = replicas.map(({ lag_messages: lag }) => lag).filter((lag) => lag !== null);
    const most = lags.length === 0 ? null : Math.max(...lags);
    return {
      ...{ key, topic, partition, epoch: 1 + (at % 7), replicas, replica_count: REPLICAS, in_sync: inSync, min_in_sync: MIN_IN_SYNC },
      leader: leader === undefined ? "" : this.nameOf(leader),
      state: isOffline
        ? "offline"
        : inSync < MIN_IN_SYNC
          ? "unwritable"
          : inSync < REPLICAS
            ? "under_replicated"
            : move === undefined
              ? "ok"
              : "moving",
      lag_messages: most,
      lag_bytes: most === null ? null : most * 212,
      lag_ms: most === null ? null : most < 5 ? 0 : 184_000,
      move: move === undefined ? null : { what: move.what, state: move.state, from: move.from, to: move.to },
    };
  }

  private nameOf(at: number): string {
    return at === AWAY && this.isWell ? "nsq-c:4151" : (NAMES[at] ?? "");
  }

  private brokerOf(at: number): ClusterBroker {
    const uid = UIDS[at] ?? "";
    const name = this.nameOf(at);
    const has = this.rows.flatMap(({ replicas }) => replicas.filter((replica) => replica.uid === uid));
    const isAway = at === AWAY && !this.isWell;
    const isLeaving = at === LEAVING && !this.isWell;
    return {
      ...{ uid, name, address: isAway ? "" : name, version: isAway ? "" : "0.1.0", region: "" },
      zone: isAway ? "" : `rack-${1 + (at % 3)}`,
      state: isAway ? "away" : isLeaving ? "leaving" : "alive",
      away_ms: isAway ? 754_000 : null,
      leaders: has.filter(({ role }) => role === "leader").length,
      replicas: has.length,
      in_sync: has.filter(({ role }) => role === "leader" || role === "in_sync").length,
      disk_size_bytes: isAway ? null : 960_000_000_000,
      disk_free_bytes: isAway ? null : 412_000_000_000 - at * 70_000_000_000,
      in_bytes_per_second: isAway ? 0 : 4_200_000 + at * 310_000,
      out_bytes_per_second: isAway ? 0 : 9_800_000 - at * 720_000,
      stored_bytes: isAway ? 0 : 48_000_000_000 + at * 5_100_000_000,
      removal: isLeaving ? { state: "draining", partitions: has.length + 212, left: has.length, problem: "" } : null,
    };
  }

  private risks(): ClusterRisk[] {
    const of = (wanted: ReplicaRow["state"]) => this.rows.filter(({ state }) => state === wanted).map(({ key }) => key);
    const [offline, unwritable, lacking] = [of("offline"), of("unwritable"), of("under_replicated")];
    const risk = (kind: string, severity: ClusterRisk["severity"], names: string[], text: string): ClusterRisk => ({
      ...{ kind, severity, text, for_ms: 754_000, partitions: names.slice(0, 20), partition_count: names.length },
    });
    const which = (names: string[]) => `${names.length} partitions (${names.slice(0, 5).join(", ")}, …)`;
    return [
      risk(
        "no-leader",
        "critical",
        offline,
        `${which(offline)} have no leader: all brokers that have everything are away. Nothing can be published to them or consumed from them before one of these comes back.`,
      ),
      risk(
        "not-writable",
        "critical",
        unwritable,
        `${which(unwritable)} take no publishes, as fewer than 2 replicas are in sync. Consumers get what there is.`,
      ),
      risk(
        "under-replicated",
        "warning",
        lacking,
        `${which(lacking)} have 2 of 3 replicas in sync, because broker 3be13be1 is away. Nothing is lost while the others stay.`,
      ),
      risk(
        "broker-away",
        "warning",
        [],
        "Broker 3be13be1 has been away for 13 min, and has replicas. Start it again, or have others take its place with `bunsq cluster remove-node 3be13be1`.",
      ),
    ];
  }
}

function movesOf(topics: readonly string[]): ClusterMove[] {
  const waiting = Array.from({ length: WAITING_MOVES }, (_, at): ClusterMove => {
    const topic = topics[at + 2] ?? "t";
    const names = { from: NAMES[LEAVING] ?? "", to: NAMES[at % 2] ?? "" };
    return {
      key: `${topic}/0`,
      topic,
      partition: 0,
      what: "replace",
      why: "removal",
      state: "waiting",
      ...names,
      for_ms: 41_000 + at * 1_000,
    };
  });
  const [topic = "t", other = "u"] = topics;
  return [
    {
      key: `${topic}/1`,
      topic,
      partition: 1,
      what: "replace",
      why: "removal",
      state: "copying",
      from: "nsq-e:4151",
      to: "nsq-a:4151",
      for_ms: 94_000,
    },
    {
      key: `${other}/2`,
      topic: other,
      partition: 2,
      what: "lead",
      why: "asked",
      state: "leading",
      from: "nsq-b:4151",
      to: "nsq-d:4151",
      for_ms: 120,
    },
    ...waiting,
  ];
}
