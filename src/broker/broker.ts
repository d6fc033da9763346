import { join } from "node:path";
import { type Clock, systemClock } from "../base/clock.ts";
import { DescriptorBudget, descriptorLimit } from "../base/descriptor-budget.ts";
import type { Logger } from "../base/logger.ts";
import { type RandomSource, systemRandom } from "../base/random-source.ts";
import { RateLimitedLog } from "../base/rate-limited-log.ts";
import { ScratchBuffer } from "../base/scratch-buffer.ts";
import { StartError } from "../base/start-error.ts";
import { GroupCommit } from "./acks/group-commit.ts";
import type { PendingPublish } from "./acks/pending-publish.ts";
import { Authority } from "./auth/authority.ts";
import { checkDataPath } from "./exclusive-data-path.ts";
import { FolderLock } from "./folder-lock.ts";
import { ConnectionLimit } from "./http/connection-limit.ts";
import { GroupSync } from "./loop/group-sync.ts";
import { Health } from "./loop/health.ts";
import { Tick } from "./loop/tick.ts";
import { Timers } from "./loop/timers.ts";
import { EventLoopTurn, SURVEY_INTERVAL_MS } from "./loop/turn.ts";
import type { BrokerOptions } from "./options.ts";
import { setMisplacedAside } from "./recovery/misplaced.ts";
import { Recovery } from "./recovery/recovery.ts";
import { WithoutUnreadable } from "./recovery/without-unreadable.ts";
import { DamageLog } from "./storage/damage-log.ts";
import { DATA_FOLDER, restrictToOwner } from "./storage/data-path.ts";
import { DeferredStore } from "./storage/deferred/deferred-store.ts";
import { BallastFile } from "./storage/disk/ballast.ts";
import { type Disk, systemDisk } from "./storage/disk/disk.ts";
import { FreeSpace } from "./storage/disk/free-space.ts";
import { OpenFiles } from "./storage/disk/open-files.ts";
import { ReadFailures } from "./storage/disk/read-failures.ts";
import type { KeyedTopic } from "./storage/idempotency/key-file.ts";
import { KeyStore } from "./storage/idempotency/key-store.ts";
import { ChunkPool } from "./storage/log/chunk.ts";
import { JOURNAL_FILE, Journal } from "./storage/log/journal.ts";
import { Recycler } from "./storage/log/recycler.ts";
import { MetadataBackup, restoreMetadata } from "./storage/metadata/metadata-backup.ts";
import { MetadataStore } from "./storage/metadata/metadata-store.ts";
import { readBootId } from "./storage/metadata/run-record.ts";
import { explain, inUse } from "./storage/metadata/store-errors.ts";
import type { Connection } from "./tcp/connection.ts";
import { TcpListener } from "./tcp/listener.ts";
import { buildServerTls } from "./tls-options.ts";
import { Checkpointer } from "./topics/checkpointer.ts";
import { Locality } from "./topics/locality.ts";
import { MessageControl } from "./topics/message-control.ts";
import { Publishing } from "./topics/publishing.ts";
import type { RegistryParts } from "./topics/topic-parts.ts";
import { TopicRegistry } from "./topics/topic-registry.ts";

/** Log bytes in memory, all topics together. */
const CACHE_BYTES = 16 * 1024 * 1024;
/** Segment files kept for reuse, in segments' worth of bytes. */
const RECYCLED_SEGMENTS = 4;

/** The disk and the clock that a broker uses. Tests pass disks that fail and clocks that they move. */
export interface Environment {
  disk?: Disk;
  clock?: Clock;
  random?: RandomSource;
  /** Names the time since the machine started. After another one, files may be as a power cut leaves them. */
  bootId?: string;
  /** How many descriptors the process may have. */
  descriptorLimit?: number;
}

/** The parts of an open broker; what each does is in its own folder. docs/architecture.md tells a message's way through them. */
type Parts = ReturnType<typeof openParts>;

/** A broker: its parts, joined, and what is done to it as a whole. */
export interface Broker extends Parts {
  readonly listener: TcpListener;
  readonly tick: Tick;
  /** When the broker started, ms since 1970. */
  readonly startTimeMs: number;
  /** Percentiles that message latencies are reported for, largest first; none: channels do not measure. */
  readonly percentiles: readonly number[];
  /** Called after an option was changed at run time. */
  readonly optionsChanged: (() => void)[];
  /** Port of the TCP listener; 0 for a unix socket. */
  readonly tcpPort: number;
  /** Port of the HTTP listener; 0 without one, and for a unix socket. */
  httpPort: number;
  /** Port of the HTTPS listener; 0 without one. */
  httpsPort: number;
  closing: boolean;
  /** Starts to accept clients over TCP. @throws StartError when the address cannot be had */
  listen(): void;
  /** Stops listening, closes the connections, saves exactly, and unlocks the data path. */
  close(): Promise<void>;
}

/**
 * Opens a data path, takes up what an earlier run left there, and begins to work. Nobody is listened to yet.
 *
 * @throws StartError when the path is in use, cannot be written, or was written by a newer version
 */
export function openBroker(options: BrokerOptions, logger: Logger, environment: Environment = {}): Broker {
  const parts = openParts(options, logger, environment);
  const { turn } = parts;
  const listener = new TcpListener(parts);
  const tick = new Tick({
    ...parts,
    // Only the listener's connections are queued for it.
    flush: (connection) => listener.flush(connection as Connection),
  });
  const timers = new Timers({ ...parts, tick, listener, clock: environment.clock ?? systemClock });
  turn.onTick = tick.run;
  turn.onWake = timers.run;
  turn.wakeAt(turn.currentMs + SURVEY_INTERVAL_MS);
  const broker: Broker = {
    ...parts,
    listener,
    tick,
    startTimeMs: Math.floor(turn.wallMs),
    percentiles: [...options.e2eProcessingLatencyPercentiles].sort((a, b) => b - a),
    optionsChanged: [],
    httpPort: 0,
    httpsPort: 0,
    closing: false,
    get tcpPort() {
      return listener.port;
    },
    listen: () => listener.listen(),
    close: () => close(broker),
  };
  return broker;
}

async function close(broker: Broker): Promise<void> {
  if (broker.closing) return;
  broker.closing = true;
  const { listener, tick, turn, acks, groupSync, deferred, registry, checkpointer, logger } = broker;
  broker.publishing.close();
  turn.stop();
  logger.info("NSQ: closing clients and topics");
  listener.stop();
  // What was read is answered first: an acknowledgement that is due still goes out.
  tick.run();
  await acks.untilSynced();
  tick.run();
  listener.closeConnections();
  tick.run();
  await acks.untilSynced();
  if (deferred.strict) await new Promise<void>((resolve) => groupSync.syncAll(() => resolve()));
  deferred.endStrictness();
  for (const channel of registry.channelsById.values()) channel.deferrals.park();
  do tick.commitDeferred();
  while (deferred.hasWork && deferred.failure === undefined && deferred.statusFailure === undefined);
  const topics = [...registry.topics.values()];
  let clean = deferred.failure === undefined && deferred.statusFailure === undefined;
  checkpointer.saveAll(topics);
  for (const { name, log } of topics) {
    const failure = log.catchUp();
    clean &&= failure === undefined;
    if (failure !== undefined)
      broker.rateLimitedLog.error(`TOPIC(${name}): cannot write to its log: ${failure.message}; the journal keeps it`);
  }
  await Promise.all(topics.map(({ log }) => log.files?.close()));
  broker.journal.close();
  await deferred.close();
  checkpointer.saveSynced(topics);
  await new Promise<void>((resolve) => broker.keys.sync(() => resolve()));
  broker.keys.close();
  broker.metadata.freeOrphanedNumbers();
  broker.metadata.forgetSyncedOfGoneTopics();
  deferred.notes.noteAll();
  broker.keys.noteFile();
  if (clean && checkpointer.failure === undefined && groupSync.failure === undefined) endRun(broker);
  await broker.metadataBackup.renew(turn.nowMs);
  broker.metadata.close();
  logger.info("NSQ: bye");
}

/** Records that everything is saved and synced, so that the next start takes whatever differs from it for damage. */
function endRun({ metadata, rateLimitedLog }: Broker): void {
  try {
    metadata.run.end();
  } catch (error) {
    rateLimitedLog.error(`cannot save the end of this run: ${(error as Error).message}`);
  }
}

/** Opens what is on the disk, takes up what an earlier run left there, and joins the parts. @throws StartError */
function openParts(options: BrokerOptions, logger: Logger, environment: Environment) {
  const { clock = systemClock, random = systemRandom, bootId = readBootId() } = environment;
  const descriptors = new DescriptorBudget(environment.descriptorLimit ?? descriptorLimit());
  const disk = new OpenFiles(environment.disk ?? systemDisk, descriptors);
  const clientDescriptors = { tcp: descriptors.share(), http: descriptors.share() };
  const tls = buildServerTls(options);
  const authority = Authority.from(options);
  const locality = Locality.from(options, logger);
  const dataPath = options.dataPath === "" ? process.cwd() : options.dataPath;
  checkDataPath(dataPath);
  const directory = join(dataPath, DATA_FOLDER);
  const rateLimitedLog = new RateLimitedLog(logger);
  const turn = new EventLoopTurn(clock);
  const readFailures = new ReadFailures(turn, logger, rateLimitedLog);
  const chunks = new ChunkPool(CACHE_BYTES);
  const scratch = new ScratchBuffer();

  const lock = lockFolder(directory);
  let metadata: MetadataStore | undefined;
  try {
    restrictToOwner(directory, logger);
    const damage = new DamageLog(logger);
    setMisplacedAside(disk, directory, damage);
    const found = restoreMetadata(disk, directory, damage, bootId, options.startWithoutUnreadable);
    const ballast = new BallastFile(disk, directory, random);
    metadata = new MetadataStore(directory, ballast, random, lock, bootId);
    turn.continueFrom(metadata.clockStep());
    const notes = metadata.run.begin(found === "sound" || found === "new", (error) =>
      rateLimitedLog.error(`cannot save to ${directory}: ${error.message}`),
    );
    const metadataBackup = new MetadataBackup({ store: metadata, directory, disk, clock, logger, notes });
    const recycler = new Recycler(disk, join(directory, "recycled"), RECYCLED_SEGMENTS * options.maxBytesPerFile, logger);
    const onJournalFailure = (error: Error) => rateLimitedLog.error(`JOURNAL: ${error.message}; topics write to their own files instead`);
    const journal = new Journal(disk, join(directory, JOURNAL_FILE), onJournalFailure, undefined, random, notes);
    const freeSpace = new FreeSpace(disk, directory, options.minFreeBytes, ballast, logger, (low) => {
      publishing.refuseOnDisk(freeSpace.refusal);
      recycler.setAccepting(!low);
      if (low) journal.freeFile();
    });
    const checkpointer = new Checkpointer({ metadata, ballast, freeSpace, turn, clock, logger, rateLimitedLog }, directory);
    const deferred = new DeferredStore({
      ...{ directory: join(directory, "deferred"), disk, logger, ballast, clock: turn.turnClock },
      ...{ readFailures, notes, damage },
    });
    const registryParts: RegistryParts = {
      ...{ options, turn, logger, rateLimitedLog, readFailures, deferred, metadata, checkpointer, freeSpace },
      ...{ scratch, disk, clock, chunks, recycler, ballast },
    };
    const registry = new TopicRegistry(registryParts, directory);
    const keys = new KeyStore<PendingPublish>({
      directory: join(directory, "keys"),
      disk,
      logger,
      windowMs: options.idempotencyWindowMs,
      limit: options.idempotencyKeys,
      notes,
      damage,
    });
    const groupSync = new GroupSync({ clock, turn, deferred, keys, registry, syncTimeoutMs: options.syncTimeoutMs });
    const acks = new GroupCommit(groupSync.syncPublished, clock, logger);
    const publishing = new Publishing({ turn, registry, keys, acks, scratch });
    const messageControl = new MessageControl({ deferred, publishing, turn });
    const httpConnections = new ConnectionLimit({ options, rateLimitedLog, descriptors, clientDescriptors, turn });
    const health = new Health({ lock, freeSpace, checkpointer, groupSync, readFailures });

    // From here on each sync of a new file covers its own folder's names; these folders' own names are covered now.
    disk.syncDirectoryNow(directory);
    disk.syncDirectoryNow(dataPath);
    deferred.target = registry;
    const { startWithoutUnreadable } = options;
    const withoutUnreadable = new WithoutUnreadable(startWithoutUnreadable, disk, logger);
    const recovery = new Recovery({ ...registryParts, journal, withoutUnreadable, damage, notes }, registry, directory, found);
    recovery.run();
    const newestMs = Math.max(0, ...[...registry.topics.values()].map(({ log }) => log.files?.newestMs ?? 0));
    if (newestMs > 0) turn.turnClock.doubtSince(newestMs);
    const wasThere = (topic: KeyedTopic, sequence: number) => registry.had(topic, sequence);
    const keysRetry = readFailures.retry("idempotency keys", () => keysRetry.run(() => keys.recover(turn.agingMs, wasThere)));
    keysRetry.run(() => withoutUnreadable.run(() => keys.recover(turn.agingMs, wasThere)));
    withoutUnreadable.end();
    recovery.onOpened = (topic) => topic.skipLost(keys.recheck(topic.id, wasThere));
    freeSpace.check(turn.steadyMs);
    return {
      ...{ options, logger, rateLimitedLog, tls, authority, locality, turn, chunks, scratch },
      ...{ descriptors, clientDescriptors, openFiles: disk },
      ...{ metadata, metadataBackup, recovery, journal, freeSpace, readFailures, checkpointer, deferred, registry, keys },
      ...{ groupSync, acks, publishing, messageControl, health, httpConnections, lock, damage, notes },
    };
  } catch (error) {
    metadata?.close();
    lock.release();
    throw error instanceof StartError ? error : new StartError(`cannot read ${directory}: ${(error as Error).message}`);
  }
}

/** Locks the broker's folder, which is made if it does not exist. @throws StartError when another process has locked it */
function lockFolder(directory: string): FolderLock {
  let lock: FolderLock | "in use";
  try {
    systemDisk.makeDirectory(directory);
    lock = FolderLock.take(directory);
  } catch (error) {
    throw new StartError(explain(directory, error as Error));
  }
  if (lock === "in use") throw new StartError(inUse(directory));
  return lock;
}
