/** Answers one call of an HTTP API, or throws a Refusal. It is named after the call. */
export type Handler<Call> = (call: Call) => Response | Promise<Response>;

/** The handler of a call. */
export interface Endpoint<Call> {
  handle: Handler<Call>;
  /** Whether each call is logged. */
  logged: boolean;
}

/** The endpoints of a path, by method. */
export type Route<Call> = Map<string, Endpoint<Call>>;

/** A path and its endpoints. A `/:name` at the end of the path stands for one more part, the parameter. */
export type RouteEntry<Call> = readonly [path: string, route: Route<Call>];

/** A route whose last part is a parameter. */
interface OpenRoute<Call> {
  /** The path in front of the parameter, with the slash. */
  prefix: string;
  route: Route<Call>;
}

/**
 * Finds the endpoint of a request, or the right answer to a request without one, as the router of NSQ's servers does
 * (https://pkg.go.dev/github.com/julienschmidt/httprouter#Router). Paths are unescaped.
 */
export class Router<Call> {
  private readonly routes = new Map<string, Route<Call>>();
  /** At most one, because no API of NSQ has more. */
  private readonly open: OpenRoute<Call> | undefined;

  constructor(entries: readonly RouteEntry<Call>[]) {
    for (const [path, route] of entries) {
      const colon = path.indexOf("/:");
      if (colon < 0) this.routes.set(path, route);
      else this.open = { prefix: path.slice(0, colon + 1), route };
    }
  }

  findEndpoint(method: string, path: string): Endpoint<Call> | undefined {
    return this.routeOf(path)?.get(method);
  }

  /** The value of the parameter in a path; empty for a route without a parameter. */
  parameterOf(path: string): string {
    const { open } = this;
    return open !== undefined && path.startsWith(open.prefix) ? path.slice(open.prefix.length) : "";
  }

  /**
   * Corrects an unknown path: a slash too many or too few at its end, wrong case, `//`, `.` and `..`.
   *
   * @returns undefined if no route of the request's method has the corrected path
   */
  correctedPath(method: string, path: string): string | undefined {
    if (path === "/" || path === "" || (method !== "GET" && method !== "POST" && method !== "PUT")) return undefined;
    const prefix = this.open?.prefix;
    const shorter = path.endsWith("/") ? path.slice(0, -1) : undefined;
    if (shorter !== undefined && (this.findEndpoint(method, shorter) !== undefined || shorter === prefix)) return shorter;
    if (this.findEndpoint(method, `${path}/`) !== undefined) return `${path}/`;
    const clean = cleanPath(path);
    const trimmed = clean.length > 1 && clean.endsWith("/") ? clean.slice(0, -1) : clean;
    const lower = trimmed.toLowerCase();
    // A parameter keeps its case.
    const cased = prefix !== undefined && lower.startsWith(prefix) ? prefix + trimmed.slice(prefix.length) : lower;
    return this.findEndpoint(method, cased) === undefined ? undefined : cased;
  }

  /** The value of an Allow header: the methods of a path; undefined for an unknown path. */
  allowedMethods(path: string): string | undefined {
    const route = this.routeOf(path);
    if (route === undefined) return undefined;
    return [...route.keys(), "OPTIONS"].sort().join(", ");
  }

  private routeOf(path: string): Route<Call> | undefined {
    const route = this.routes.get(path);
    if (route !== undefined || this.open === undefined) return route;
    const { prefix } = this.open;
    return path.length > prefix.length && path.startsWith(prefix) && !path.includes("/", prefix.length) ? this.open.route : undefined;
  }
}

export function get<Call>(handle: Handler<Call>): Route<Call> {
  return new Map([["GET", { handle, logged: true }]]);
}

export function post<Call>(handle: Handler<Call>, logged = true): Route<Call> {
  return new Map([["POST", { handle, logged }]]);
}

export function put<Call>(handle: Handler<Call>): Route<Call> {
  return new Map([["PUT", { handle, logged: true }]]);
}

function cleanPath(path: string): string {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `/${parts.join("/")}${path.endsWith("/") && parts.length > 0 ? "/" : ""}`;
}
