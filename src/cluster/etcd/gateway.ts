import { EtcdError, type EtcdOutcome } from "./etcd-error.ts";
import { asObject, type Json } from "./gateway-json.ts";

/** Where etcd is, and as whom it is asked. */
export interface EtcdOptions {
  /** `http://host:port` or `https://host:port` of each member; at least one. */
  readonly endpoints: readonly string[];
  /** PEM texts for `https`. Without `ca`, the authorities of the system are trusted. */
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string };
  readonly user?: { readonly name: string; readonly password: string };
  /** How long a call may take that gives no limit of its own. */
  readonly callLimitMs: number;
  /** A watch that tells nothing for so long is opened anew, as firewalls forget connections without traffic. Default: 30 s. */
  readonly watchQuietMs?: number;
}

const WATCH_QUIET_MS = 30_000;

/** A read or a call whose repetition changes nothing may be tried again. A write may not: it is made once. */
export type CallKind = "repeatable" | "write";

/** What Bun's fetch() says when no connection was made, so that nothing was sent. */
const NOT_SENT = new Set(["ECONNREFUSED", "ENOTFOUND", "EHOSTUNREACH", "ENETUNREACH", "FailedToOpenSocket", "ConnectionRefused"]);

/** gRPC's codes for calls that etcd refused before it did anything. */
const INVALID_ARGUMENT = 3;
const NOT_FOUND = 5;
const OUT_OF_RANGE = 11;
const UNAUTHENTICATED = 16;
const REFUSALS = new Set([INVALID_ARGUMENT, NOT_FOUND, 6, 7, 8, 9, OUT_OF_RANGE, 12, UNAUTHENTICATED]);

/** What etcd says of a token that it does not take any more. */
const OLD_TOKEN = /invalid auth token|revision of auth store is old|user name is empty/;
const NO_AUTH = "authentication is not enabled";

/** An answer of one endpoint, or why there is none. */
type Attempt = Json | EtcdError;

/**
 * etcd's JSON gateway over several endpoints. One of them is asked for everything, until it does not answer: then it is the next one's
 * turn, for the watches too, whose connections may be as dead without showing it.
 */
export class Gateway {
  /** Grows when a call found the endpoint dead. */
  generation = 0;
  private current = 0;
  private token: string | undefined;
  private authenticating: Promise<EtcdError | undefined> | undefined;
  private readonly movers = new Set<() => void>();

  constructor(private readonly options: EtcdOptions) {
    if (options.endpoints.length === 0) throw new Error("etcd needs at least one endpoint");
    exemptFromProxy(options.endpoints);
  }

  get callLimitMs(): number {
    return this.options.callLimitMs;
  }

  get watchQuietMs(): number {
    return this.options.watchQuietMs ?? WATCH_QUIET_MS;
  }

  /** Calls back whenever an endpoint was found dead. @returns a function that ends this */
  onMove(callback: () => void): () => void {
    this.movers.add(callback);
    return () => this.movers.delete(callback);
  }

  /** Makes a call, at other endpoints too if that cannot do it twice. */
  async call(path: string, body: Json, kind: CallKind, limitMs = this.options.callLimitMs): Promise<Attempt> {
    const untilMs = performance.now() + limitMs;
    const { endpoints } = this.options;
    let last = new EtcdError("unreachable", "none", "etcd: no time left");
    for (let left = endpoints.length; left > 0; ) {
      const restMs = untilMs - performance.now();
      if (restMs <= 0) break;
      const index = this.current;
      // An etcd that is slow everywhere is still given half of the time at once.
      const answer = await this.authorized(index, path, body, kind, left === 1 ? restMs : restMs / 2);
      if (!(answer instanceof EtcdError) || answer.reason !== "unreachable") return answer;
      this.moveFrom(index);
      last = answer;
      if (kind === "write" && answer.outcome === "unknown") return answer;
      left--;
    }
    return last;
  }

  /**
   * Opens a stream of answers, a JSON object a line.
   *
   * @param signal ends the stream
   */
  async stream(path: string, body: Json, signal: AbortSignal): Promise<ReadableStream<Uint8Array> | EtcdError> {
    const refused = await this.authenticate(this.current, this.options.callLimitMs);
    if (refused !== undefined) return refused;
    try {
      const response = await this.post(this.current, path, body, signal);
      if (response.ok && response.body !== null) return response.body;
      return this.failure(await response.text(), response.status, "repeatable");
    } catch (error) {
      return unreachable(this.options.endpoints[this.current], error, "none");
    }
  }

  /** Says that an endpoint does not answer. */
  moveFrom(index = this.current): void {
    if (index !== this.current) return;
    this.current = (index + 1) % this.options.endpoints.length;
    this.generation++;
    for (const callback of [...this.movers]) callback();
  }

  /** The next call asks for another token. */
  forgetToken(): void {
    this.token = undefined;
  }

  /** One attempt, with a token. One that etcd does not take any more is renewed, since the call had no effect. */
  private async authorized(index: number, path: string, body: Json, kind: CallKind, limitMs: number): Promise<Attempt> {
    const untilMs = performance.now() + limitMs;
    for (let renewed = false; ; renewed = true) {
      const refused = await this.authenticate(index, untilMs - performance.now());
      if (refused !== undefined) return refused;
      const { token } = this;
      const answer = await this.attempt(index, path, body, kind, untilMs - performance.now());
      if (renewed || token === undefined || !(answer instanceof EtcdError) || !OLD_TOKEN.test(answer.message)) return answer;
      if (this.token === token) this.forgetToken();
    }
  }

  /** Gets a token if a user is given and there is none. Calls that come meanwhile wait for the same one. */
  private async authenticate(index: number, limitMs: number): Promise<EtcdError | undefined> {
    const { user } = this.options;
    if (user === undefined || this.token !== undefined) return undefined;
    this.authenticating ??= this.attempt(index, "/v3/auth/authenticate", { ...user }, "repeatable", limitMs)
      .then((answer) => {
        if (answer instanceof EtcdError && !answer.message.includes(NO_AUTH)) return answer;
        this.token = answer instanceof EtcdError ? "" : String(answer.token ?? "");
        return undefined;
      })
      .finally(() => {
        this.authenticating = undefined;
      });
    return await this.authenticating;
  }

  private async attempt(index: number, path: string, body: Json, kind: CallKind, limitMs: number): Promise<Attempt> {
    const unsure: EtcdOutcome = kind === "write" ? "unknown" : "none";
    try {
      const response = await this.post(index, path, body, AbortSignal.timeout(Math.max(1, Math.ceil(limitMs))));
      const text = await response.text();
      if (!response.ok) return this.failure(text, response.status, kind);
      const answer = asObject(JSON.parse(text));
      return answer.error === undefined ? answer : streamError(answer.error, unsure);
    } catch (error) {
      const code = error instanceof Error && "code" in error ? error.code : undefined;
      return unreachable(this.options.endpoints[index], error, NOT_SENT.has(String(code)) ? "none" : unsure);
    }
  }

  private post(index: number, path: string, body: Json, signal: AbortSignal): Promise<Response> {
    const { endpoints, tls } = this.options;
    return fetch(`${endpoints[index]}${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...(this.token ? { Authorization: this.token } : {}) },
      body: JSON.stringify(body),
      signal,
      redirect: "error",
      ...(tls === undefined ? {} : { tls: { ...tls } }),
    });
  }

  private failure(text: string, status: number, kind: CallKind): EtcdError {
    const unsure: EtcdOutcome = kind === "write" ? "unknown" : "none";
    let code = 0;
    let message = text.slice(0, 200);
    try {
      const answer = asObject(JSON.parse(text));
      code = Number(answer.code);
      message = String(answer.message ?? answer.error);
    } catch {
      // Something else than etcd has answered, perhaps a load balancer in front of it.
    }
    return errorOf(code, `etcd: ${message} (status ${status})`, unsure);
  }
}

/** The error in a line of a stream. */
export function streamError(error: unknown, unsure: EtcdOutcome): EtcdError {
  const { grpc_code, code, message } = asObject(error);
  return errorOf(Number(grpc_code ?? code), `etcd: ${message}`, unsure);
}

/** The error for what etcd said, by gRPC's code. */
function errorOf(code: number, message: string, unsure: EtcdOutcome): EtcdError {
  if (code === OUT_OF_RANGE && message.includes("compacted")) return new EtcdError("compacted", "none", message);
  if (code === NOT_FOUND && message.includes("lease not found")) return new EtcdError("lease-gone", "none", message);
  return REFUSALS.has(code) ? new EtcdError("refused", "none", message) : new EtcdError("unreachable", unsure, message);
}

function unreachable(endpoint: string | undefined, error: unknown, outcome: EtcdOutcome): EtcdError {
  return new EtcdError("unreachable", outcome, `etcd at ${endpoint} is not reached: ${whyOf(error)}`);
}

/** What fetch() says, without its advice to programmers. */
export function whyOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/ (Is the computer able to access|For more information, pass) .*$/s, "").replace(/\.$/, "");
}

/** fetch() would send calls to a proxy that the environment names, and has no other way to forbid it. */
function exemptFromProxy(endpoints: readonly string[]): void {
  if (![process.env.HTTP_PROXY, process.env.http_proxy, process.env.HTTPS_PROXY, process.env.https_proxy].some(Boolean)) return;
  const hosts = endpoints.map((endpoint) => new URL(endpoint).hostname);
  process.env.NO_PROXY = [...new Set([...(process.env.NO_PROXY ?? process.env.no_proxy ?? "").split(",").filter(Boolean), ...hosts])].join(
    ",",
  );
}
