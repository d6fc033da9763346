import { useEffect, useRef, useState } from "preact/hooks";

/** While somebody types on, nothing is asked for. */
const SETTLE_MS = 200;

interface FilterInputProps {
  label: string;
  value: string;
  onChange(value: string): void;
}

/** Where the text of a filter is typed. The key `/` brings the first one of the page into focus. */
export function FilterInput({ label, value, onChange }: FilterInputProps) {
  const [text, setText] = useState(value);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const told = useRef(value);
  // What was told comes back as the value, when more may have been typed.
  useEffect(() => {
    if (value !== told.current) setText(value);
    told.current = value;
  }, [value]);
  useEffect(() => () => clearTimeout(timer.current), []);
  return (
    <input
      type="search"
      class="filter"
      aria-label={label}
      placeholder={label}
      value={text}
      onInput={(event) => {
        const next = event.currentTarget.value;
        setText(next);
        clearTimeout(timer.current);
        timer.current = setTimeout(() => {
          told.current = next;
          onChange(next);
        }, SETTLE_MS);
      }}
    />
  );
}
