import { STATUS_CODES } from "node:http";

/** One write sends up to this many OKs. */
const OKS = 64;

const DATE = "Date: ";
/** The length of `Sun, 22 Nov 2026 11:48:05 GMT`. */
const DATE_BYTES = 29;

/**
 * The responses of the fast path, ready to be sent. They are byte for byte those that Bun.serve() makes of what the handlers of
 * /pub and /mpub return. The date in them is overwritten once a second.
 */
export class Responses {
  private second = -1;
  private readonly ok = layOut(200, "text/plain; charset=utf-8", "OK");
  private readonly failed = layOut(503, "application/json; charset=utf-8", '{"message":"PUB_FAILED"}');
  private readonly oks = Buffer.concat(Array.from({ length: OKS }, () => this.ok));
  private readonly okBytes = this.ok.length;
  /** 408: the request came too slowly. The connection ends with it. */
  readonly tooSlow = layOutRefusal(408, "REQUEST_TIMEOUT");
  /** 503: there is no room for the connection, which ends with it. */
  readonly tooManyConnections = layOutRefusal(503, "TOO_MANY_CONNECTIONS");
  private readonly run = { buffer: this.oks, length: 0 };

  /** @returns how many of `count` OKs one okRun() can have */
  okCount(count: number): number {
    return Math.min(count, OKS);
  }

  /** A run of OKs, valid until the next call. @param count at most what okCount() returned */
  okRun(count: number, nowMs: number): { buffer: Buffer; length: number } {
    this.setDate(nowMs);
    this.run.length = count * this.okBytes;
    return this.run;
  }

  /** 503: the messages could not be written. Valid until the next call. */
  failure(nowMs: number): Buffer {
    this.setDate(nowMs);
    return this.failed;
  }

  private setDate(nowMs: number): void {
    const second = Math.floor(nowMs / 1000);
    if (second === this.second) return;
    this.second = second;
    const date = new Date(nowMs).toUTCString();
    const at = this.ok.indexOf(DATE) + DATE.length;
    for (let i = 0; i < OKS; i++) this.oks.write(date, i * this.okBytes + at, DATE_BYTES, "latin1");
    this.failed.write(date, this.failed.indexOf(DATE) + DATE.length, DATE_BYTES, "latin1");
  }
}

function layOut(status: number, type: string, body: string): Buffer {
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    `Content-Type: ${type}`,
    "X-NSQ-Content-Type: nsq; version=1.0",
    `${DATE}${"-".repeat(DATE_BYTES)}`,
    `Content-Length: ${body.length}`,
  ];
  return Buffer.from(`${lines.join("\r\n")}\r\n\r\n${body}`, "latin1");
}

/** A response after which the connection ends. It needs no date. */
function layOutRefusal(status: number, code: string): Buffer {
  const body = JSON.stringify({ message: code });
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    "Connection: close",
    "Content-Type: application/json; charset=utf-8",
    "X-NSQ-Content-Type: nsq; version=1.0",
    `Content-Length: ${body.length}`,
  ];
  return Buffer.from(`${lines.join("\r\n")}\r\n\r\n${body}`, "latin1");
}
