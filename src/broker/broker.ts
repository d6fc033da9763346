import { systemClock } from "../base/clock.ts";
import type { Logger } from "../base/logger.ts";
import { runToEnd } from "../base/run-to-end.ts";
import { Scrapes } from "../http/metrics/scrape.ts";
import type { ClusterRouting } from "./cluster-routing.ts";
import { Drain } from "./drain.ts";
import { Tick } from "./loop/tick.ts";
import { Timers } from "./loop/timers.ts";
import { SURVEY_INTERVAL_MS } from "./loop/turn.ts";
import type { ClusterReport } from "./metrics/cluster-report.ts";
import type { Opening } from "./opening.ts";
import type { BrokerOptions } from "./options.ts";
import { type Environment, openParts, type Parts } from "./parts.ts";
import type { Connection } from "./tcp/connection.ts";
import { TcpListener } from "./tcp/listener.ts";

export type { Environment } from "./parts.ts";

/** A broker: its parts, joined, and what is done to it as a whole. */
export interface Broker extends Parts {
  readonly listener: TcpListener;
  readonly tick: Tick;
  /** The end of its service before it is stopped. */
  readonly drain: Drain;
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
  /** The answers to /metrics. */
  readonly scrapes: Scrapes;
  /** Lookup servers to register with, and how many of them have all of the topics now. */
  lookups: { readonly configured: number; readonly registered: number };
  /** Where topics of the cluster are; undefined: the broker is alone. */
  cluster: ClusterRouting | undefined;
  /** What operators are told of the broker's part in a cluster; undefined: it is alone. */
  clusterReport: ClusterReport | undefined;
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
  return join(runToEnd(openParts(options, logger, environment)), environment);
}

/**
 * Opens a data path as openBroker() does, and lets the event loop have its turn in between.
 *
 * @throws StartError as openBroker() does; StartInterrupted when `opening` was stopped
 */
export async function openBrokerInSlices(
  options: BrokerOptions,
  logger: Logger,
  environment: Environment,
  opening: Opening,
): Promise<Broker> {
  const parts = await opening.run(openParts(options, logger, environment));
  // Its time is still that of the first slice, which would look as if the event loop had stood still since.
  parts.turn.readClock();
  return join(parts, environment);
}

function join(parts: Parts, environment: Environment): Broker {
  const { turn, options } = parts;
  const listener = new TcpListener(parts);
  const tick = new Tick({
    ...parts,
    // Only the listener's connections are queued for it.
    flush: (connection) => listener.flush(connection as Connection),
  });
  const timers = new Timers({ ...parts, tick, listener, clock: environment.clock ?? systemClock });
  turn.begin(tick.run, timers.run);
  turn.wakeAt(turn.currentMs + SURVEY_INTERVAL_MS);
  const broker: Broker = {
    ...parts,
    listener,
    tick,
    drain: new Drain({ ...parts, listener, clock: environment.clock ?? systemClock }),
    startTimeMs: Math.floor(turn.wallMs),
    percentiles: [...options.e2eProcessingLatencyPercentiles].sort((a, b) => b - a),
    optionsChanged: [],
    httpPort: 0,
    httpsPort: 0,
    scrapes: new Scrapes(),
    lookups: { configured: 0, registered: 0 },
    cluster: undefined,
    clusterReport: undefined,
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
  broker.drain.stop();
  const { listener, tick, turn, groupSync, deferred, registry, checkpointer, logger } = broker;
  broker.publishing.close();
  turn.stop();
  logger.info("NSQ: closing clients and topics");
  listener.stop();
  // What was read is answered first: an acknowledgement that is due still goes out.
  await finishWork(broker);
  listener.closeConnections();
  await finishWork(broker);
  for (const channel of registry.channelPartitions.values()) channel.deferrals.park();
  let syncFailure: Error | undefined;
  do {
    tick.commitDeferred();
    // Where entries await syncs, their owners are told by one, and what is staged then is written by the next commit.
    if (deferred.awaitsSyncs) syncFailure = await lastSync(broker);
  } while (deferred.hasWork && (syncFailure ?? deferred.failure ?? deferred.statusFailure) === undefined);
  const partitions = [...registry.partitions];
  let clean = deferred.failure === undefined && deferred.statusFailure === undefined;
  checkpointer.saveAll(partitions);
  for (const { name, log } of partitions) {
    const failure = log.catchUp();
    clean &&= failure === undefined;
    if (failure !== undefined)
      broker.rateLimitedLog.error(`TOPIC(${name}): cannot write to its log: ${failure.message}; the journal keeps it`, { topic: name });
  }
  syncFailure = (await lastSync(broker)) ?? syncFailure;
  // What entries this sync was awaited for are done with; it is synced below.
  tick.commitDeferred();
  for (const closed of await Promise.all(partitions.map(({ log }) => log.files?.close()))) syncFailure ??= closed;
  await broker.recycler.folders.close();
  broker.journal.close();
  const closeFailure = await deferred.close();
  syncFailure ??= closeFailure;
  if (syncFailure !== undefined) {
    logger.error(`cannot sync to the disk: ${syncFailure.message}; the last changes are in the files, and a power cut may lose them`);
  }
  clean &&= syncFailure === undefined;
  checkpointer.saveSynced(partitions);
  broker.keys.close();
  broker.tracer.close();
  await broker.otlp?.close();
  tidy(broker);
  deferred.notes.noteAll();
  broker.keys.noteFile();
  if (clean && checkpointer.failure === undefined && groupSync.failure === undefined) endRun(broker);
  await broker.metadataBackup.renew(turn.nowMs);
  broker.metadata.close();
  logger.info("NSQ: bye");
}

/** Answers what was read, and waits for the syncs that it needs. */
async function finishWork({ tick, acks }: Broker): Promise<void> {
  do {
    tick.run();
    await acks.untilSynced();
  } while (acks.busy);
  tick.run();
}

/** Syncs everything. If that fails, tries once more: what a failed sync lost was written again. @returns why it failed */
async function lastSync({ groupSync }: Broker): Promise<Error | undefined> {
  const syncAll = () => new Promise<Error | undefined>((resolve) => groupSync.syncAll(resolve));
  return (await syncAll()) === undefined ? undefined : syncAll();
}

/** Removes what nothing needs from the metadata store. Where that fails, a later stop or start does it. */
function tidy({ metadata, rateLimitedLog }: Broker): void {
  try {
    metadata.numbers.freeOrphaned();
    metadata.forgetSyncedOfGoneTopics();
  } catch (error) {
    rateLimitedLog.error(`cannot tidy the metadata store: ${(error as Error).message}`);
  }
}

/** Records that everything is saved and synced, so that the next start takes whatever differs from it for damage. */
function endRun({ metadata, rateLimitedLog }: Broker): void {
  try {
    metadata.run.end();
  } catch (error) {
    rateLimitedLog.error(`cannot save the end of this run: ${(error as Error).message}`);
  }
}
