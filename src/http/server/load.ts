import { BodyReader } from "./body.ts";

/**
 * The limits of an HTTP server. Beside these, Bun limits the headers of a request to 16 KiB and the time for them to about ten
 * seconds, and reads a body only as far as it is asked to. Bun.serve() has no limit on connections; a broker's HTTP
 * front has one.
 */
export interface HttpLimits {
  /** Requests with a body that are carried out at the same time, from when they are complete; further ones get a 503. */
  requests: number;
  /** Bytes of large bodies that are being received; beyond it bodies wait. */
  bodyBytes: number;
  /**
   * How long an idle connection is kept, and how long a request may take to arrive and to be answered, in seconds; at most
   * 255. It should be longer than HTTP clients keep idle connections (Go: 90 s), so that they do not send a publish into a
   * connection that is just being closed.
   */
  idleTimeoutS: number;
  /** For how long a body may come at less than 16 KB per second before it is refused, ms. */
  slowBodyMs: number;
  /** How long stop() waits for requests, ms. */
  stopTimeoutMs: number;
}

const LIMITS: HttpLimits = {
  requests: 4096,
  bodyBytes: 128 * 1024 * 1024,
  idleTimeoutS: 120,
  slowBodyMs: 10_000,
  stopTimeoutMs: 5000,
};

/** The load of the requests under way, of a server and of the front that shares its limits. */
export class HttpLoad {
  readonly bodies: BodyReader;
  private underWay = 0;

  constructor(private readonly limits: HttpLimits) {
    this.bodies = new BodyReader(limits.bodyBytes, limits.slowBodyMs);
  }

  /** How many requests are being carried out. */
  get requests(): number {
    return this.underWay;
  }

  /** Counts a request that is complete. @returns false if too many are being carried out */
  begin(): boolean {
    if (this.underWay >= this.limits.requests) return false;
    this.underWay++;
    return true;
  }

  /** A request that was counted is answered. */
  end(): void {
    this.underWay--;
  }
}

/** The default limits with changes. */
export function httpLimits(limits: Partial<HttpLimits>): HttpLimits {
  return { ...LIMITS, ...limits };
}
