/** Tells which writes a sync covers: what was written before it began is on the disk once it has succeeded. */
export class SyncEpochs {
  private begun = 0;
  private succeeded = 0;
  private lastWrite = -1;
  private lastUrgentWrite = -1;

  /** Something was written, or is to be done after the next sync. @returns its epoch, for isCovered() */
  noteWrite(): number {
    this.lastWrite = this.begun;
    return this.begun;
  }

  /** Something was written, and others wait for the next sync. */
  noteUrgentWrite(): void {
    this.lastUrgentWrite = this.noteWrite();
  }

  /** No sync has begun since the last write. */
  get needsSync(): boolean {
    return this.lastWrite === this.begun;
  }

  /** No sync has begun since the last urgent write. */
  get needsSyncNow(): boolean {
    return this.lastUrgentWrite === this.begun;
  }

  /** Whether a sync that began after a write has succeeded. */
  isCovered(epoch: number): boolean {
    return this.succeeded > epoch;
  }

  begin(): void {
    this.begun++;
  }

  /** The sync that began last has ended. One that failed has covered nothing. */
  end(succeeded: boolean): void {
    if (succeeded) this.succeeded = this.begun;
    else this.noteWrite();
  }
}
