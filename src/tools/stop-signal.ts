import { onSignals } from "../base/signals.ts";

/** Resolves at the first of these signals. A second one ends the process at once, with 1. */
export function stopSignal(signals: readonly NodeJS.Signals[] = ["SIGINT", "SIGTERM"]): Promise<undefined> {
  return new Promise((resolve) => {
    let isStopping = false;
    onSignals(signals, () => {
      if (isStopping) process.exit(1);
      isStopping = true;
      resolve(undefined);
    });
  });
}
