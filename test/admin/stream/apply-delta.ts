import type { Delta } from "../../../src/admin/console-api.ts";

type View = Record<string, unknown>;

function keyOf(row: View): string {
  const { key, address, topic, channel } = row;
  return String(key ?? address ?? (channel === undefined ? topic : `${topic} ${channel}`));
}

/** Applies a delta to a view as console-api.ts says: rows by their keys, everything else by its name. */
export function applyDelta(view: View, { rows, order, set }: Delta): View {
  const after: View = { ...view, ...set };
  if (rows === undefined && order === undefined) return after;
  const byKey = new Map((view.rows as View[]).map((row) => [keyOf(row), row]));
  for (const row of (rows ?? []) as View[]) byKey.set(keyOf(row), row);
  after.rows = (order ?? (view.rows as View[]).map(keyOf)).map((key) => byKey.get(key));
  return after;
}
