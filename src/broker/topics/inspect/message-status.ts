import type { StoredMessage } from "../../storage/deferred/stored-message.ts";
import type { Range } from "../channel/progress.ts";
import { DEFERRED, DONE, IN_FLIGHT, READY, type Window } from "../channel/window.ts";

/** A channel as it is looked at: nothing of it is changed from here. */
export interface ChannelView {
  readonly inFlight: {
    readonly window: Window;
    /** Messages of the deferred store that are in memory, by sequence. */
    readonly detached: ReadonlyMap<number, StoredMessage>;
  };
  readonly backlog: {
    /** Finished ranges at or above the window's cursor, ascending. */
    readonly skips: readonly Readonly<Range>[];
  };
}

/** How a message stands in a channel. `waiting`: for its first delivery. `finished`: or moved to the deferred store for long. */
export type MessageState = "waiting" | "in_flight" | "requeued" | "deferred" | "finished";

/** One message in one channel, as somebody who looks is told of it. */
export interface MessageStatus {
  sequence: number;
  state: MessageState;
  /** Deliveries so far. */
  attempts: number;
  /** When it was delivered last, ms; 0: not since the broker started. */
  deliveredAtMs: number;
  /** When it times out (in flight) or falls due (deferred), ms. */
  deadlineMs: number;
  /** Id of the connection that has it in flight. */
  owner: number;
  /** Of its record in the log; -1 where it is not known. */
  position: number;
  /** Where it stands in the deferred store. */
  stored: StoredMessage | undefined;
}

const STATES = new Map<number, MessageState>([
  [IN_FLIGHT, "in_flight"],
  [READY, "requeued"],
  [DEFERRED, "deferred"],
]);

/** How a message stands, as far as the channel knows without a look into the deferred store's files. */
export function messageStatus(channel: ChannelView, sequence: number): MessageStatus {
  const { window, detached } = channel.inFlight;
  const stored = detached.get(sequence);
  if (stored !== undefined) return ofStored(stored);
  if (window.has(sequence) && STATES.has(window.state[sequence & window.mask])) return inWindow(window, sequence);
  const passed = sequence < window.cursor || channel.backlog.skips.some(({ from, to }) => sequence >= from && sequence < to);
  return untouched(sequence, passed ? "finished" : "waiting");
}

/** The messages of a state that were delivered before, by sequence: those from `from` on, up to `limit`. */
export function messagesIn(channel: ChannelView, state: MessageState, from: number, limit: number): MessageStatus[] {
  const { window } = channel.inFlight;
  const detached = [...channel.inFlight.detached.values()].filter(
    (message) => message.sequence >= from && STATES.get(message.state) === state,
  );
  detached.sort((a, b) => a.sequence - b.sequence);
  const found: MessageStatus[] = [];
  let next = 0;
  for (let sequence = Math.max(from, window.floor); sequence < window.cursor && found.length < limit; sequence++) {
    while (next < detached.length && detached[next].sequence < sequence && found.length < limit) found.push(ofStored(detached[next++]));
    const i = window.state[sequence & window.mask];
    if (i !== DONE && STATES.get(i) === state && found.length < limit) found.push(inWindow(window, sequence));
  }
  while (next < detached.length && found.length < limit) found.push(ofStored(detached[next++]));
  return found;
}

/** Sequences in [from, to) that the channel has not looked at and is not to leave out: ranges, ascending. */
export function freshRanges(channel: ChannelView, from: number, to: number): { from: number; to: number }[] {
  const ranges: { from: number; to: number }[] = [];
  let start = Math.max(from, channel.inFlight.window.cursor);
  for (const skip of channel.backlog.skips) {
    if (skip.to <= start) continue;
    if (skip.from >= to) break;
    if (skip.from > start) ranges.push({ from: start, to: skip.from });
    start = Math.max(start, skip.to);
  }
  if (start < to) ranges.push({ from: start, to });
  return ranges;
}

function inWindow(window: Window, sequence: number): MessageStatus {
  const i = sequence & window.mask;
  return {
    sequence,
    state: STATES.get(window.state[i]) ?? "finished",
    attempts: window.attempts[i],
    deliveredAtMs: window.deliveredAtMs[i],
    deadlineMs: window.deadlineMs[i],
    owner: window.owner[i],
    position: window.position[i],
    stored: undefined,
  };
}

function ofStored(message: StoredMessage): MessageStatus {
  const { sequence, state, attempts, deliveredAtMs, deadlineMs, owner } = message;
  return {
    sequence,
    state: STATES.get(state) ?? "finished",
    attempts,
    deliveredAtMs,
    deadlineMs,
    owner,
    position: -1,
    stored: message,
  };
}

function untouched(sequence: number, state: MessageState): MessageStatus {
  return { sequence, state, attempts: 0, deliveredAtMs: 0, deadlineMs: 0, owner: 0, position: -1, stored: undefined };
}
