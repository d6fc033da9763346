import { useState } from "preact/hooks";

/** The rows of a table that is here as a whole, sorted here. @param initial as in the API: a name, with `-` in front if it goes downwards */
export function useSortedRows<Row>(rows: readonly Row[], initial: string) {
  const [sort, setSort] = useState(initial);
  const isDown = sort.startsWith("-");
  const sorted = [...rows].sort(comparing(isDown ? sort.slice(1) : sort));
  if (isDown) sorted.reverse();
  return { rows: sorted, sort, onSort: setSort };
}

/** What is unknown counts as less than everything. */
function comparing(name: string): (a: unknown, b: unknown) => number {
  const of = (row: unknown): unknown => (row as Record<string, unknown>)[name];
  return (one, other) => {
    const [a, b] = [of(one), of(other)];
    if (typeof a === "string" && typeof b === "string") return a.localeCompare(b, "en", { numeric: true });
    return (typeof a === "number" ? a : -1) - (typeof b === "number" ? b : -1);
  };
}
