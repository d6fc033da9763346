import type { Logger } from "../../base/logger.ts";
import { shortUid } from "../data-path-uid.ts";
import type { ReplicationCounts } from "./replica-status.ts";

/** How many partitions a line names. */
const NAMED = 5;

/** Counts and says which replicas leave and join the in-sync sets that this broker leads: a line for each broker, however many partitions it has. */
export class InSyncLog {
  private readonly left = new Map<string, string[]>();
  private readonly joined = new Map<string, string[]>();

  constructor(
    private readonly logger: Logger,
    private readonly counts: Pick<ReplicationCounts, "inSyncLeft" | "inSyncJoined">,
  ) {}

  /** @param name of the partition, `TOPIC/PARTITION` */
  changed(name: string, before: readonly string[], after: readonly string[]): void {
    const left = before.filter((uid) => !after.includes(uid));
    const joined = after.filter((uid) => !before.includes(uid));
    for (const uid of left) note(this.left, uid, name);
    for (const uid of joined) note(this.joined, uid, name);
    this.counts.inSyncLeft += left.length;
    this.counts.inSyncJoined += joined.length;
  }

  /** Logs what has changed since the last call. To be called about once a second. */
  flush(): void {
    for (const [uid, names] of this.left) this.logger.warn(`REPLICA(${shortUid(uid)}): out of sync in ${list(names)}`);
    for (const [uid, names] of this.joined) this.logger.info(`REPLICA(${shortUid(uid)}): in sync in ${list(names)}`);
    this.left.clear();
    this.joined.clear();
  }
}

function note(map: Map<string, string[]>, uid: string, name: string): void {
  const names = map.get(uid);
  if (names === undefined) map.set(uid, [name]);
  else names.push(name);
}

function list(names: readonly string[]): string {
  const more = names.length - NAMED;
  return `${names.slice(0, NAMED).join(", ")}${more > 0 ? ` and ${more} more partitions` : ""}`;
}
