import type { ComponentChildren } from "preact";

/** Figures of a thing, each with its name, in one row. */
export function Stats({ children }: { children: ComponentChildren }) {
  return <dl class="stats">{children}</dl>;
}

interface StatProps {
  label: string;
  children: ComponentChildren;
  /** What is said below the figure. */
  note?: ComponentChildren;
  tone?: "bad" | "warn" | "ok" | "";
}

export function Stat({ label, children, note, tone = "" }: StatProps) {
  return (
    <div class={`stat ${tone}`}>
      <dt>{label}</dt>
      <dd>
        <span class="value">{children}</span>
        {note !== undefined && <span class="note">{note}</span>}
      </dd>
    </div>
  );
}
