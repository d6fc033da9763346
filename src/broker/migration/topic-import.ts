import type { Logger } from "../../base/logger.ts";
import { StartError } from "../../base/start-error.ts";
import { idPrefix } from "../../frame/id.ts";
import type { BrokerOptions } from "../options.ts";
import { systemDisk } from "../storage/disk/disk.ts";
import { cutLog } from "../storage/log/log-cut.ts";
import { LogFiles } from "../storage/log/log-files.ts";
import type { Recycler } from "../storage/log/recycler.ts";
import type { ImportPhase, ImportState, TopicImportRow } from "../storage/metadata/import-state.ts";
import { topicFolder } from "../storage/metadata/metadata-backup.ts";
import type { MetadataStore } from "../storage/metadata/metadata-store.ts";
import type { ChannelRow, TopicRow } from "../storage/metadata/rows.ts";
import { ImportedChannel } from "./imported-channel.ts";
import { LogAppender } from "./log-appender.ts";
import type { MergeWindow } from "./merge-window.ts";
import type { Pace } from "./pace.ts";
import { QueueStream, type ScannedQueue, scanQueue } from "./queue-stream.ts";
import type { NsqdSource, SourceTopic } from "./source.ts";
import { ABSENT, TopicMerge } from "./topic-merge.ts";

/** Read buffers of all queues of a topic together, and of each. */
const READ_BYTES = 64 * 1024 * 1024;
const MAX_READ_BYTES = 1024 * 1024;
const MIN_READ_BYTES = 64 * 1024;
/** As long as the channels' lists of finished ranges are shorter than this, messages are written strictly by id. */
const MAX_RANGES_BY_ID = 4096;

/** What the import of each topic works with. */
export interface TopicImportParts {
  readonly source: NsqdSource;
  readonly options: BrokerOptions;
  readonly metadata: MetadataStore;
  readonly state: ImportState;
  readonly recycler: Recycler;
  readonly logger: Logger;
  readonly pace: Pace;
  /** The broker's folder below the data path. */
  readonly directory: string;
  readonly nowMs: number;
  /** Messages below these sequences were on the disk when the import began, by topic id. */
  readonly synced: ReadonlyMap<number, number>;
  /** The first publish in the deferred store that each topic holds back for its next channel, by topic id. */
  readonly held: ReadonlyMap<number, number>;
  /** Higher than the number of every entry in the deferred store. */
  readonly nextEntry: number;
  /** One serves all topics, one after the other. */
  readonly window: MergeWindow;
  /** What is written in this time is written again after a kill. */
  readonly checkpointMs: number;
  /** Counts messages read from the queues. */
  readonly onRead: (count: number) => void;
  /** Counts messages written to the log. */
  readonly onWritten: (count: number) => void;
  readonly onProblem: (text: string) => void;
}

/**
 * Imports one topic of nsqd. Its queues are joined by ascending id, which in nsqd is the order of time, and each message is written
 * to the topic's log once. Channels that do not have a message in nsqd have finished it here. Every few seconds the log is synced
 * and the state is saved with the channels' progress; after a kill the log is cut back to that point.
 */
export class TopicImport {
  private readonly channels: ImportedChannel[] = [];
  private readonly queues: { scanned: ScannedQueue; channel: number }[] = [];
  private ranges = 0;
  private checkpointAtMs = 0;

  private constructor(
    private readonly parts: TopicImportParts,
    private row: TopicRow,
    private readonly progress: TopicImportRow,
    private readonly files: LogFiles,
    private readonly log: LogAppender,
  ) {}

  /**
   * @param known the topic's row, if it exists
   * @param begun how far an earlier run came
   * @throws StartError, StartInterrupted, the kernel's error
   */
  static async run(
    parts: TopicImportParts,
    topic: SourceTopic,
    known: TopicRow | undefined,
    begun: TopicImportRow | undefined,
  ): Promise<void> {
    const row = known ?? createTopic(parts, topic.name);
    const files = openFiles(parts, row, begun);
    try {
      const progress = begun ?? begin(parts, topic, row, files);
      const log = new LogAppender(files, row.prefix ?? idPrefix(parts.options.nodeId, row.number), parts.nowMs);
      const run = new TopicImport(parts, { ...row, paused: row.paused || topic.paused }, progress, files, log);
      await run.readQueues(topic);
      await run.copy();
    } finally {
      await files.close();
    }
  }

  private get isPaused(): boolean {
    return this.row.paused;
  }

  /** Reads the queues, so that it is known which messages are late, and opens the channels. */
  private async readQueues(topic: SourceTopic): Promise<void> {
    const { metadata, source, pace, onRead, onProblem } = this.parts;
    const { nextSequence } = this.progress;
    const rows = metadata.channels(this.row.id);
    this.channels.push(...rows.map((row) => new ImportedChannel(row, nextSequence)));
    const indexes = new Map(rows.map(({ name }, index) => [name, index]));
    const all = [
      ...topic.queues.map((queue) => ({ queue, channel: -1 })),
      ...[...topic.channels.values()].flatMap(({ name, queues }) => queues.map((queue) => ({ queue, channel: indexes.get(name) ?? -1 }))),
    ];
    for (const { queue, channel } of all) {
      const scanned = await scanQueue(source.folder, queue, pace, (problem) => onProblem(problem.message), onRead);
      if (scanned.messages > 0) this.queues.push({ scanned, channel });
    }
  }

  private async copy(): Promise<void> {
    const { progress } = this;
    if (progress.phase === "all" || progress.phase === "released") {
      await this.copyPhase();
      // Messages below this sequence are with the channels; the rest waits for the end of the pause. If messages of an earlier
      // broker wait already, all that come after them wait, too.
      if (progress.phase === "released" && this.row.released === progress.baseSequence) this.row.released = this.files.nextSequence;
      if (progress.phase === "released") await this.checkpoint("held", "");
    }
    if (progress.phase === "held") await this.copyPhase();
    else if (this.channels.length > 0 && (!this.isPaused || this.row.released === progress.baseSequence)) {
      this.row.released = this.files.nextSequence;
    }
    await this.checkpoint("done", "");
  }

  /** Writes the messages of the current phase, from the last checkpoint on. */
  private async copyPhase(): Promise<void> {
    const { progress, parts } = this;
    const { window } = parts;
    const bufferBytes = Math.max(MIN_READ_BYTES, Math.min(MAX_READ_BYTES, Math.floor(READ_BYTES / (this.queues.length + 1))));
    const merge = new TopicMerge(
      this.queues.map(({ scanned, channel }) => new QueueStream(scanned, channel, bufferBytes)),
      this.channels.length,
    );
    const [donePrefix, doneLow] = parseId(progress.lastId);
    this.checkpointAtMs = performance.now() + parts.checkpointMs;
    let lastPrefix = donePrefix;
    let lastLow = doneLow;
    try {
      for (let count = 1; merge.next(); count++) {
        if ((count & 1023) === 0 && parts.pace.isDue) await parts.pace.breathe();
        if (merge.prefix < donePrefix || (merge.prefix === donePrefix && merge.low <= doneLow)) continue;
        if (!this.isInPhase(merge)) continue;
        const { buffer, at, bytes } = merge.locate();
        if (window.isFullFor(bytes)) {
          this.writeWindow();
          await parts.pace.breathe();
          if (performance.now() >= this.checkpointAtMs) await this.checkpoint(progress.phase, formatId(lastPrefix, lastLow));
        }
        window.add(buffer, at, bytes, merge.attempts);
        lastPrefix = merge.prefix;
        lastLow = merge.low;
      }
      this.writeWindow();
    } finally {
      merge.close();
    }
  }

  private isInPhase(merge: TopicMerge): boolean {
    const { phase } = this.progress;
    return phase === "all" || (phase === "released" ? merge.inChannel : !merge.inChannel);
  }

  /** Writes the messages of the window to the log. */
  private writeWindow(): void {
    const { log, channels, parts } = this;
    const { window } = parts;
    this.ranges += window.groupChanges;
    for (const i of window.order(this.ranges > MAX_RANGES_BY_ID)) {
      const group = window.groupAt(i);
      const sequence = log.next;
      for (let channel = 0; channel < group.length; channel++) {
        if (group[channel] !== ABSENT) channels[channel].add(sequence, group[channel]);
      }
      log.append(window.buffer, window.at[i], window.bytes[i]);
    }
    log.commit();
    parts.onWritten(window.count);
    window.clear();
  }

  /** Syncs the log, and saves in one transaction how far the import is and what the channels have. */
  private async checkpoint(phase: ImportPhase, lastId: string): Promise<void> {
    const { files, parts, progress, row } = this;
    const { metadata, state } = parts;
    await new Promise<void>((resolve, reject) => files.sync((error) => (error === undefined ? resolve() : reject(error))));
    progress.phase = phase;
    progress.lastId = lastId;
    progress.nextSequence = files.nextSequence;
    metadata.saveAll(() => {
      metadata.updateTopic(row);
      for (const channel of this.channels) metadata.updateChannel(channel.toRow(files.nextSequence));
      metadata.saveSynced(row.id, files.nextSequence);
      state.saveTopic(progress);
    });
    this.checkpointAtMs = performance.now() + parts.checkpointMs;
  }
}

/** Adds a topic's row. @throws StartError if there are too many topics */
function createTopic({ metadata, options }: TopicImportParts, name: string): TopicRow {
  const made = metadata.makeTopic(name, (number) => idPrefix(options.nodeId, number));
  if (made === undefined) throw new StartError(`topic ${name} cannot be imported: there are too many topics`);
  const { id, number, prefix, nextSequence } = made;
  return { id, number, prefix, name, paused: false, released: nextSequence };
}

/** Opens the log's files, and cuts off what an earlier run wrote after its last checkpoint. */
function openFiles(parts: TopicImportParts, row: TopicRow, begun: TopicImportRow | undefined): LogFiles {
  const { options, metadata, recycler, logger, directory, onProblem } = parts;
  const floors = metadata.channels(row.id).map(({ floor }) => floor);
  const synced = parts.synced.get(row.id) ?? row.released;
  const log = {
    disk: systemDisk,
    directory: topicFolder(directory, row.number, row.name),
    topicId: row.id,
    topicNumber: row.number,
    topicName: row.name,
    logger,
    onCorrupt: () => onProblem(`the log of topic ${row.name} is damaged`),
    syncedSequence: synced,
    neededSequence: Math.min(row.released, ...floors),
  };
  if (begun !== undefined) cutLog(log, begun.nextSequence);
  const { maxBytesPerFile, syncEvery } = options;
  const files = new LogFiles({ ...log, maxBytesPerFile, syncEvery, recycler }, begun?.nextSequence ?? row.released);
  // Sequences that were given once are not given again, even if their messages are not in the log any more.
  files.skipTo(begun?.nextSequence ?? Math.max(row.released, synced, ...floors));
  return files;
}

/** Adds the channels, and saves where the messages of the import begin. */
function begin({ metadata, state, held, nextEntry }: TopicImportParts, topic: SourceTopic, row: TopicRow, files: LogFiles): TopicImportRow {
  const baseSequence = files.nextSequence;
  const isPaused = row.paused || topic.paused;
  const progress: TopicImportRow = {
    topic: topic.name,
    phase: isPaused && topic.queues.length > 0 ? "released" : "all",
    baseSequence,
    nextSequence: baseSequence,
    lastId: "",
  };
  metadata.saveAll(() => {
    const known = new Map(metadata.channels(row.id).map((channel): [string, ChannelRow] => [channel.name, channel]));
    // What waits for a first channel goes to all new ones. If there are channels already, new ones get nothing of theirs.
    const isHolding = known.size === 0 || row.paused;
    if (!isHolding) row.released = baseSequence;
    const voidBefore = isHolding ? (held.get(row.id) ?? 0) : nextEntry;
    for (const { name } of topic.channels.values()) if (!known.has(name)) metadata.addChannel(row.id, name, row.released, voidBefore);
    for (const channel of metadata.channels(row.id)) {
      if (topic.channels.get(channel.name)?.paused === true) metadata.updateChannel({ ...channel, paused: true });
    }
    metadata.updateTopic({ ...row, paused: isPaused });
    state.saveTopic(progress);
  });
  return progress;
}

/** An id as two numbers, of 6 and of 10 hex digits. */
function parseId(id: string): [prefix: number, low: number] {
  return id === "" ? [-1, -1] : [Number.parseInt(id.slice(0, 6), 16), Number.parseInt(id.slice(6), 16)];
}

function formatId(prefix: number, low: number): string {
  return prefix < 0 ? "" : prefix.toString(16).padStart(6, "0") + low.toString(16).padStart(10, "0");
}
