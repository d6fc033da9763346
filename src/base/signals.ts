/**
 * A signal that comes again this soon is the same one: at Ctrl-C a terminal signals the whole process group, and npm in that group sends
 * the signal on to its child, which has got it already. ms.
 */
const SAME_SIGNAL_MS = 500;

/** Calls a function for each of these signals, once for one that comes twice by way of a parent. */
export function onSignals(signals: readonly NodeJS.Signals[], received: (signal: NodeJS.Signals) => void): void {
  let last: NodeJS.Signals | undefined;
  let lastMs = 0;
  const onSignal = (signal: NodeJS.Signals): void => {
    const nowMs = performance.now();
    if (signal === last && nowMs - lastMs < SAME_SIGNAL_MS) return;
    last = signal;
    lastMs = nowMs;
    received(signal);
  };
  for (const signal of signals) process.on(signal, onSignal);
}
