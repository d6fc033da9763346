import type { Logger } from "../base/logger.ts";
import { StartError } from "../base/start-error.ts";

/** A hang-up ends a server too, as it ends nsqd, but not without saving. */
const STOP_SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** After a fault nobody waits for a clean end: a supervisor can start anew, and what was acknowledged is in the log. */
const FAULT_CLOSE_MS = 10_000;

/** Closes one thing that was opened. */
export type Close = () => Promise<void> | void;

/**
 * Runs a server as this process's whole purpose: starts it, ends it on a signal, and ends it on a fault that nothing
 * caught, since its state is then unknown. A second signal, or a second fault, ends the process on the spot with 1.
 *
 * @param start opens one thing after the other, and tells how each is closed; they are closed the other way round
 * @returns once all is closed; whether all went well
 */
export async function runProcess(logger: Logger, start: (opened: (close: Close) => void) => void | Promise<void>): Promise<boolean> {
  const ended = Promise.withResolvers<boolean>();
  const closes: Close[] = [];
  let closing = false;

  const fail = (what: string, error: unknown): void => {
    logError(logger, what, error);
    ended.resolve(false);
  };
  const onSignal = (signal: NodeJS.Signals): void => {
    if (closing) {
      logger.fatal(`${signal} while closing: leaving at once`);
      process.exit(1);
    }
    closing = true;
    logger.info(`${signal}: closing`);
    closeAll(closes).then(
      () => ended.resolve(true),
      (error) => fail("closing failed", error),
    );
  };
  let faulted = false;
  const onFault = (error: unknown): void => {
    logError(logger, "this is a defect of bunsq; closing", error);
    if (faulted || closing) process.exit(1);
    faulted = true;
    closing = true;
    setTimeout(() => process.exit(1), FAULT_CLOSE_MS);
    closeAll(closes).then(
      () => ended.resolve(false),
      (failure) => fail("closing failed", failure),
    );
  };

  for (const signal of STOP_SIGNALS) process.on(signal, onSignal);
  process.on("uncaughtException", onFault);
  process.on("unhandledRejection", onFault);
  try {
    await start((close) => closes.push(close));
    // A signal that came meanwhile closed what was open then.
    if (closing) await closeAll(closes);
  } catch (error) {
    closing = true;
    logError(logger, "could not start", error);
    await closeAll(closes).catch((failure) => logError(logger, "closing failed", failure));
    return false;
  }
  return ended.promise;
}

/** Closes the last opened first; one that fails does not keep the others open. */
async function closeAll(closes: Close[]): Promise<void> {
  const close = closes.pop();
  if (close === undefined) return;
  try {
    await close();
  } finally {
    await closeAll(closes);
  }
}

/** A StartError's message says all an operator needs; anything else is unforeseen, so its stack is logged with it. */
function logError(logger: Logger, what: string, error: unknown): void {
  if (error instanceof StartError) {
    logger.fatal(error.message);
    return;
  }
  const text = error instanceof Error ? (error.stack ?? String(error)) : String(error);
  logger.fatal(what);
  for (const line of text.split("\n")) logger.fatal(line);
}
