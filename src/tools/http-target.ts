import { lazy } from "../base/lazy.ts";
import { PatientTimer } from "../base/stall.ts";

/** One request to a receiver. */
export interface TargetRequest {
  method: "GET" | "POST";
  url: string;
  headers: Readonly<Record<string, string>>;
  body?: Uint8Array;
}

/** The time limits of a request, ms. */
export interface TargetTimeouts {
  connectMs: number;
  requestMs: number;
}

/**
 * Sends requests to receivers, over connections that are kept. fetch() has no time limit for connecting, so a connection is tried
 * beforehand at a receiver that has not answered yet, or not the last time.
 */
export class HttpTargets {
  /** Receivers that have answered the last request. */
  private readonly reachable = new Set<string>();

  constructor(private readonly timeouts: TargetTimeouts) {}

  /** @returns the status of the answer, once its body is read. @throws Error that says why there is no answer */
  async send({ method, url, headers, body }: TargetRequest): Promise<number> {
    const { connectMs, requestMs } = this.timeouts;
    const { protocol, hostname, port, origin } = new URL(url);
    try {
      if (!this.reachable.has(origin)) {
        const defaultPort = protocol === "https:" ? 443 : 80;
        await tryConnection(hostname.replace(/^\[(.*)\]$/, "$1"), Number(port) || defaultPort, Math.min(connectMs, requestMs));
      }
      const answer = await fetch(url, {
        method,
        headers,
        signal: AbortSignal.timeout(requestMs),
        ...(body === undefined ? {} : { body: new Uint8Array(body) }),
      });
      await answer.arrayBuffer();
      this.reachable.add(origin);
      return answer.status;
    } catch (error) {
      this.reachable.delete(origin);
      const { name, message } = error as Error;
      throw new Error(`${method} ${url}: ${name === "TimeoutError" ? `no answer within ${requestMs} ms` : message}`);
    }
  }
}

/** @throws Error unless a connection is made in time */
function tryConnection(host: string, port: number, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = lazy.net.connect({ host, port });
    const finish = (error?: Error): void => {
      timer.cancel();
      socket.destroy();
      if (error === undefined) resolve();
      else reject(error);
    };
    const timer = new PatientTimer(timeoutMs, () => finish(new Error(`not connected within ${timeoutMs} ms`)));
    socket.on("connect", () => finish());
    socket.on("error", finish);
  });
}
