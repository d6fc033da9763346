import type { Logger } from "../../base/logger.ts";
import { type BodyReader, checkDeclared, declaredBytes, isSmall, readLarge, readSmall } from "./body.ts";
import { parseQuery, type Query } from "./query.ts";
import { Refusal } from "./reply.ts";

/** A request as the server hands it on. */
export interface Incoming {
  request: Request;
  /** What stands behind the question mark. */
  rawQuery: string;
  /** The parameter of the route; empty if it has none. */
  option: string;
  bodies: BodyReader;
  logger: Logger;
}

/** One request that is being answered. Each server's own adds what its handlers act upon. */
export class Call {
  private parsed: Query | undefined;
  private reservedBytes = 0;

  constructor(private readonly incoming: Incoming) {}

  get request(): Request {
    return this.incoming.request;
  }

  get option(): string {
    return this.incoming.option;
  }

  /** @throws Refusal 400 INVALID_REQUEST */
  get query(): Query {
    if (this.parsed === undefined) {
      const query = parseQuery(this.incoming.rawQuery);
      if (typeof query === "string") {
        this.incoming.logger.error(`failed to parse request params - ${query}`);
        throw new Refusal(400, "INVALID_REQUEST");
      }
      this.parsed = query;
    }
    return this.parsed;
  }

  /**
   * Refuses a body that says itself to be too long, before anything else is looked at.
   *
   * @throws Refusal 413 `tooBig`
   */
  checkLength(limitBytes: number, tooBig: string): void {
    checkDeclared(declaredBytes(this.request), limitBytes, tooBig);
  }

  /** The request's body. To be called once. @throws Refusal 413 `tooBig`; otherwise the client went away */
  body(limitBytes: number, tooBig: string): Promise<Uint8Array> | Uint8Array {
    const declared = declaredBytes(this.request);
    checkDeclared(declared, limitBytes, tooBig);
    return isSmall(declared) ? readSmall(this.request, declared) : this.largeBody(declared, limitBytes, tooBig);
  }

  private async largeBody(declared: number | undefined, limitBytes: number, tooBig: string): Promise<Uint8Array> {
    const bytes = declared ?? limitBytes;
    await this.incoming.bodies.reserve(bytes);
    this.reservedBytes = bytes;
    return readLarge(this.request, declared, limitBytes, tooBig);
  }

  /** Gives back what the body took of the budget. To be called when the call is answered. */
  finish(): void {
    if (this.reservedBytes === 0) return;
    this.incoming.bodies.release(this.reservedBytes);
    this.reservedBytes = 0;
  }
}
