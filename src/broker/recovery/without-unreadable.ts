import { basename, dirname, join } from "node:path";
import type { Logger } from "../../base/logger.ts";
import type { Disk } from "../storage/disk/disk.ts";
import { setAside } from "../storage/disk/set-aside.ts";
import { UnreadableFile } from "../storage/disk/unreadable-file.ts";

/** These say that the process or the machine is short of something, and nothing of the file. */
const SHORTAGES = new Set(["EMFILE", "ENFILE", "ENOMEM", "EAGAIN", "EINTR", "ENOENT"]);
/** The most files that are set aside for one piece of work. */
const MOST_FILES = 1000;
const TOPIC_FOLDER = /^\d{5}-/;
/** The folders that a broker has always. */
const FOLDERS = new Set(["topics", "deferred", "keys"]);

/** --start-without-unreadable: at the start, files that cannot be read are set aside, so that the rest starts without them. */
export class WithoutUnreadable {
  constructor(
    private enabled: boolean,
    private readonly disk: Disk,
    private readonly logger: Logger,
  ) {}

  /** The start is over: from here on everything waits until it can be read. */
  end(): void {
    this.enabled = false;
  }

  /** Whether an error is about a file that would be set aside. */
  applies(error: unknown): error is UnreadableFile {
    return this.enabled && error instanceof UnreadableFile && !SHORTAGES.has(error.code);
  }

  /** Does work that reads files. Each one that cannot be read is set aside, and the work is done again. @throws what the work threw last */
  run<T>(work: () => T): T {
    for (let files = 0; ; files++) {
      try {
        return work();
      } catch (error) {
        if (!this.applies(error) || files === MOST_FILES) throw error;
        this.setAside(error);
      }
    }
  }

  /** run() for work in steps. After a file was set aside, it begins again. @throws what the work threw last */
  *steps<T>(work: () => Generator<void, T>): Generator<void, T> {
    for (let files = 0; ; files++) {
      try {
        return yield* work();
      } catch (error) {
        if (!this.applies(error) || files === MOST_FILES) throw error;
        this.setAside(error);
      }
    }
  }

  private setAside({ path, message }: UnreadableFile): void {
    this.logger.error(`${message}; starting without it, it is kept as ${this.rename(path)}`);
    // Records of a bucket's status mean nothing without its entries. Recovery would remove them.
    const status = path.replace(/\.msg$/, ".done");
    if (status !== path && this.disk.exists(status)) this.logger.error(`with it ${status} is kept as ${this.rename(status)}`);
  }

  private rename(path: string): string {
    if (!TOPIC_FOLDER.test(basename(path))) {
      const aside = setAside(this.disk, path);
      if (FOLDERS.has(basename(path))) {
        this.disk.makeDirectory(path);
        // Syncs of the files in it cover their names in it, but not its own.
        this.disk.syncDirectoryNow(dirname(path));
      }
      return aside;
    }
    // With another ending it would be the folder of another topic.
    const aside = join(dirname(path), `damaged-${basename(path)}`);
    this.disk.rename(path, aside);
    return aside;
  }
}
