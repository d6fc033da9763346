import type { Socket } from "node:net";
import { type Address, formatAddress } from "../base/address.ts";
import { lazy } from "../base/lazy.ts";

/** Bounds of one request. */
export interface RequestLimits {
  /** Time to connect, ms; a TLS handshake has the same once more. */
  connectTimeoutMs: number;
  /** Time for all of it, ms. */
  requestTimeoutMs: number;
  /** Bytes of the response, its headers included. */
  responseBytes: number;
}

/** A server to ask, over TLS if what it takes for that is given. */
export interface HttpPeer extends Address {
  tls?: Bun.TLSOptions & { minVersion?: number };
}

export interface HttpRequest {
  method: "GET" | "POST";
  /** With its query, escaped. */
  path: string;
  /** Beside Host, Accept and Content-Length. */
  headers?: Record<string, string>;
  body?: string;
}

export interface HttpAnswer {
  status: number;
  /** `404 Not Found` */
  statusText: string;
  /** Names in lower case. */
  headers: Map<string, string>;
  body: Buffer;
}

const HEAD_END = "\r\n\r\n";
/** TLS versions by their number in its records. */
const TLS_VERSIONS = { 769: "TLSv1", 770: "TLSv1.1", 771: "TLSv1.2", 772: "TLSv1.3" } as const;

/**
 * Asks another server of the NSQ family, on a connection of its own. fetch() does not serve: it knows no timeout for
 * connecting, and goes through a proxy if the environment names one, which Go's programs do not do here.
 *
 * @param signal aborted: nobody waits any more, and the connection is cut
 * @returns whatever it answers; rejects with what went wrong, in words
 */
export function exchange(peer: HttpPeer, request: HttpRequest, limits: RequestLimits, signal?: AbortSignal): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    const received = new Received(limits.responseBytes);
    const socket = open(peer);
    const finish = (outcome: HttpAnswer | Error): void => {
      clearTimeout(connecting);
      clearTimeout(whole);
      signal?.removeEventListener("abort", abort);
      socket.destroy();
      if (outcome instanceof Error) reject(outcome);
      else resolve(outcome);
    };
    const abort = (): void => finish(new Error("not wanted any more"));
    const connecting = setTimeout(
      () => finish(new Error(`not connected within ${limits.connectTimeoutMs} ms`)),
      Math.min(limits.connectTimeoutMs, limits.requestTimeoutMs),
    );
    const whole = setTimeout(() => finish(new Error(`no answer within ${limits.requestTimeoutMs} ms`)), limits.requestTimeoutMs);
    const read = (ended: boolean): void => {
      try {
        const answer = readAnswer(received.bytes, ended);
        if (answer !== undefined) finish(answer);
      } catch (error) {
        finish(error as Error);
      }
    };
    socket.on(peer.tls === undefined ? "connect" : "secureConnect", () => {
      clearTimeout(connecting);
      socket.write(requestText(peer, request));
    });
    socket.on("data", (data: Buffer) => {
      if (received.add(data)) read(false);
      else finish(new Error(`the answer is longer than ${limits.responseBytes} bytes`));
    });
    socket.on("error", finish);
    socket.on("close", () => read(true));
    if (signal?.aborted === true) abort();
    else signal?.addEventListener("abort", abort);
  });
}

function open({ hostname, port, tls }: HttpPeer): Socket {
  if (tls === undefined) return lazy.net.connect({ host: hostname, port });
  const { ca, minVersion } = tls;
  return lazy.tls.connect({
    host: hostname,
    port,
    ...(lazy.net.isIP(hostname) === 0 ? { servername: hostname } : {}),
    ...(ca === undefined ? {} : { ca: ca as string }),
    ...(minVersion === undefined ? {} : { minVersion: TLS_VERSIONS[minVersion as keyof typeof TLS_VERSIONS] }),
  });
}

function requestText(peer: HttpPeer, { method, path, headers = {}, body }: HttpRequest): string {
  const lines = [
    `${method} ${path} HTTP/1.1`,
    `Host: ${formatAddress(peer.hostname, peer.port)}`,
    "Accept: application/vnd.nsq; version=1.0",
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    ...(body === undefined ? [] : [`Content-Length: ${Buffer.byteLength(body)}`]),
    "Connection: close",
  ];
  return lines.join("\r\n") + HEAD_END + (body ?? "");
}

/** What came so far, in a buffer that doubles: many small pieces must not cost the square of their number. */
class Received {
  private buffer: Buffer = Buffer.allocUnsafe(4096);
  private length = 0;

  constructor(private readonly limit: number) {}

  get bytes(): Buffer {
    return this.buffer.subarray(0, this.length);
  }

  /** @returns false beyond the limit */
  add(data: Buffer): boolean {
    const length = this.length + data.length;
    if (length > this.limit) return false;
    if (length > this.buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(length, 2 * this.buffer.length));
      this.bytes.copy(larger);
      this.buffer = larger;
    }
    data.copy(this.buffer, this.length);
    this.length = length;
    return true;
  }
}

/**
 * A response, once all of it is there.
 *
 * @param ended no more bytes will come
 * @throws for what is no response
 */
export function readAnswer(bytes: Buffer, ended: boolean): HttpAnswer | undefined {
  const headEnd = bytes.indexOf(HEAD_END);
  if (headEnd < 0) {
    if (ended) throw new Error(bytes.length === 0 ? "closed without an answer" : "closed within the answer's headers");
    return undefined;
  }
  const [statusLine = "", ...lines] = bytes.toString("latin1", 0, headEnd).split("\r\n");
  const status = /^HTTP\/1\.[01] (\d{3})/.exec(statusLine)?.[1];
  if (status === undefined) throw new Error("the answer is no HTTP");
  const headers = new Map(lines.map((line) => headerOf(line)));
  const body = readBody(bytes.subarray(headEnd + HEAD_END.length), headers, ended);
  if (body === undefined) {
    if (ended) throw new Error("closed within the answer's body");
    return undefined;
  }
  return { status: Number(status), statusText: statusLine.slice("HTTP/1.1 ".length), headers, body };
}

function headerOf(line: string): [string, string] {
  const colon = line.indexOf(":");
  return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
}

function readBody(bytes: Buffer, headers: Map<string, string>, ended: boolean): Buffer | undefined {
  if (headers.get("transfer-encoding")?.toLowerCase() === "chunked") return joinChunks(bytes);
  const length = headers.get("content-length");
  if (length === undefined) return ended ? bytes : undefined;
  if (!/^\d{1,15}$/.test(length)) throw new Error(`the answer's length is ${JSON.stringify(length)}`);
  return bytes.length < Number(length) ? undefined : bytes.subarray(0, Number(length));
}

/** A chunked body in one piece; undefined while its last chunk is missing. */
function joinChunks(bytes: Buffer): Buffer | undefined {
  const chunks: Buffer[] = [];
  for (let at = 0; ; ) {
    const lineEnd = bytes.indexOf("\r\n", at);
    if (lineEnd < 0) return undefined;
    const size = /^([0-9a-f]{1,8})(?:;.*)?$/i.exec(bytes.toString("latin1", at, lineEnd))?.[1];
    if (size === undefined) throw new Error("the answer's chunks cannot be read");
    const from = lineEnd + 2;
    const to = from + Number.parseInt(size, 16);
    if (to === from) return Buffer.concat(chunks);
    if (bytes.length < to + 2) return undefined;
    chunks.push(bytes.subarray(from, to));
    at = to + 2;
  }
}
