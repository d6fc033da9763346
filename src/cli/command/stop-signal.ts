import { constants } from "node:os";
import { onSignals } from "../../base/signals.ts";

/** The exit code of a program that a signal has ended, as shells see it. */
const EXIT_SIGNAL = 128;

/**
 * A signal that aborts when the process is asked to end (Ctrl-C), so that a command can finish what it has begun. The second time
 * the process ends at once.
 */
export function stopSignal(): AbortSignal {
  const controller = new AbortController();
  const onSignal = (signal: NodeJS.Signals) => {
    if (controller.signal.aborted) process.exit(EXIT_SIGNAL + constants.signals[signal]);
    controller.abort();
  };
  onSignals(["SIGINT", "SIGTERM"], onSignal);
  return controller.signal;
}
