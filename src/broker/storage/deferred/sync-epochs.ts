/** Which sync covers what: what was written before one began is on the disk once that has ended well. */
export class SyncRounds {
  private begun = 0;
  private endedWell = 0;
  private notedAt = -1;
  private urgentAt = -1;

  /** Something was written, or is to be done after the next sync. @returns what covered() takes */
  note(): number {
    this.notedAt = this.begun;
    return this.begun;
  }

  /** Others wait for the next sync. */
  noteUrgent(): void {
    this.urgentAt = this.note();
  }

  /** No sync has begun since the last note. */
  get awaited(): boolean {
    return this.notedAt === this.begun;
  }

  get urgent(): boolean {
    return this.urgentAt === this.begun;
  }

  /** Whether a sync that began after the note has ended well. */
  covered(noted: number): boolean {
    return this.endedWell > noted;
  }

  begin(): void {
    this.begun++;
  }

  /** The sync that began last has ended. One that failed has covered nothing. */
  end(well: boolean): void {
    if (well) this.endedWell = this.begun;
    else this.note();
  }
}
