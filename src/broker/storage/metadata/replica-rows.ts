import type { Database } from "bun:sqlite";
import { REPLICAS_FORMAT, raiseFormat } from "./schema.ts";

/** What this data path remembers of a partition that other brokers have as well. */
export interface ReplicaRow {
  /** The id of the partition's row. */
  readonly topicId: number;
  /** The uid of its topic in the cluster. */
  readonly uid: string;
  /** The newest epoch that this broker led or followed. */
  readonly epoch: number;
  /** The log has all that others may rely on, but for what the last power cut or damage has taken. */
  readonly isWhole: boolean;
  /** The power was cut since it was noted that the log has that. */
  readonly wasCut?: boolean;
}

/** What `whole` says in the store. */
const LACKING = 0;
const WHOLE = 1;
const WHOLE_BEFORE_CUT = 2;

/** The power was cut, which the next start would not see. To be called as a part of a transaction. */
export function noteCut(database: Database): void {
  database.query("UPDATE replicas SET whole = ? WHERE whole = ?").run(WHOLE_BEFORE_CUT, WHOLE);
}

/**
 * The partitions of the data path that are replicas. Releases that do not know the table would take them for their own, so the first row
 * raises the format.
 */
export class ReplicaRows {
  constructor(private readonly database: Database) {}

  /** A row that is damaged says only that its partition is a replica: it is not whole, and its epoch is 0. */
  load(): ReplicaRow[] {
    const rows = this.database.query("SELECT topic_id AS topicId, uid, epoch, whole, seal FROM replicas").all() as (Omit<
      ReplicaRow,
      "isWhole"
    > & { whole: number; seal: number })[];
    return rows.map(({ topicId, uid, epoch, whole, seal }) => {
      const row = { topicId, uid, epoch, isWhole: whole !== LACKING };
      return seal === sealOf(row) ? { ...row, wasCut: whole === WHOLE_BEFORE_CUT } : { topicId, uid: "", epoch: 0, isWhole: false };
    });
  }

  /** To be called as a part of a transaction. */
  save(rows: Iterable<ReplicaRow>): void {
    const insert = this.database.query("INSERT OR REPLACE INTO replicas (topic_id, uid, epoch, whole, seal) VALUES (?, ?, ?, ?, ?)");
    raiseFormat(this.database, REPLICAS_FORMAT);
    for (const row of rows) insert.run(row.topicId, row.uid, row.epoch, row.isWhole ? WHOLE : LACKING, sealOf(row));
  }
}

function sealOf({ topicId, uid, epoch, isWhole }: ReplicaRow): number {
  return Bun.hash.crc32(JSON.stringify([topicId, uid, epoch, isWhole]));
}
