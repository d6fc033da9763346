import type { LogFields, Logger, LogSubject } from "../../base/logger.ts";
import { checkDeclared, declaredBytes } from "./body.ts";
import { BodyShare } from "./body-budget.ts";
import type { HttpLoad } from "./load.ts";
import { parseQuery, type Query } from "./query.ts";
import { Refusal } from "./reply.ts";
import { requestIdOf } from "./request-id.ts";

/** A request, as the server passes it to the API. */
export interface Incoming {
  request: Request;
  /** The text behind the question mark. */
  rawQuery: string;
  /** The values of the route's parameters, in their order. */
  parameters: readonly string[];
  /** Knows where requests come from. */
  clients: Clients;
  load: HttpLoad;
  /** To be called when the request is complete. */
  complete: (() => void) | undefined;
  logger: Logger;
}

/** Knows the clients of a server. */
export interface Clients {
  /** The address of a request's client, `host:port`; undefined if it has disconnected or has no address. */
  clientOf(request: Request): string | undefined;
}

/** A request that is being answered. Each server has a subclass with the parts that its handlers use. */
export class Call {
  private parsed: Query | undefined;
  /** Whether the call counts among those that are being carried out. */
  private isCounted = false;
  private bodyShare: BodyShare | undefined;

  constructor(private readonly incoming: Incoming) {}

  get request(): Request {
    return this.incoming.request;
  }

  /** The value of the route's first parameter; empty if the route has none. */
  get parameter(): string {
    return this.incoming.parameters[0] ?? "";
  }

  get parameters(): readonly string[] {
    return this.incoming.parameters;
  }

  /** The address of the client, `host:port`; undefined if it has disconnected or has no address. */
  get clientAddress(): string | undefined {
    return this.incoming.clients.clientOf(this.incoming.request);
  }

  /** What a log line about this request has beside its text. It is put together only if the line is written so. */
  about(more: LogFields = {}): LogSubject {
    const { request } = this;
    return {
      get logFields() {
        return { part: "http", requestId: requestIdOf(request), ...more };
      },
    };
  }

  /** The address of the client, without its port; "@" for one without an address. */
  get clientHost(): string {
    const address = this.clientAddress;
    return address === undefined ? "@" : address.slice(0, Math.max(0, address.lastIndexOf(":"))) || address;
  }

  /** @throws Refusal 400 INVALID_REQUEST */
  get query(): Query {
    if (this.parsed === undefined) {
      const query = parseQuery(this.incoming.rawQuery);
      if (typeof query === "string") {
        this.incoming.logger.error(`failed to parse request params - ${query}`, this.about());
        throw new Refusal(400, "INVALID_REQUEST");
      }
      this.parsed = query;
    }
    return this.parsed;
  }

  /**
   * Refuses a body whose announced length is too long, before anything else is checked.
   *
   * @throws Refusal 413 `tooBig`
   */
  checkLength(limitBytes: number, tooBig: string): void {
    checkDeclared(declaredBytes(this.request), limitBytes, tooBig);
  }

  /**
   * Reads the request's body. To be called once. From then on the call counts among those that are being carried out.
   *
   * @throws Refusal 413 `tooBig`, 408, or 503 if too many calls are being carried out; another error if the client disconnects
   */
  body(limitBytes: number, tooBig: string): Promise<Uint8Array> | Uint8Array {
    const declared = declaredBytes(this.request);
    checkDeclared(declared, limitBytes, tooBig);
    this.bodyShare = new BodyShare();
    const body = this.incoming.load.bodies.read(this.request, this.bodyShare, declared, limitBytes, tooBig);
    if (body instanceof Promise) return this.countAfter(body);
    this.count();
    return body;
  }

  private async countAfter(body: Promise<Uint8Array>): Promise<Uint8Array> {
    const bytes = await body;
    if (this.request.headers.has("transfer-encoding")) await this.checkTrailer();
    this.count();
    return bytes;
  }

  /**
   * Bun hands a body in chunks over as complete before it has seen the trailer section, and then ends the connection with 400 because of
   * that (https://github.com/oven-sh/bun/issues/32887). Nothing must be done for a request that is answered so. Few clients announce
   * trailer fields, so this looks at each body in chunks. While it does, a client that ends its side is disconnected.
   */
  private async checkTrailer(): Promise<void> {
    await new Promise(setImmediate);
    if (this.request.signal.aborted) throw new Refusal(400, "INVALID_REQUEST");
  }

  private count(): void {
    this.incoming.complete?.();
    if (!this.incoming.load.begin()) throw new Refusal(503, "TOO_MANY_REQUESTS");
    this.isCounted = true;
  }

  /** To be called when the call is answered. */
  finish(): void {
    const { load } = this.incoming;
    if (this.bodyShare !== undefined) load.bodies.budget.release(this.bodyShare);
    if (this.isCounted) load.end();
    this.isCounted = false;
  }
}
