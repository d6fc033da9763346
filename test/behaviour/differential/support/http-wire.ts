import { ByteSocket } from "./byte-socket.ts";

/** One HTTP/1.1 response as it was on the wire, body unframed. */
export interface WireResponse {
  /** For instance `HTTP/1.1 200 OK`; interim (1xx) responses come before it in `interim`. */
  statusLine: string;
  interim: string[];
  /** Name as sent, value. In the order sent. */
  headers: [string, string][];
  body: Buffer;
  framing: "length" | "chunked" | "close" | "none";
}

/** Header's value, or undefined. */
export function header(response: WireResponse, name: string): string | undefined {
  return response.headers.find(([key]) => key.toLowerCase() === name)?.[1];
}

/** Lays out a request. `Content-Length` is added for a body unless a framing header is among `headers`. */
export function requestBytes(method: string, target: string, body?: string | Uint8Array, headers: string[] = []): Buffer {
  const payload = body === undefined ? Buffer.alloc(0) : typeof body === "string" ? Buffer.from(body) : Buffer.from(body);
  const framed = headers.some((line) => /^(content-length|transfer-encoding):/i.test(line));
  const lines = [`${method} ${target} HTTP/1.1`, "Host: broker.test", ...headers];
  if (!framed && (body !== undefined || method === "POST" || method === "PUT")) lines.push(`Content-Length: ${payload.length}`);
  return Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1"), payload]);
}

/** A body in chunked transfer coding, cut where `pieces` are cut. */
export function chunked(pieces: string[]): string {
  return `${pieces.map((piece) => `${Buffer.byteLength(piece).toString(16)}\r\n${piece}\r\n`).join("")}0\r\n\r\n`;
}

/** Sends `request` on a connection of its own and reads one response; undefined if the server closes or stays silent. */
export async function exchange(port: number, request: Uint8Array, timeoutMs = 5000): Promise<WireResponse | undefined> {
  const socket = await ByteSocket.connect(port);
  try {
    socket.write(request);
    const isHead = Buffer.from(request.subarray(0, 5)).toString() === "HEAD ";
    const [response] = await readResponses(socket, 1, isHead, timeoutMs);
    return response;
  } finally {
    socket.destroy();
  }
}

/** Reads `count` responses that follow each other on one connection; fewer if the server ends first. */
export async function readResponses(socket: ByteSocket, count: number, isHead: boolean, timeoutMs = 5000): Promise<WireResponse[]> {
  const bytes = await socket.until((sofar) => parseAll(sofar, isHead, false).length >= count, timeoutMs);
  return parseAll(bytes, isHead, true).slice(0, count);
}

function parseAll(bytes: Buffer, isHead: boolean, atEnd: boolean): WireResponse[] {
  const responses: WireResponse[] = [];
  let rest = bytes;
  for (;;) {
    const parsed = parseResponse(rest, isHead, atEnd);
    if (parsed === undefined) return responses;
    responses.push(parsed.response);
    rest = rest.subarray(parsed.length);
  }
}

function parseResponse(bytes: Buffer, isHead: boolean, atEnd: boolean): { response: WireResponse; length: number } | undefined {
  const interim: string[] = [];
  let at = 0;
  for (;;) {
    const headEnd = bytes.indexOf("\r\n\r\n", at);
    if (headEnd < 0) return undefined;
    const [statusLine = "", ...lines] = bytes.toString("latin1", at, headEnd).split("\r\n");
    at = headEnd + 4;
    if (/^HTTP\/1\.1 1\d\d/.test(statusLine)) {
      interim.push(statusLine);
      continue;
    }
    const headers = lines.map((line): [string, string] => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon), line.slice(colon + 1).trim()];
    });
    const response: WireResponse = { statusLine, interim, headers, body: Buffer.alloc(0), framing: "none" };
    const end = readBody(response, bytes, at, isHead, atEnd);
    return end === undefined ? undefined : { response, length: end };
  }
}

/** Sets the body and its framing; returns where the response ends, or undefined while bytes are missing. */
function readBody(response: WireResponse, bytes: Buffer, start: number, isHead: boolean, atEnd: boolean): number | undefined {
  if (isHead || /^HTTP\/1\.\d (204|304)/.test(response.statusLine)) return start;
  if (header(response, "transfer-encoding") === "chunked") {
    response.framing = "chunked";
    const pieces: Buffer[] = [];
    let at = start;
    for (;;) {
      const lineEnd = bytes.indexOf("\r\n", at);
      if (lineEnd < 0) return undefined;
      const size = Number.parseInt(bytes.toString("latin1", at, lineEnd), 16);
      if (bytes.length < lineEnd + 2 + size + 2) return undefined;
      pieces.push(bytes.subarray(lineEnd + 2, lineEnd + 2 + size));
      at = lineEnd + 2 + size + 2;
      if (size === 0) break;
    }
    response.body = Buffer.concat(pieces);
    return at;
  }
  const declared = header(response, "content-length");
  if (declared !== undefined) {
    response.framing = "length";
    const size = Number(declared);
    if (bytes.length < start + size) return undefined;
    response.body = bytes.subarray(start, start + size);
    return start + size;
  }
  if (!atEnd) return undefined;
  response.framing = "close";
  response.body = bytes.subarray(start);
  return bytes.length;
}
