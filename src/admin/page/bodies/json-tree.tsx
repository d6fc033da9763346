import { useState } from "preact/hooks";

/** Members that are shown at once: a body may have a million. */
const SHOWN = 100;
/** Down to this level everything is open at first. */
const OPEN_LEVELS = 2;
/** A deeper value is shown as text: the document's own depth has a bound. */
const MAX_LEVEL = 64;

/** A value as a tree that opens and closes. */
export function JsonTree({ value }: { value: unknown }) {
  return (
    <div class="json-tree">
      <Node name={undefined} value={value} level={0} />
    </div>
  );
}

interface NodeProps {
  name: string | undefined;
  value: unknown;
  level: number;
}

function Node({ name, value, level }: NodeProps) {
  const [isOpen, setOpen] = useState(level < OPEN_LEVELS);
  const [shown, setShown] = useState(SHOWN);
  const label = name === undefined ? null : <span class="json-name">{name}: </span>;
  const entries = level < MAX_LEVEL ? entriesOf(value) : undefined;
  if (entries === undefined) {
    return (
      <div class="json-leaf">
        {label}
        <span class={`json-${typeof value}`}>{leafText(value)}</span>
      </div>
    );
  }
  return (
    <details open={isOpen} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        {label}
        <span class="muted">{Array.isArray(value) ? `[${entries.length}]` : `{${entries.length}}`}</span>
      </summary>
      {isOpen && (
        <div class="json-members">
          {entries.slice(0, shown).map(([key, member]) => (
            <Node key={key} name={key} value={member} level={level + 1} />
          ))}
          {entries.length > shown && (
            <button type="button" class="small" onClick={() => setShown(shown + SHOWN * 10)}>
              {entries.length - shown} more
            </button>
          )}
        </div>
      )}
    </details>
  );
}

/** The members of an object, array or map; undefined for any other value. */
function entriesOf(value: unknown): [string, unknown][] | undefined {
  if (typeof value !== "object" || value === null || value instanceof Uint8Array || value instanceof Date) return undefined;
  return Object.entries(value);
}

function leafText(value: unknown): string {
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (value instanceof Date) return value.toISOString();
  if (typeof value === "bigint") return value.toString();
  return JSON.stringify(value) ?? String(value);
}
