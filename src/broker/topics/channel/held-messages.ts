import type { Selection } from "./selective/selection.ts";
import type { VarintReader, VarintWriter } from "./varints.ts";
import { DEFERRED, type Window } from "./window.ts";

/** The messages of a channel that chooses, which are deferred here and not in the deferred store, by ascending sequence. */
export function heldIn(window: Window, selection: Selection | undefined): [sequence: number, dueMs: number][] {
  const held: [sequence: number, dueMs: number][] = [];
  for (const { sequence, state, deadlineMs } of selection?.left.values() ?? []) if (state === DEFERRED) held.push([sequence, deadlineMs]);
  const { state, deadlineMs, mask } = window;
  for (let sequence = window.floor; sequence < window.cursor; sequence++) {
    if (state[sequence & mask] === DEFERRED) held.push([sequence, deadlineMs[sequence & mask]]);
  }
  return held;
}

/** Writes the held messages, if there are any. @param from none of them has a lower sequence */
export function writeHeld(writer: VarintWriter, held: readonly (readonly [number, number])[], from: number): void {
  if (held.length === 0) return;
  writer.varint(held.length);
  let last = from;
  for (const [sequence, dueMs] of held) {
    writer.varint(sequence - last);
    writer.varint(Math.max(0, Math.ceil(dueMs)));
    last = sequence;
  }
}

export function readHeld(reader: VarintReader, from: number): [sequence: number, dueMs: number][] {
  const held: [sequence: number, dueMs: number][] = [];
  let last = from;
  for (let left = reader.varint(); left > 0; left--) {
    last += reader.varint();
    held.push([last, reader.varint()]);
  }
  return held;
}
