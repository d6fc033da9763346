import type { Logger } from "../base/logger.ts";
import { StartError } from "../base/start-error.ts";
import { Broker } from "../broker/broker.ts";
import { startHttp } from "../broker/http/server.ts";
import type { BrokerOptions } from "../broker/options.ts";
import type { HttpServer } from "../http/server.ts";

/** A hang-up ends the broker too, as it ends nsqd, but not without saving. */
const STOP_SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** After a fault nobody waits for a clean end: a supervisor can restart the broker, and what was acknowledged is in the log. */
const FAULT_CLOSE_MS = 10_000;

/**
 * Runs a broker as this process's whole purpose: starts it, ends it on a signal, and ends it on a fault that nothing
 * caught, since its state is then unknown. A second signal, or a second fault, ends the process on the spot with 1.
 *
 * @returns once the broker has ended; whether all went well
 */
export async function runBroker(options: BrokerOptions, log: Logger): Promise<boolean> {
  const ended = Promise.withResolvers<boolean>();
  let broker: Broker | undefined;
  let http: HttpServer | undefined;
  let closing = false;

  const close = async (): Promise<void> => {
    try {
      await http?.stop();
    } finally {
      await broker?.close();
    }
  };
  const fail = (what: string, error: unknown): void => {
    logError(log, what, error);
    ended.resolve(false);
  };
  const onSignal = (signal: NodeJS.Signals): void => {
    if (closing) {
      log.fatal(`${signal} while closing: leaving at once`);
      process.exit(1);
    }
    closing = true;
    log.info(`${signal}: closing`);
    close().then(
      () => ended.resolve(true),
      (error) => fail("closing failed", error),
    );
  };
  let faulted = false;
  const onFault = (error: unknown): void => {
    logError(log, "this is a defect of bunsq; closing", error);
    if (faulted || closing) process.exit(1);
    faulted = true;
    closing = true;
    setTimeout(() => process.exit(1), FAULT_CLOSE_MS);
    close().then(
      () => ended.resolve(false),
      (failure) => fail("closing failed", failure),
    );
  };

  for (const signal of STOP_SIGNALS) process.on(signal, onSignal);
  process.on("uncaughtException", onFault);
  process.on("unhandledRejection", onFault);
  try {
    broker = Broker.open(options, log);
    broker.listen();
    if (options.httpAddress !== "") http = startHttp(broker);
  } catch (error) {
    closing = true;
    logError(log, "could not start", error);
    await close().catch((failure) => logError(log, "closing failed", failure));
    return false;
  }
  return ended.promise;
}

/** A StartError's message says all an operator needs; anything else is unforeseen, so its stack is logged with it. */
function logError(log: Logger, what: string, error: unknown): void {
  if (error instanceof StartError) {
    log.fatal(error.message);
    return;
  }
  const text = error instanceof Error ? (error.stack ?? String(error)) : String(error);
  log.fatal(what);
  for (const line of text.split("\n")) log.fatal(line);
}
