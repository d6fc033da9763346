import type { Broker } from "../broker.ts";
import { type BodyReader, checkDeclared, declaredBytes, isSmall, readLarge, readSmall } from "./body.ts";
import { parseQuery, type Query } from "./query.ts";
import { Refusal } from "./reply.ts";

/** Answers one call of the HTTP API, or throws a Refusal. Carries the name of the call. */
export type Handler = (call: HttpCall) => Response | Promise<Response>;

/** One request that is being answered. */
export class HttpCall {
  /** `:opt` of the route, if it has one. */
  option = "";
  private parsed: Query | undefined;
  private reservedBytes = 0;

  constructor(
    readonly broker: Broker,
    readonly request: Request,
    private readonly rawQuery: string,
    private readonly bodies: BodyReader,
    /** That this call came in on. */
    readonly httpPort: number,
  ) {}

  /** @throws Refusal 400 INVALID_REQUEST */
  get query(): Query {
    if (this.parsed === undefined) {
      const query = parseQuery(this.rawQuery);
      if (typeof query === "string") {
        this.broker.log.error(`failed to parse request params - ${query}`);
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
    await this.bodies.reserve(bytes);
    this.reservedBytes = bytes;
    return readLarge(this.request, declared, limitBytes, tooBig);
  }

  /** Gives back what the body took of the budget. To be called when the call is answered. */
  finish(): void {
    if (this.reservedBytes === 0) return;
    this.bodies.release(this.reservedBytes);
    this.reservedBytes = 0;
  }
}
