import { signal } from "@preact/signals";
import { type Route, routeOf } from "./routes.ts";

/** The path of `<base href>`, without the slash at its end. */
function basePath(): string {
  return new URL(document.baseURI).pathname.replace(/\/$/, "");
}

function current(): Route {
  const { pathname, search } = window.location;
  const base = basePath();
  const path = pathname.startsWith(base) ? pathname.slice(base.length) : pathname;
  return routeOf(path === "" ? "/" : path, new URLSearchParams(search));
}

/** Where the page is. */
export const route = signal<Route>({ view: "overview", path: "/", query: new URLSearchParams(), topic: "", channel: "", broker: "" });

/** The address of a path below the base, for links. */
export function href(path: string): string {
  return basePath() + path;
}

export function go(path: string): void {
  window.history.pushState(null, "", href(path));
  route.value = current();
  window.scrollTo(0, 0);
}

/** Changes parameters of the current address without a step in the history: sorting and filters. An empty value removes one. */
export function setQuery(parameters: Record<string, string | undefined>): void {
  const query = new URLSearchParams(route.value.query);
  for (const [name, value] of Object.entries(parameters)) {
    if (value === undefined || value === "") query.delete(name);
    else query.set(name, value);
  }
  const text = query.toString();
  window.history.replaceState(null, "", href(route.value.path) + (text === "" ? "" : `?${text}`));
  route.value = current();
}

/** Follows the browser's buttons, and links to the page's own paths. */
export function followLinks(): void {
  route.value = current();
  window.addEventListener("popstate", () => {
    route.value = current();
  });
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    if (link === null || link.target !== "" || link.origin !== window.location.origin || link.hasAttribute("download")) return;
    const base = basePath();
    if (!link.pathname.startsWith(`${base}/`) || link.getAttribute("href")?.startsWith("#")) return;
    event.preventDefault();
    go(link.pathname.slice(base.length) + link.search);
  });
}
