import { join } from "node:path";
import { type Clock, systemClock } from "../base/clock.ts";
import { DescriptorBudget, descriptorLimit } from "../base/descriptor-budget.ts";
import type { Logger } from "../base/logger.ts";
import { type RandomSource, systemRandom } from "../base/random-source.ts";
import { RateLimitedLog } from "../base/rate-limited-log.ts";
import { ScratchBuffer } from "../base/scratch-buffer.ts";
import { StartError } from "../base/start-error.ts";
import { ConnectionLimit } from "../http/server/connection-limit.ts";
import { GroupCommit } from "./acks/group-commit.ts";
import type { PendingPublish } from "./acks/pending-publish.ts";
import { Authority } from "./auth/authority.ts";
import { checkDataPath } from "./exclusive-data-path.ts";
import { FolderLock } from "./folder-lock.ts";
import { GroupSync } from "./loop/group-sync.ts";
import { Health } from "./loop/health.ts";
import { RateSampler } from "./loop/rate-sampler.ts";
import { EventLoopTurn } from "./loop/turn.ts";
import type { BrokerOptions } from "./options.ts";
import { ChannelKeeper } from "./recovery/channel-keeper.ts";
import { setMisplacedAside } from "./recovery/misplaced.ts";
import { Recovery } from "./recovery/recovery.ts";
import { hasReplicas } from "./recovery/replicas-left.ts";
import { WithoutUnreadable } from "./recovery/without-unreadable.ts";
import { DamageLog } from "./storage/damage-log.ts";
import { DATA_FOLDER, restrictToOwner } from "./storage/data-path.ts";
import { DeferredStore } from "./storage/deferred/deferred-store.ts";
import { BallastFile } from "./storage/disk/ballast.ts";
import { type Disk, systemDisk } from "./storage/disk/disk.ts";
import { FreeSpace } from "./storage/disk/free-space.ts";
import { OpenFiles } from "./storage/disk/open-files.ts";
import { ReadFailures } from "./storage/disk/read-failures.ts";
import { isKernelError } from "./storage/disk/unreadable-file.ts";
import { KeyStore } from "./storage/idempotency/key-store.ts";
import { ChunkPool } from "./storage/log/chunk.ts";
import { JOURNAL_FILE, Journal } from "./storage/log/journal.ts";
import { Recycler } from "./storage/log/recycler.ts";
import { MetadataBackup, restoreMetadata } from "./storage/metadata/metadata-backup.ts";
import { MetadataStore } from "./storage/metadata/metadata-store.ts";
import { ReplicaRows } from "./storage/metadata/replica-rows.ts";
import { readBootId } from "./storage/metadata/run-record.ts";
import { explain, inUse } from "./storage/metadata/store-errors.ts";
import { TraceSettings } from "./storage/metadata/trace-settings.ts";
import { buildServerTls } from "./tls-options.ts";
import { Checkpointer } from "./topics/checkpointer.ts";
import { DeadLetterDesk } from "./topics/dead-letter-desk.ts";
import { DeferredControl } from "./topics/deferred-control.ts";
import { Locality } from "./topics/locality.ts";
import { MessageControl } from "./topics/message-control.ts";
import { Publishing } from "./topics/publishing.ts";
import type { RegistryParts } from "./topics/topic-parts.ts";
import { TopicRegistry } from "./topics/topic-registry.ts";
import { Tracing } from "./topics/tracing.ts";
import { OtlpExporter } from "./trace/otlp/exporter.ts";
import { TraceFiles } from "./trace/trace-files.ts";
import { TraceSearch } from "./trace/trace-search.ts";
import { Tracer } from "./trace/tracer.ts";

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
  /** Other brokers have the same partitions, those whose logs have an epoch: of these nothing is released before it is known what they have. */
  isReplicated?: boolean;
  /** How many descriptors the process may have. */
  descriptorLimit?: number;
  /** The descriptors of the process, if others have a share of them. */
  descriptors?: DescriptorBudget;
}

/** The parts of an open broker; what each does is in its own folder. docs/architecture.md tells a message's way through them. */
export type Parts = ReturnType<typeof openParts> extends Generator<unknown, infer Opened> ? Opened : never;

/**
 * Opens what is on the disk, takes up what an earlier run left there, and joins the parts. Between two steps the caller may do other
 * work, or have it end with `throw()`: then the data path is as after a kill, and unlocked.
 *
 * @throws StartError
 */
export function* openParts(options: BrokerOptions, logger: Logger, environment: Environment) {
  const { clock = systemClock, random = systemRandom, bootId = readBootId(), isReplicated = false } = environment;
  const descriptors = environment.descriptors ?? new DescriptorBudget(environment.descriptorLimit ?? descriptorLimit());
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
    // Before there is a new one, which would say that there are no replicas.
    if (!isReplicated && found === "lost" && hasReplicas(disk, directory)) throw hasOthersPartitions(directory);
    const ballast = new BallastFile(disk, directory, random);
    metadata = new MetadataStore(directory, ballast, random, lock, bootId);
    if (!isReplicated && metadata.part(ReplicaRows).load().length > 0) throw hasOthersPartitions(directory);
    // The logs may have messages with headers, and nothing else says so.
    if (found === "lost") metadata.noteHeaders();
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
    const traceFiles = new TraceFiles({ disk, directory: join(directory, "trace"), limitBytes: options.traceBytes, logger });
    traceFiles.recover();
    const tracer = new Tracer({ files: traceFiles, turn, rateLimitedLog, freeSpace });
    const traceSearch = new TraceSearch({ disk, files: traceFiles, tracer, clock });
    const tracing = new Tracing({ tracer, settings: metadata.part(TraceSettings), ballast, isEnabled: options.traceBytes > 0 });
    const deadLetterDesk = new DeadLetterDesk();
    const registryParts: RegistryParts = {
      ...{ options, turn, logger, rateLimitedLog, readFailures, deferred, metadata, checkpointer, freeSpace },
      ...{ scratch, disk, clock, chunks, recycler, ballast, tracing, deadLetterDesk },
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
      isReplicated: (id) => isReplicated && (registry.partitionById(id)?.log.files?.epoch ?? 0) > 0,
    });
    const partitionNumbered = (number: number) => [...registry.partitions].find((partition) => partition.number === number);
    const otlp = OtlpExporter.from(options.otlpEndpoint, options.broadcastAddress, {
      ...{ clock, random, rateLimitedLog },
      topic(number) {
        const partition = partitionNumbered(number);
        return partition && { name: partition.topic.name, prefix: partition.log.prefix, channels: partition.channels.size };
      },
    });
    tracer.onBatch = otlp?.take;
    const groupSync = new GroupSync({ clock, turn, deferred, keys, checkpointer, registry, syncTimeoutMs: options.syncTimeoutMs });
    const acks = new GroupCommit(groupSync.syncPublished, clock, logger, turn);
    const publishing = new Publishing({ turn, registry, keys, acks, scratch, metadata });
    deadLetterDesk.publishing = publishing;
    const messageControl = new MessageControl({ deferred, publishing, turn });
    const deferredControl = new DeferredControl({ deferred, messageControl, publishing, checkpointer });
    const httpConnections = new ConnectionLimit({ options, rateLimitedLog, descriptors, clientDescriptors, turn });
    const rates = new RateSampler(registry);
    const health = new Health({ lock, freeSpace, checkpointer, groupSync, readFailures });

    // From here on each sync of a new file covers its own folder's names; these folders' own names are covered now.
    syncFolders(disk, directory, dataPath);
    deferred.target = registry.deferredTarget;
    const { startWithoutUnreadable } = options;
    const withoutUnreadable = new WithoutUnreadable(startWithoutUnreadable, disk, logger);
    const recovery = new Recovery(
      { ...registryParts, journal, withoutUnreadable, damage, notes, isReplicated },
      registry,
      directory,
      found,
    );
    yield* recovery.run();
    const newestMs = Math.max(0, ...[...registry.partitions].map(({ log }) => log.files?.newestMs ?? 0));
    if (newestMs > 0) turn.turnClock.doubtSince(newestMs);
    // Those that count are also written to a new file. On a full disk that waits, too.
    const recoverKeys = () => {
      keys.recover(
        turn.agingMs,
        (topic, sequence) => registry.had(topic, sequence),
        (numbers) => recovery.storedEntries(numbers),
      );
      deferred.raiseNextNumber(keys.nextEntryNumber);
    };
    const keysRetry = readFailures.retry("idempotency keys", () => keysRetry.run(recoverKeys, isKernelError));
    keysRetry.run(() => withoutUnreadable.run(recoverKeys), isKernelError);
    withoutUnreadable.end();
    const channelKeeper = new ChannelKeeper({ metadata, deferred, logger, ballast, registry, turn });
    recovery.onOpened = (partition) => partition.skipLost(keys.recheck(partition.id));
    freeSpace.check(turn.steadyMs);
    // What the earlier run wrote last, it may not have synced.
    groupSync.expect(turn.nowMs);
    return {
      ...{ options, logger, rateLimitedLog, tls, authority, locality, turn, chunks, scratch },
      ...{ descriptors, clientDescriptors, openFiles: disk },
      ...{
        metadata,
        metadataBackup,
        ballast,
        recovery,
        recycler,
        journal,
        freeSpace,
        readFailures,
        checkpointer,
        deferred,
        registry,
        keys,
      },
      ...{ groupSync, acks, publishing, messageControl, deferredControl, health, rates, httpConnections, lock, damage, notes },
      ...{ channelKeeper, tracer, tracing, traceFiles, traceSearch, otlp },
    };
  } catch (error) {
    metadata?.close();
    lock.release();
    throw error instanceof StartError ? error : new StartError(`cannot read ${directory}: ${(error as Error).message}`);
  }
}

/** @throws the kernel's error. New folders are removed then: the next start makes them again, since another sync would prove nothing. */
function syncFolders(disk: Disk, directory: string, dataPath: string): void {
  try {
    disk.syncDirectoryNow(directory);
    disk.syncDirectoryNow(dataPath);
  } catch (error) {
    for (const name of ["topics", "deferred", "keys", "recycled", ""]) {
      try {
        disk.removeDirectory(join(directory, name));
      } catch {
        // It is not empty, so an earlier run has synced its name.
      }
    }
    throw error;
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

function hasOthersPartitions(directory: string): StartError {
  return new StartError(
    `${directory} has partitions of a cluster, which other brokers have as well: give -etcd-endpoints, or use another --data-path`,
  );
}
