import type { Logger } from "../../base/logger.ts";
import { type BodyReader, checkDeclared, declaredBytes, isSmall, readLarge, readSmall } from "./body.ts";
import { parseQuery, type Query } from "./query.ts";
import { Refusal } from "./reply.ts";

/** A request, as the server passes it to the API. */
export interface Incoming {
  request: Request;
  /** The text behind the question mark. */
  rawQuery: string;
  /** The value of the route's parameter; empty if the route has none. */
  parameter: string;
  bodies: BodyReader;
  logger: Logger;
}

/** A request that is being answered. Each server has a subclass with the parts that its handlers use. */
export class Call {
  private parsed: Query | undefined;
  private reservedBytes = 0;

  constructor(private readonly incoming: Incoming) {}

  get request(): Request {
    return this.incoming.request;
  }

  get parameter(): string {
    return this.incoming.parameter;
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
   * Refuses a body whose announced length is too long, before anything else is checked.
   *
   * @throws Refusal 413 `tooBig`
   */
  checkLength(limitBytes: number, tooBig: string): void {
    checkDeclared(declaredBytes(this.request), limitBytes, tooBig);
  }

  /** Reads the request's body. To be called once. @throws Refusal 413 `tooBig`, or another error if the client disconnects */
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

  /** Releases the body's part of the budget. To be called when the call is answered. */
  finish(): void {
    if (this.reservedBytes === 0) return;
    this.incoming.bodies.unreserve(this.reservedBytes);
    this.reservedBytes = 0;
  }
}
