import { join } from "node:path";
import { type Disk, writeFully } from "../disk/disk.ts";
import { HEAD_BYTES, writeHead } from "../file-head.ts";
import { ENTRIES_FORMAT, ENTRY_HEADER_BYTES, type ScannedEntry } from "./entry.ts";

const NAME = "unclaimed.damaged";
const BUFFER_BYTES = 1024 * 1024;

/**
 * A file of entries that no topic and no channel gets, because the metadata store lost the rows that tell whose they are. It is
 * laid out as a bucket's file is (entry.ts), and never read.
 */
export class AsideFile {
  readonly path: string;
  private readonly fd: number;
  private length = HEAD_BYTES;
  private parts: Buffer[] = [];
  private bytes = 0;

  /** @throws the kernel's error */
  constructor(
    private readonly disk: Disk,
    directory: string,
  ) {
    let name = NAME;
    for (let i = 2; disk.exists(join(directory, name)); i++) name = `${NAME}-${i}`;
    this.path = join(directory, name);
    this.fd = disk.open(this.path, "w+");
    writeHead(disk, this.fd, ENTRIES_FORMAT);
  }

  add({ page, frameAt, frameBytes }: ScannedEntry): void {
    const entry = Buffer.from(page.subarray(frameAt - ENTRY_HEADER_BYTES, frameAt + frameBytes));
    this.parts.push(entry);
    this.bytes += entry.length;
    if (this.bytes >= BUFFER_BYTES) this.flush();
  }

  flush(): void {
    writeFully(this.disk, this.fd, Buffer.concat(this.parts), 0, this.bytes, this.length);
    this.length += this.bytes;
    this.bytes = 0;
    this.parts = [];
  }

  close(): void {
    this.disk.close(this.fd);
  }
}
