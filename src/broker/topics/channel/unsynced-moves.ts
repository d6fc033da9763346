/** What sees to it that moves are synced. */
export interface MovesKeeper {
  /** Has the moves told of syncs, until all of them are covered by one. */
  addMoves(moves: UnsyncedMoves): void;
}

/** The channel that moves belong to. */
export interface MovesOf {
  readonly id: number;
  /** It has a row in the metadata store. */
  readonly persistent: boolean;
}

/**
 * Messages that left a channel's window or backlog for entries of the deferred store that no sync has covered yet. They count as
 * done in the channel's progress. A power cut may take their entries, so until a sync has covered these the log keeps the messages,
 * and the metadata store what the channel's progress was before.
 */
export class UnsyncedMoves {
  /** The log keeps messages from this sequence on; Infinity: no entry waits for a sync. */
  keptFrom = Number.POSITIVE_INFINITY;
  /** A message was moved since the last sync began. */
  private movedSinceSync = false;
  /** Since the last sync began, the channel was moved or emptied: what its row said then holds no more. */
  restarted = false;
  /** The channel's floor when that sync began. */
  private floorAtSync = 0;

  constructor(
    readonly channel: MovesOf,
    private readonly window: { readonly floor: number },
    private readonly keeper: MovesKeeper,
    /** Called when the log need not keep messages any more. */
    private readonly freed: () => void,
  ) {}

  get any(): boolean {
    return this.keptFrom !== Number.POSITIVE_INFINITY;
  }

  /** A message is about to leave. @param keptFrom no message that left has a lower sequence */
  note(keptFrom = this.window.floor): void {
    if (!this.channel.persistent) return;
    if (!this.any) this.keeper.addMoves(this);
    this.keptFrom = Math.min(this.keptFrom, keptFrom);
    this.movedSinceSync = true;
  }

  /** The channel discards all that left it. */
  restart(): void {
    this.restarted = true;
    this.keptFrom = Number.POSITIVE_INFINITY;
    this.movedSinceSync = false;
    this.floorAtSync = 0;
  }

  syncBegins(): void {
    this.restarted = false;
    this.movedSinceSync = false;
    this.floorAtSync = this.window.floor;
  }

  /** @param succeeded the sync has covered all entries that were there when it began */
  syncEnded(succeeded: boolean): void {
    if (!this.any) return;
    if (!succeeded) {
      this.movedSinceSync = true;
      return;
    }
    this.keptFrom = this.movedSinceSync ? this.floorAtSync : Number.POSITIVE_INFINITY;
    this.freed();
  }
}
