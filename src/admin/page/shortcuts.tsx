import { useEffect } from "preact/hooks";
import { Dialog, showDialog } from "./dialogs/dialog.tsx";
import { go } from "./state/location.ts";
import { shortcuts } from "./state/preferences.ts";

/** The second key of `g …`. */
const PLACES: Record<string, { path: string; text: string }> = {
  o: { path: "/", text: "Overview" },
  t: { path: "/topics", text: "Topics" },
  b: { path: "/nodes", text: "Brokers" },
  c: { path: "/clients", text: "Clients" },
  p: { path: "/producers", text: "Producers" },
  l: { path: "/lookup", text: "Lookups" },
  m: { path: "/messages", text: "Messages" },
  a: { path: "/activity", text: "Activity" },
};

/** The second key has to come within this. */
const SECOND_KEY_MS = 1500;

/** Listens to the keys that work everywhere but in fields and dialogs. */
export function useShortcuts(): void {
  useEffect(() => {
    let firstKeyAt = Number.NEGATIVE_INFINITY;
    const onKey = (event: KeyboardEvent) => {
      const { key, target } = event;
      if (shortcuts.value === "off" || event.ctrlKey || event.metaKey || event.altKey) return;
      if (target instanceof Element && target.closest("input, textarea, select, dialog, [contenteditable]") !== null) return;
      const place = event.timeStamp - firstKeyAt < SECOND_KEY_MS ? PLACES[key] : undefined;
      firstKeyAt = key === "g" ? event.timeStamp : Number.NEGATIVE_INFINITY;
      if (place !== undefined) go(place.path);
      else if (key === "/") {
        event.preventDefault();
        document.querySelector<HTMLElement>("main .filter")?.focus();
      } else if (key === "?") showShortcuts();
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, []);
}

export function showShortcuts(): void {
  showDialog(<ShortcutsDialog />);
}

function ShortcutsDialog() {
  return (
    <Dialog title="Keyboard shortcuts">
      <dl class="pairs">
        <dt>
          <kbd>/</kbd>
        </dt>
        <dd>to the filter</dd>
        {Object.entries(PLACES).map(([key, { text }]) => (
          <>
            <dt>
              <kbd>g</kbd> <kbd>{key}</kbd>
            </dt>
            <dd>{text}</dd>
          </>
        ))}
        <dt>
          <kbd>↑</kbd> <kbd>↓</kbd>
        </dt>
        <dd>from row to row, once a row has the focus</dd>
        <dt>
          <kbd>Esc</kbd>
        </dt>
        <dd>closes a dialog</dd>
        <dt>
          <kbd>?</kbd>
        </dt>
        <dd>this list</dd>
      </dl>
      <label class="check">
        <input
          type="checkbox"
          checked={shortcuts.value === "on"}
          onChange={(event) => (shortcuts.value = event.currentTarget.checked ? "on" : "off")}
        />
        Single keys do something
      </label>
    </Dialog>
  );
}
