/** The views of the page. nsqadmin's links work: its paths lead to the view that shows the same. */
export type ViewName =
  | "overview"
  | "topics"
  | "topic"
  | "channel"
  | "brokers"
  | "broker"
  | "clients"
  | "producers"
  | "lookups"
  | "cluster"
  | "messages"
  | "activity"
  | "counter"
  | "login"
  | "unknown";

export interface Route {
  view: ViewName;
  /** The path below the console's base, beginning with a slash, without a query. */
  path: string;
  query: URLSearchParams;
  /** The names in the path, unescaped. */
  topic: string;
  channel: string;
  broker: string;
}

const PLAIN = new Map<string, ViewName>([
  ["", "overview"],
  ["topics", "topics"],
  ["nodes", "brokers"],
  ["clients", "clients"],
  ["producers", "producers"],
  ["lookup", "lookups"],
  ["cluster", "cluster"],
  ["messages", "messages"],
  ["activity", "activity"],
  ["counter", "counter"],
  ["login", "login"],
]);

/** Finds the view of a path below the base. */
export function routeOf(path: string, query: URLSearchParams): Route {
  const parts = path.split("/").slice(1).map(unescaped);
  if (parts.at(-1) === "") parts.pop();
  const [first = "", second = "", third = ""] = parts;
  const route: Route = { view: "unknown", path, query, topic: "", channel: "", broker: "" };
  if (parts.length <= 1) return { ...route, view: PLAIN.get(first) ?? "unknown" };
  if (first === "topics" && parts.length === 2) return { ...route, view: "topic", topic: second };
  if (first === "topics" && parts.length === 3) return { ...route, view: "channel", topic: second, channel: third };
  if (first === "nodes" && parts.length === 2) return { ...route, view: "broker", broker: second };
  return route;
}

function unescaped(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export const topicPath = (topic: string) => `/topics/${encodeURIComponent(topic)}`;
export const channelPath = (topic: string, channel: string) => `${topicPath(topic)}/${encodeURIComponent(channel)}`;
export const brokerPath = (address: string) => `/nodes/${encodeURIComponent(address)}`;

/** A path with the parameters that have a value. */
export function withQuery(path: string, parameters: Record<string, string | number | undefined>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) if (value !== undefined && value !== "") query.set(name, String(value));
  const text = query.toString();
  return text === "" ? path : `${path}?${text}`;
}
