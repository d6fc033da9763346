import { effect, type Signal, signal } from "@preact/signals";

/** What the browser keeps for this person. A browser that keeps nothing, as in some private windows, begins with the defaults. */
function kept<T extends string>(name: string, values: readonly T[], byDefault: T): Signal<T> {
  const key = `bunsq.${name}`;
  const found = values.find((value) => value === read(key));
  const preference = signal<T>(found ?? byDefault);
  effect(() => {
    try {
      window.localStorage.setItem(key, preference.value);
    } catch {
      // It holds until the page is closed.
    }
  });
  return preference;
}

function read(key: string): string | null {
  try {
    return window.localStorage.getItem(key);
  } catch {
    return null;
  }
}

export const THEMES = ["system", "light", "dark"] as const;
export const theme = kept("theme", THEMES, "system");

/** Whether single keys do something: assistive technology and dictation may press them. */
export const shortcuts = kept("shortcuts", ["on", "off"], "on");

const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
const systemIsDark = signal(prefersDark.matches);
prefersDark.addEventListener("change", ({ matches }) => {
  systemIsDark.value = matches;
});

/** Whether dark colours are shown. */
export function isDark(): boolean {
  return theme.value === "dark" || (theme.value === "system" && systemIsDark.value);
}

/** Keeps the attribute that the style sheet goes by. */
export function applyTheme(): void {
  effect(() => {
    document.documentElement.dataset.theme = isDark() ? "dark" : "light";
  });
}
