import { connect } from "node:net";
import { type Address, formatAddress } from "../base/address.ts";

/** Bounds of one request. */
export interface GetLimits {
  /** Time to connect, ms. */
  connectTimeoutMs: number;
  /** Time for all of it, ms. */
  requestTimeoutMs: number;
  /** Bytes of the response, its headers included. */
  responseBytes: number;
}

const HEAD_END = "\r\n\r\n";
const EMPTY = Buffer.alloc(0);

/**
 * Asks another server of the NSQ family, with a GET on a connection of its own. fetch() does not serve: it knows no
 * timeout for connecting, and goes through a proxy if the environment names one, which Go's programs do not do here.
 *
 * @param path with its query
 * @returns the body of a 200; rejects with what went wrong, in words
 */
export function get(server: Address, path: string, limits: GetLimits): Promise<string> {
  return new Promise((resolve, reject) => {
    const where = formatAddress(server.hostname, server.port);
    let received: Buffer = EMPTY;
    const socket = connect({ host: server.hostname, port: server.port });
    const finish = (outcome: string | Error): void => {
      clearTimeout(connecting);
      clearTimeout(whole);
      socket.destroy();
      if (typeof outcome === "string") resolve(outcome);
      else reject(new Error(`http://${where}${path}: ${outcome.message}`));
    };
    const connecting = setTimeout(
      () => finish(new Error(`not connected within ${limits.connectTimeoutMs} ms`)),
      Math.min(limits.connectTimeoutMs, limits.requestTimeoutMs),
    );
    const whole = setTimeout(() => finish(new Error(`no answer within ${limits.requestTimeoutMs} ms`)), limits.requestTimeoutMs);
    const read = (ended: boolean): void => {
      try {
        const body = readResponse(received, ended);
        if (body !== undefined) finish(body);
      } catch (error) {
        finish(error as Error);
      }
    };
    socket.on("connect", () => {
      clearTimeout(connecting);
      socket.write(`GET ${path} HTTP/1.1\r\nHost: ${where}\r\nAccept: application/vnd.nsq; version=1.0\r\nConnection: close${HEAD_END}`);
    });
    socket.on("data", (data: Buffer) => {
      received = Buffer.concat([received, data]);
      if (received.length > limits.responseBytes) finish(new Error(`the answer is longer than ${limits.responseBytes} bytes`));
      else read(false);
    });
    socket.on("error", finish);
    socket.on("close", () => read(true));
  });
}

/**
 * The body of a response, once it is there.
 *
 * @param ended no more bytes will come
 * @throws for another status than 200, and for what is no response
 */
export function readResponse(bytes: Buffer, ended: boolean): string | undefined {
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
  if (status !== "200") throw new Error(`answered ${statusLine.slice("HTTP/1.1 ".length)} ${JSON.stringify(body.toString())}`);
  return body.toString();
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
