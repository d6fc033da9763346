import { join } from "node:path";
import type { Disk } from "../broker/storage/disk/disk.ts";
import { readSmallFile, replaceSmallFile } from "./small-file.ts";
import { RUN_NOTE_SHAPE, type RunNote, type RunNotes } from "./state/run-claim.ts";

/** In the broker's folder: `{"last":{"number":…,"run":"…"},"begun":["…"]}` and a line end. */
const FILE = "data-path-runs";

/** What a data path remembers of its runs in the cluster, in a file. One that is damaged is none: the data path is not trusted then. */
export class RunFile implements RunNotes {
  private readonly path: string;

  /** @param directory the broker's folder in the data path */
  constructor(
    private readonly disk: Disk,
    private readonly directory: string,
  ) {
    this.path = join(directory, FILE);
  }

  read(): RunNote | undefined {
    const content = readSmallFile(this.disk, this.path);
    const note = content === undefined ? undefined : RUN_NOTE_SHAPE.read(content);
    return note instanceof Error ? undefined : note;
  }

  save(note: RunNote): void {
    replaceSmallFile(this.disk, this.path, `${RUN_NOTE_SHAPE.write(note)}\n`);
    this.disk.syncDirectoryNow(this.directory);
  }
}
