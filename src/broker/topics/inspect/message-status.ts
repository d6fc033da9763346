import type { StoredMessage } from "../../storage/deferred/stored-message.ts";
import type { Range } from "../channel/progress.ts";
import type { LeftBehind, LeftMessage } from "../channel/selective/left-behind.ts";
import { DEFERRED, DONE, IN_FLIGHT, READY, type Window } from "../channel/window.ts";

/** What is read of a channel to tell the status of its messages. */
export interface ChannelView {
  readonly inFlight: {
    readonly window: Window;
    /** Messages that left the window for the deferred store and are due or in flight, by sequence. */
    readonly detached: ReadonlyMap<number, StoredMessage>;
    /** In a channel that chooses its messages: unfinished ones below the window. */
    readonly selection?: { readonly left: Pick<LeftBehind, "get" | "values"> } | undefined;
  };
  readonly backlog: {
    /** Finished ranges at or above the window's cursor, ascending. */
    readonly skips: readonly Readonly<Range>[];
  };
}

/** State of a message in a channel. `waiting`: it was not delivered yet. `finished`: or it is in the deferred store, and not due. */
export type MessageState = "waiting" | "in_flight" | "requeued" | "deferred" | "finished";

/** Status of one message in one channel. */
export interface MessageStatus {
  sequence: number;
  state: MessageState;
  /** Deliveries so far. */
  attempts: number;
  /** When it was last delivered, ms; 0: not since the broker started. */
  deliveredAtMs: number;
  /** When it times out (in flight) or falls due (deferred), ms. */
  deadlineMs: number;
  /** Id of the consumer that has it in flight. */
  owner: number;
  /** Position of its record in the log; -1 if that is not known. */
  position: number;
  /** The message, if it left the window for the deferred store. */
  stored: StoredMessage | undefined;
}

const STATES = new Map<number, MessageState>([
  [IN_FLIGHT, "in_flight"],
  [READY, "requeued"],
  [DEFERRED, "deferred"],
]);

/** The status of a message, without a search in the deferred store. */
export function messageStatus(channel: ChannelView, sequence: number): MessageStatus {
  const { window, detached } = channel.inFlight;
  const stored = detached.get(sequence);
  if (stored !== undefined) return ofStored(stored);
  const left = channel.inFlight.selection?.left.get(sequence);
  if (left !== undefined) return ofLeft(left);
  if (window.has(sequence) && STATES.has(window.state[sequence & window.mask])) return inWindow(window, sequence);
  const passed = sequence < window.cursor || channel.backlog.skips.some(({ from, to }) => sequence >= from && sequence < to);
  return untouched(sequence, passed ? "finished" : "waiting");
}

/** The status of up to `limit` messages in a state, from sequence `from` on, ascending. Not for `waiting` and `finished`. */
export function messagesIn(channel: ChannelView, state: MessageState, from: number, limit: number): MessageStatus[] {
  const { window } = channel.inFlight;
  const detached = [...channel.inFlight.detached.values()].filter(
    (message) => message.sequence >= from && STATES.get(message.state) === state,
  );
  detached.sort((a, b) => a.sequence - b.sequence);
  const found: MessageStatus[] = [];
  for (const message of channel.inFlight.selection?.left.values() ?? []) {
    if (found.length < limit && message.sequence >= from && STATES.get(message.state) === state) found.push(ofLeft(message));
  }
  let next = 0;
  for (let sequence = Math.max(from, window.floor); sequence < window.cursor && found.length < limit; sequence++) {
    while (next < detached.length && detached[next].sequence < sequence && found.length < limit) found.push(ofStored(detached[next++]));
    const i = window.state[sequence & window.mask];
    if (i !== DONE && STATES.get(i) === state && found.length < limit) found.push(inWindow(window, sequence));
  }
  while (next < detached.length && found.length < limit) found.push(ofStored(detached[next++]));
  return found;
}

/** The ranges of [from, to) that the channel is still to deliver for the first time, ascending. */
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

function ofLeft({ sequence, state, attempts, deliveredAtMs, deadlineMs, owner, position }: LeftMessage): MessageStatus {
  return {
    ...{ sequence, state: STATES.get(state) ?? "finished", attempts, deliveredAtMs, deadlineMs, owner, position },
    stored: undefined,
  };
}

function untouched(sequence: number, state: MessageState): MessageStatus {
  return { sequence, state, attempts: 0, deliveredAtMs: 0, deadlineMs: 0, owner: 0, position: -1, stored: undefined };
}
