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

/** A path and its endpoints. A `/:name` stands for one part of the path, a parameter. There may be several. */
export type RouteEntry<Call> = readonly [path: string, route: Route<Call>];

/** In the place of a parameter. */
const ANY = undefined;
const NONE: readonly string[] = [];

/** A route with parameters. */
class OpenRoute<Call> {
  /** The parts of its path, with ANY for a parameter. */
  private readonly parts: readonly (string | typeof ANY)[];
  /** The path in front of the last part, with the slash, if that is a parameter; else empty. */
  readonly prefix: string;

  constructor(
    path: string,
    readonly route: Route<Call>,
  ) {
    this.parts = path.split("/").map((part) => (part.startsWith(":") ? ANY : part));
    this.prefix = this.parts.at(-1) === ANY ? path.slice(0, path.lastIndexOf("/") + 1) : "";
  }

  /** The values of the parameters in a path; undefined for the path of another route. */
  parametersIn(path: string): string[] | undefined {
    const given = path.split("/");
    if (given.length !== this.parts.length) return undefined;
    const values: string[] = [];
    for (const [at, part] of given.entries()) {
      const expected = this.parts[at];
      if (expected === ANY ? part === "" : part !== expected) return undefined;
      if (expected === ANY) values.push(part);
    }
    return values;
  }

  /** A path of this route that differs only in case; parameters keep theirs. Undefined if none does. */
  inItsCase(path: string): string | undefined {
    const given = path.split("/");
    if (given.length !== this.parts.length) return undefined;
    const cased = given.map((part, at) => this.parts[at] ?? part);
    return cased.some((part, at) => (part === "" ? at > 0 : part.toLowerCase() !== given[at]?.toLowerCase())) ? undefined : cased.join("/");
  }
}

/**
 * Finds the endpoint of a request, or the right answer to a request without one, as the router of NSQ's servers does
 * (https://pkg.go.dev/github.com/julienschmidt/httprouter#Router). Paths are unescaped.
 */
export class Router<Call> {
  private readonly routes = new Map<string, Route<Call>>();
  private readonly open: OpenRoute<Call>[] = [];
  private readonly methods = new Set<string>();

  /** @param rest answers a GET of any other path, if it wants to; undefined: such a path is unknown */
  constructor(
    entries: readonly RouteEntry<Call>[],
    private readonly rest?: (path: string) => Endpoint<Call> | undefined,
  ) {
    for (const [path, route] of entries) {
      if (path.includes("/:")) this.open.push(new OpenRoute(path, route));
      else this.routes.set(path, route);
      for (const method of route.keys()) this.methods.add(method);
    }
  }

  findEndpoint(method: string, path: string): Endpoint<Call> | undefined {
    return this.routeOf(path)?.get(method);
  }

  /** The endpoint of a request whose path no route has, corrected or not. The path is its parameter. */
  findRest(method: string, path: string): Endpoint<Call> | undefined {
    return method === "GET" ? this.rest?.(path) : undefined;
  }

  /** The values of the parameters in a path, in their order; none for a route without parameters. */
  parametersOf(path: string): readonly string[] {
    if (this.routes.has(path)) return NONE;
    for (const route of this.open) {
      const values = route.parametersIn(path);
      if (values !== undefined) return values;
    }
    return NONE;
  }

  /**
   * Corrects an unknown path: a slash too many or too few at its end, wrong case, `//`, `.` and `..`.
   *
   * @returns undefined if no route of the request's method has the corrected path
   */
  correctedPath(method: string, path: string): string | undefined {
    if (path === "/" || path === "" || !this.methods.has(method)) return undefined;
    const shorter = path.endsWith("/") ? path.slice(0, -1) : undefined;
    if (shorter !== undefined && (this.findEndpoint(method, shorter) !== undefined || this.isPrefix(shorter))) return shorter;
    if (this.findEndpoint(method, `${path}/`) !== undefined) return `${path}/`;
    const clean = cleanPath(path);
    const trimmed = clean.length > 1 && clean.endsWith("/") ? clean.slice(0, -1) : clean;
    const lower = trimmed.toLowerCase();
    if (this.routes.get(lower)?.has(method)) return lower;
    for (const { route, cased } of this.open.map((open) => ({ route: open.route, cased: open.inItsCase(trimmed) }))) {
      if (cased !== undefined && route.has(method)) return cased;
    }
    return undefined;
  }

  /** The value of an Allow header: the methods of a path; undefined for an unknown path. */
  allowedMethods(path: string): string | undefined {
    const route = this.routeOf(path);
    if (route === undefined) return undefined;
    return [...route.keys(), "OPTIONS"].sort().join(", ");
  }

  private routeOf(path: string): Route<Call> | undefined {
    const route = this.routes.get(path);
    if (route !== undefined) return route;
    return this.open.find((open) => open.parametersIn(path) !== undefined)?.route;
  }

  private isPrefix(path: string): boolean {
    return this.open.some((open) => open.prefix === path);
  }
}

export function get<Call>(handle: Handler<Call>): Route<Call> {
  return new Map([["GET", { handle, logged: true }]]);
}

/** Answers GET, and HEAD without a body. */
export function getOrHead<Call>(handle: Handler<Call>): Route<Call> {
  return new Map([...get(handle), ["HEAD", { handle, logged: true }]]);
}

export function post<Call>(handle: Handler<Call>, logged = true): Route<Call> {
  return new Map([["POST", { handle, logged }]]);
}

export function put<Call>(handle: Handler<Call>): Route<Call> {
  return new Map([["PUT", { handle, logged: true }]]);
}

export function remove<Call>(handle: Handler<Call>): Route<Call> {
  return new Map([["DELETE", { handle, logged: true }]]);
}

function cleanPath(path: string): string {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `/${parts.join("/")}${path.endsWith("/") && parts.length > 0 ? "/" : ""}`;
}
