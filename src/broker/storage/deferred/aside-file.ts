import { join } from "node:path";
import type { Disk } from "../disk/disk.ts";
import type { FolderNames } from "../disk/folder-names.ts";
import { EntriesFile } from "./entries-file.ts";
import { ENTRY_HEADER_BYTES, type ScannedEntry } from "./entry.ts";

const NAME = "unclaimed.damaged";
const BUFFER_BYTES = 1024 * 1024;

/**
 * A file of entries that no topic and no channel gets, because the metadata store lost the rows that tell whose they are. It is
 * laid out as a bucket's file is (entry.ts), and never read.
 */
export class AsideFile {
  private readonly entries: EntriesFile;
  private parts: Buffer[] = [];
  private bytes = 0;

  /** @throws the kernel's error */
  constructor(
    disk: Disk,
    private readonly names: FolderNames,
  ) {
    const { directory } = names;
    let name = NAME;
    for (let i = 2; disk.exists(join(directory, name)); i++) name = `${NAME}-${i}`;
    this.entries = new EntriesFile(disk, names, name);
    this.entries.file.create();
    // The head is written even if no entry follows.
    this.flush();
  }

  get path(): string {
    return this.entries.file.path;
  }

  add({ page, frameAt, frameBytes }: ScannedEntry): void {
    const entry = Buffer.from(page.subarray(frameAt - ENTRY_HEADER_BYTES, frameAt + frameBytes));
    this.parts.push(entry);
    this.bytes += entry.length;
    if (this.bytes >= BUFFER_BYTES) this.flush();
  }

  flush(): void {
    this.entries.file.write(Buffer.concat(this.parts), this.bytes, this.entries.length);
    this.entries.length += this.bytes;
    this.bytes = 0;
    this.parts = [];
  }

  close(): void {
    this.entries.file.close();
  }

  get unsynced(): boolean {
    return this.entries.file.unsynced || this.entries.file.nameUnsynced;
  }

  /** Syncs the entries and the file's name. */
  sync(done: (error: Error | undefined) => void): void {
    this.entries.file.sync((error) => (error === undefined ? this.names.sync(done) : done(error)));
  }
}
