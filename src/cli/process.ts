import { readFileSync } from "node:fs";
import { constants } from "node:os";
import type { Logger } from "../base/logger.ts";
import { onSignals } from "../base/signals.ts";
import { StartError, StartInterrupted } from "../base/start-error.ts";

const STOP_SIGNALS: readonly NodeJS.Signals[] = ["SIGINT", "SIGTERM"];

/**
 * The signals that end the server. SIGHUP ends it as it ends nsqd, but here the server saves its state first. nohup starts a
 * program with SIGHUP ignored, so that it outlives its terminal; then SIGHUP stays ignored.
 */
function stopSignals(): readonly NodeJS.Signals[] {
  return isIgnored("SIGHUP") ? STOP_SIGNALS : [...STOP_SIGNALS, "SIGHUP"];
}

/** Whether a signal was ignored when the process was started. Only Linux tells; elsewhere it counts as not ignored. */
function isIgnored(signal: NodeJS.Signals): boolean {
  try {
    const [, mask] = /^SigIgn:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "latin1")) ?? [];
    return mask !== undefined && ((BigInt(`0x${mask}`) >> BigInt(constants.signals[signal] - 1)) & 1n) === 1n;
  } catch {
    return false;
  }
}

/** After a fault the process ends within this time, clean or not: a supervisor can restart it, and acknowledged messages are in the log. */
const FAULT_CLOSE_MS = 10_000;

/** Asks a broker to end once its clients are done. */
const DRAIN_SIGNAL = "SIGUSR2";

/** Closes one part that was opened. */
export type Close = () => Promise<void> | void;

/** The process that a server runs in. */
export interface ServerProcess {
  /** To be called with the function that closes each part that was opened. */
  opened(close: Close): void;
  /** Closes all parts, and then ends without an error. */
  stop(): void;
  /** What SIGUSR2 does. Unless it is set, the signal ends the server as SIGTERM does. */
  onDrainSignal: (() => void) | undefined;
}

/**
 * Runs a server until the process gets a signal or an exception is not caught. After such an exception the server's state is
 * unknown, so the process ends too. A second signal or a second exception exits at once with 1.
 *
 * @param start opens the server's parts in order; they are closed in reverse order
 * @returns when all parts are closed: whether there was no error
 */
export async function runProcess(logger: Logger, start: (server: ServerProcess) => void | Promise<void>): Promise<boolean> {
  const ended = Promise.withResolvers<boolean>();
  const closes: Close[] = [];
  let closing = false;

  const fail = (what: string, error: unknown): void => {
    logError(logger, what, error);
    ended.resolve(false);
  };
  const stop = (): void => {
    if (closing) return;
    closing = true;
    closeAll(closes).then(
      () => ended.resolve(true),
      (error) => fail("closing failed", error),
    );
  };
  const onSignal = (signal: NodeJS.Signals): void => {
    if (closing) {
      logger.fatal(`${signal} while closing: exiting at once`);
      process.exit(1);
    }
    logger.info(`${signal}: closing`);
    stop();
  };
  const server: ServerProcess = { opened: (close) => closes.push(close), stop, onDrainSignal: undefined };
  const onDrainSignal = (signal: NodeJS.Signals): void => {
    // It is sent to have the server end without disturbing anybody. While it closes, that is under way.
    if (closing) return;
    if (server.onDrainSignal === undefined) return onSignal(signal);
    logger.info(`${signal}: draining`);
    server.onDrainSignal();
  };
  let faulted = false;
  const onFault = (error: unknown): void => {
    logError(logger, "unexpected error, a defect of bunsq; closing", error);
    if (faulted || closing) process.exit(1);
    faulted = true;
    closing = true;
    setTimeout(() => process.exit(1), FAULT_CLOSE_MS);
    closeAll(closes).then(
      () => ended.resolve(false),
      (failure) => fail("closing failed", failure),
    );
  };

  onSignals(stopSignals(), onSignal);
  onSignals([DRAIN_SIGNAL], onDrainSignal);
  process.on("uncaughtException", onFault);
  process.on("unhandledRejection", onFault);
  try {
    await start(server);
    // A signal during the start has closed the parts that were open then.
    if (closing) await closeAll(closes);
  } catch (error) {
    if (closing && error instanceof StartInterrupted) {
      logger.info(error.message);
      return ended.promise;
    }
    closing = true;
    logError(logger, "could not start", error);
    await closeAll(closes).catch((failure) => logError(logger, "closing failed", failure));
    return false;
  }
  return ended.promise;
}

/** Closes the parts in reverse order. If one fails, the others are closed all the same. */
async function closeAll(closes: Close[]): Promise<void> {
  const close = closes.pop();
  if (close === undefined) return;
  try {
    await close();
  } finally {
    await closeAll(closes);
  }
}

/** Logs an error. The message of a StartError is enough for an operator; any other error is unexpected, so its stack is logged. */
function logError(logger: Logger, what: string, error: unknown): void {
  if (error instanceof StartError) {
    logger.fatal(error.message);
    return;
  }
  const text = error instanceof Error ? (error.stack ?? String(error)) : String(error);
  logger.fatal(what);
  for (const line of text.split("\n")) logger.fatal(line);
}
