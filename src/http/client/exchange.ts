import type { Socket } from "node:net";
import { lazy } from "../../base/lazy.ts";
import { PatientTimer } from "../../base/stall.ts";
import { type Address, formatAddress } from "../../net/address.ts";

/** The limits of one request. */
export interface RequestLimits {
  /** Time to connect, ms. A TLS handshake gets the same time again. */
  connectTimeoutMs: number;
  /** Time for the whole request, ms. */
  requestTimeoutMs: number;
  /** Bytes of the response, including its headers. */
  responseBytes: number;
}

/** A server to send a request to. It is asked over TLS if `tls` is given. */
export interface HttpPeer extends Address {
  tls?: Bun.TLSOptions & { minVersion?: number };
}

export interface HttpRequest {
  method: "GET" | "POST";
  /** With the query, escaped. */
  path: string;
  /** Headers beside Host, Accept and Content-Length. */
  headers?: Record<string, string>;
  body?: string | Uint8Array;
}

export interface HttpResponse {
  status: number;
  /** `404 Not Found` */
  statusText: string;
  /** Names in lower case. */
  headers: Map<string, string>;
  body: Buffer;
}

const HEAD_END = "\r\n\r\n";
/** The longest line in front of a chunk. Only extensions, which nobody uses, would make it longer. */
const MAX_CHUNK_LINE_BYTES = 1024;
/** TLS versions by their numbers in the protocol. */
const TLS_VERSIONS = { 769: "TLSv1", 770: "TLSv1.1", 771: "TLSv1.2", 772: "TLSv1.3" } as const;

/**
 * Sends a request to another server of the NSQ family, on a new connection. fetch() cannot be used: it has no timeout for
 * connecting, and it uses a proxy if the environment names one, which NSQ's programs do not do for such requests.
 *
 * @param signal aborts the request and closes the connection
 * @returns the answer, whatever its status; rejects with an Error that says what went wrong
 */
export function exchange(peer: HttpPeer, request: HttpRequest, limits: RequestLimits, signal?: AbortSignal): Promise<HttpResponse> {
  return new Promise((resolve, reject) => {
    const reader = new ResponseReader(limits.responseBytes);
    const socket = open(peer);
    const finish = (outcome: HttpResponse | Error): void => {
      connecting.cancel();
      whole.cancel();
      signal?.removeEventListener("abort", abort);
      socket.destroy();
      if (outcome instanceof Error) reject(outcome);
      else resolve(outcome);
    };
    const abort = (): void => finish(new Error("aborted"));
    const connecting = new PatientTimer(Math.min(limits.connectTimeoutMs, limits.requestTimeoutMs), () =>
      finish(new Error(`not connected within ${limits.connectTimeoutMs} ms`)),
    );
    const whole = new PatientTimer(limits.requestTimeoutMs, () => finish(new Error(`no answer within ${limits.requestTimeoutMs} ms`)));
    const read = (ended: boolean): void => {
      try {
        const answer = reader.read(ended);
        if (answer !== undefined) finish(answer);
      } catch (error) {
        finish(error as Error);
      }
    };
    socket.on(peer.tls === undefined ? "connect" : "secureConnect", () => {
      connecting.cancel();
      socket.write(requestHead(peer, request));
      if (request.body !== undefined && request.body.length > 0) socket.write(request.body);
    });
    socket.on("data", (data: Buffer) => {
      if (reader.add(data)) read(false);
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
  const { ca, cert, key, rejectUnauthorized, minVersion } = tls;
  return lazy.tls.connect({
    host: hostname,
    port,
    ...(lazy.net.isIP(hostname) === 0 ? { servername: hostname } : {}),
    ...(ca === undefined ? {} : { ca: ca as string }),
    ...(cert === undefined ? {} : { cert: cert as string, key: key as string }),
    ...(rejectUnauthorized === undefined ? {} : { rejectUnauthorized }),
    ...(minVersion === undefined ? {} : { minVersion: TLS_VERSIONS[minVersion as keyof typeof TLS_VERSIONS] }),
  });
}

function requestHead(peer: HttpPeer, { method, path, headers = {}, body }: HttpRequest): string {
  const lines = [
    `${method} ${path} HTTP/1.1`,
    `Host: ${formatAddress(peer.hostname, peer.port)}`,
    "Accept: application/vnd.nsq; version=1.0",
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    ...(body === undefined ? [] : [`Content-Length: ${Buffer.byteLength(body)}`]),
    "Connection: close",
  ];
  return lines.join("\r\n") + HEAD_END;
}

/** Parses a response as it arrives. Looks at each byte once, so that many small pieces do not take quadratic time. */
export class ResponseReader {
  private buffer: Buffer = Buffer.allocUnsafe(4096);
  private length = 0;
  private head: Omit<HttpResponse, "body"> | undefined;
  /** Where the body begins, or the part of a chunked body that is not parsed yet. */
  private at = 0;
  private readonly chunks: Buffer[] = [];

  /** @param limit bytes of the response, including its headers */
  constructor(private readonly limit: number) {}

  private get bytes(): Buffer {
    return this.buffer.subarray(0, this.length);
  }

  /** @returns false if the response is longer than the limit */
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

  /**
   * The response, once it is complete; undefined until then.
   *
   * @param ended whether no more bytes will come
   * @throws Error for bytes that are not a response, or an incomplete one
   */
  read(ended: boolean): HttpResponse | undefined {
    this.head ??= this.readHead();
    if (this.head === undefined) {
      if (ended) throw new Error(this.length === 0 ? "closed without an answer" : "closed in the middle of the answer's headers");
      return undefined;
    }
    const body = this.readBody(this.head.headers, ended);
    if (body !== undefined) return { ...this.head, body };
    if (ended) throw new Error("closed in the middle of the answer's body");
    return undefined;
  }

  private readHead(): Omit<HttpResponse, "body"> | undefined {
    const { bytes } = this;
    const headEnd = bytes.indexOf(HEAD_END);
    if (headEnd < 0) return undefined;
    const [statusLine = "", ...lines] = bytes.toString("latin1", 0, headEnd).split("\r\n");
    const status = /^HTTP\/1\.[01] (\d{3})/.exec(statusLine)?.[1];
    if (status === undefined) throw new Error("the answer is not HTTP");
    this.at = headEnd + HEAD_END.length;
    const headers = new Map(lines.map((line) => headerOf(line)));
    return { status: Number(status), statusText: statusLine.slice("HTTP/1.1 ".length), headers };
  }

  private readBody(headers: Map<string, string>, ended: boolean): Buffer | undefined {
    if (headers.get("transfer-encoding")?.toLowerCase() === "chunked") return this.joinChunks();
    const body = this.bytes.subarray(this.at);
    const length = headers.get("content-length");
    if (length === undefined) return ended ? body : undefined;
    if (!/^\d{1,15}$/.test(length)) throw new Error(`the answer's Content-Length is ${JSON.stringify(length)}`);
    return body.length < Number(length) ? undefined : body.subarray(0, Number(length));
  }

  /** Joins the chunks of a body. @returns undefined until the last chunk has arrived */
  private joinChunks(): Buffer | undefined {
    const { bytes, chunks } = this;
    for (;;) {
      const lineEnd = bytes.indexOf("\r\n", this.at);
      if (lineEnd < 0 && bytes.length - this.at <= MAX_CHUNK_LINE_BYTES) return undefined;
      const line = lineEnd < 0 ? "" : bytes.toString("latin1", this.at, lineEnd);
      const size = /^([0-9a-f]{1,8})(?:;.*)?$/i.exec(line)?.[1];
      if (size === undefined) throw new Error("the answer's chunks are malformed");
      const from = lineEnd + 2;
      const to = from + Number.parseInt(size, 16);
      if (to === from) return Buffer.concat(chunks);
      if (bytes.length < to + 2) return undefined;
      // Copied, because the buffer may be replaced when it grows.
      chunks.push(Buffer.from(bytes.subarray(from, to)));
      this.at = to + 2;
    }
  }
}

function headerOf(line: string): [string, string] {
  const colon = line.indexOf(":");
  return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
}
