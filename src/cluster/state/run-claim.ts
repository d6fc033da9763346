import type { Clock, Timer } from "../../base/clock.ts";
import type { Etcd } from "../etcd/etcd.ts";
import { EtcdError } from "../etcd/etcd-error.ts";
import { type Extensible, optional, Shape, setOf, text, whole } from "./shape.ts";

/** How long to wait before the claim is tried again. */
const AGAIN_MS = 200;
/** As many runs are remembered that etcd may not have. */
const MOST_BEGUN = 10;

/** `runs/UID`, by the data path uid, and on the disk: a run of a broker on that data path. */
export interface RunRecord extends Extensible {
  /** How many runs there were, this one included. */
  readonly number: number;
  /** Random, for this run of the process. */
  readonly run: string;
}

/** What a data path remembers of its runs. */
export interface RunNote extends Extensible {
  /** The last one that etcd was seen to have; undefined: it had none. */
  readonly last?: RunRecord | undefined;
  /** The runs that began since then, the newest last: what they have sent to etcd may still come. */
  readonly begun: readonly string[];
}

/** Where a data path remembers its runs. */
export interface RunNotes {
  /** Undefined: there is none that can be read. */
  read(): RunNote | undefined;
  /** It is on the disk when this returns. @throws the kernel's error */
  save(note: RunNote): void;
}

const run = text(64);
export const RUN_SHAPE = new Shape<RunRecord>({ number: whole(1), run });
export const RUN_NOTE_SHAPE = new Shape<RunNote>({
  last: optional<RunRecord | undefined>(RUN_SHAPE.check, undefined),
  begun: setOf(run, MOST_BEGUN),
});

export interface RunClaimEvents {
  /**
   * The data path is an older copy of itself. Its run is noted when what this returns resolves: what is to be remembered of that is to be on
   * the disk then, and no other process is to use another copy. It may reject.
   */
  onCopy(): Promise<void>;
  onTrouble(error: Error): void;
}

/**
 * Tells a data path from an older copy of it, such as a snapshot that was restored, or files that were copied to another machine: its uid
 * says that it has what this replica acknowledged, and it may lack that. Each run is noted on the disk, and then in etcd, before anything of
 * the cluster is read. If etcd has a run that this disk does not know, that run was on another copy, or is newer than this one.
 *
 * What a copy lacks that was taken in the same run that was the last one is not found out by this.
 */
export class RunClaim {
  private isClosed = false;
  private timer: Timer | undefined;
  /** Its replicas are not to be trusted. */
  private isCopy = false;

  /** @param key of the data path's runs in etcd @param run names this run of the process */
  constructor(
    private readonly etcd: Etcd,
    private readonly clock: Clock,
    private readonly key: string,
    private readonly notes: RunNotes,
    private readonly run: string,
    private readonly events: RunClaimEvents,
  ) {}

  /** Has this run noted, however often that takes. @returns whether the data path is an older copy; undefined: it was closed before */
  async claim(): Promise<boolean | undefined> {
    while (!this.isClosed) {
      if (await this.attempt()) return this.isClosed ? undefined : this.isCopy;
      if (!this.isClosed) await this.pause();
    }
    return undefined;
  }

  close(): void {
    this.isClosed = true;
    if (this.timer !== undefined) this.clock.cancel(this.timer);
  }

  /** @returns whether etcd has this run */
  private async attempt(): Promise<boolean> {
    const read = await this.etcd.get(this.key);
    if (this.isClosed) return false;
    if (read instanceof EtcdError) return this.failed(read);
    const { entry } = read;
    const value = entry === undefined ? undefined : RUN_SHAPE.read(entry.value);
    const last = value instanceof Error ? undefined : value;
    if (last?.run === this.run) return true;
    const next = { number: (last?.number ?? 0) + 1, run: this.run };
    try {
      if (value instanceof Error || !this.isOurs(last)) await this.found();
      if (this.isClosed) return false;
      this.notes.save({ last, begun: this.begunSince(last) });
    } catch (error) {
      return this.failed(error as Error);
    }
    const put = { put: this.key, value: RUN_SHAPE.write(next) };
    const result = await this.etcd.txn([{ key: this.key, modRevision: entry?.modRevision ?? 0 }], [put]);
    if (result instanceof EtcdError) return this.failed(result);
    // Another process has the same uid, and was quicker.
    return result.succeeded;
  }

  /** Whether the last run that etcd knows is one of this disk. */
  private isOurs(last: RunRecord | undefined): boolean {
    // Etcd had it never, or has lost everything.
    if (last === undefined) return true;
    const known = this.notes.read();
    if (known === undefined) return false;
    if (last.run === known.last?.run || known.begun.includes(last.run)) return true;
    // Etcd itself was set back: that says nothing about this disk.
    return known.last !== undefined && last.number < known.last.number;
  }

  /** This run, and those before it that etcd may still hear of. */
  private begunSince(last: RunRecord | undefined): string[] {
    const known = this.notes.read();
    const before = known === undefined || known.last?.run !== last?.run ? [] : known.begun.filter((run) => run !== this.run);
    return [...before, this.run].slice(-MOST_BEGUN);
  }

  private async found(): Promise<void> {
    if (this.isCopy) return;
    await this.events.onCopy();
    this.isCopy = true;
  }

  private failed(error: Error): false {
    this.events.onTrouble(error);
    return false;
  }

  private pause(): Promise<void> {
    return new Promise((resolve) => {
      this.timer = this.clock.callAfter(AGAIN_MS, resolve);
    });
  }
}
