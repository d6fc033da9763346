import { systemClock } from "../../src/base/clock.ts";
import { type Disk, systemDisk } from "../../src/broker/storage/disk/disk.ts";
import { ChunkPool } from "../../src/broker/storage/log/chunk.ts";
import { LogFiles, type LogFilesOptions } from "../../src/broker/storage/log/log-files.ts";
import { Recycler } from "../../src/broker/storage/log/recycler.ts";
import { TopicLog } from "../../src/broker/storage/log/topic-log.ts";
import { idPrefix } from "../../src/frame/id.ts";
import { bodyOf } from "./headed-message.ts";
import { MemoryLogger, removeFolder, temporaryFolder } from "./in-process.ts";

export const TOPIC_NUMBER = 3;
export const TIME = { high: 1, low: 2 };
const COMMITTED_MS = 1000;

/** The machine's disk, which refuses writes to files whose name ends with `full`, as a full disk does. */
export class FillingDisk {
  /** Empty: no write is refused. */
  full = "";
  private readonly paths = new Map<number, string>();
  readonly disk: Disk = {
    ...systemDisk,
    open: (path, flags) => {
      const fd = systemDisk.open(path, flags);
      this.paths.set(fd, path);
      return fd;
    },
    write: (fd, buffer, from, length, position) => {
      if (this.full !== "" && this.paths.get(fd)?.endsWith(this.full))
        throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
      return systemDisk.write(fd, buffer, from, length, position);
    },
  };
}

/** A topic's log in a folder of its own, opened as a broker opens it. */
export class LogFixture implements Disposable {
  readonly folder = temporaryFolder();
  readonly directory = `${this.folder}/topic`;
  readonly logger = new MemoryLogger();
  corrupt = 0;
  pool!: ChunkPool;
  files!: LogFiles;
  log!: TopicLog;
  recycler!: Recycler;

  constructor(
    private readonly options: Partial<LogFilesOptions> & { budgetBytes?: number; recycledBytes?: number; firstSequence?: number } = {},
  ) {
    this.open();
  }

  open(changes: Partial<LogFilesOptions> = {}): void {
    const { budgetBytes = 8 * 1024 * 1024, recycledBytes = 64 * 1024 * 1024, firstSequence = 0, ...options } = this.options;
    this.pool = new ChunkPool(budgetBytes);
    this.recycler = new Recycler(options.disk ?? systemDisk, `${this.folder}/recycled`, recycledBytes);
    this.files = new LogFiles(
      {
        disk: systemDisk,
        directory: this.directory,
        topicId: TOPIC_NUMBER,
        topicNumber: TOPIC_NUMBER,
        topicName: "t",
        maxBytesPerFile: 1024 * 1024,
        syncEvery: Number.POSITIVE_INFINITY,
        recycler: this.recycler,
        logger: this.logger,
        onCorrupt: () => this.corrupt++,
        ...options,
        ...changes,
      },
      firstSequence,
    );
    this.log = new TopicLog(this.pool, systemClock, idPrefix(1, TOPIC_NUMBER), this.files, firstSequence);
  }

  async reopen(): Promise<void> {
    await this.files.close();
    this.open();
  }

  /** Appends messages and commits them together. */
  commit(...bodies: (string | Uint8Array)[]): void {
    for (const body of bodies) {
      const bytes = typeof body === "string" ? Buffer.from(body) : body;
      this.log.append(bytes, 0, bytes.length, TIME);
    }
    this.log.commit(COMMITTED_MS);
  }

  /** Trims the log as if every channel had read everything and had finished the messages below a sequence. */
  trimBelow(sequence: number): void {
    this.log.trim(this.log.committedEnd, sequence, COMMITTED_MS);
  }

  [Symbol.dispose](): void {
    removeFolder(this.folder);
  }
}

/** The bodies that a channel would read from a sequence on, with null for a gap. Checks that each id has the right sequence. */
export function readAll(log: TopicLog, from = log.startSequence): (string | null)[] {
  const bodies: (string | null)[] = [];
  let sequence = from;
  let position = log.locate(from);
  while (sequence < log.committedNext) {
    const chunk = log.chunkAt(position, true);
    if (chunk.isGap) {
      bodies.push(null);
      sequence = chunk.nextSequence;
      position = chunk.nextPosition;
      continue;
    }
    const at = chunk.offsetOf(position);
    const end = at + 4 + chunk.buffer.readUInt32BE(at);
    const id = Number.parseInt(chunk.buffer.toString("latin1", at + 24, at + 34), 16);
    if (id !== sequence) throw new Error(`record at ${position} is ${id}, not ${sequence}`);
    bodies.push(bodyOf(chunk.buffer, at, end));
    position += end - at;
    sequence++;
  }
  return bodies;
}

/** All bodies that can be read, by sequence. */
export function readBySequence(log: TopicLog): Map<number, string> {
  const bodies = new Map<number, string>();
  let sequence = log.startSequence;
  let position = log.locate(sequence);
  while (sequence < log.committedNext) {
    const chunk = log.chunkAt(position, true);
    if (!chunk.isGap) {
      const at = chunk.offsetOf(position);
      const end = at + 4 + chunk.buffer.readUInt32BE(at);
      bodies.set(sequence++, bodyOf(chunk.buffer, at, end));
      position += end - at;
    } else {
      sequence = chunk.nextSequence;
      position = chunk.nextPosition;
    }
  }
  return bodies;
}
