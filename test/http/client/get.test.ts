import { describe, expect, test } from "bun:test";
import { ResponseReader } from "../../../src/http/client/exchange.ts";
import { get } from "../../../src/http/client/get.ts";
import { growth, LINEAR } from "../../support/growth.ts";

const LIMITS = { connectTimeoutMs: 5000, requestTimeoutMs: 5000, responseBytes: 10_000 };

/** A server that notes what it receives, and calls `answer` for it. */
class RawServer implements Disposable {
  requests: string[] = [];
  readonly listener: Bun.TCPSocketListener<undefined>;

  constructor(answer: (socket: Bun.Socket<undefined>) => void) {
    this.listener = Bun.listen<undefined>({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        data: (socket, data) => {
          this.requests.push(data.toString());
          answer(socket);
        },
      },
    });
  }

  get address() {
    return { hostname: "127.0.0.1", port: this.listener.port };
  }

  [Symbol.dispose](): void {
    this.listener.stop(true);
  }
}

describe("get()", () => {
  test("sends the request that Go's programs send, and returns the body", async () => {
    using server = new RawServer((socket) => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"));
    expect(await get(server.address, "/channels?topic=a%23ephemeral", LIMITS)).toBe("{}");
    expect(server.requests[0].split("\r\n")).toEqual([
      "GET /channels?topic=a%23ephemeral HTTP/1.1",
      `Host: 127.0.0.1:${server.address.port}`,
      "Accept: application/vnd.nsq; version=1.0",
      "Connection: close",
      "",
      "",
    ]);
  });

  test("reads the answers of Bun's server, including long ones", async () => {
    using server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response("x".repeat(8000)) });
    expect(await get({ hostname: "127.0.0.1", port: server.port as number }, "/", LIMITS)).toHaveLength(8000);
  });

  test("rejects with the URL and the answer", async () => {
    using server = new RawServer((socket) => socket.end("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone"));
    const where = `http://127.0.0.1:${server.address.port}/x`;
    await expect(get(server.address, "/x", LIMITS)).rejects.toThrow(`${where}: answered 404 Not Found "none"`);
  });

  test("rejects if nothing listens on the port", async () => {
    const server = new RawServer(() => {});
    const { address } = server;
    server[Symbol.dispose]();
    await expect(get(address, "/", LIMITS)).rejects.toThrow("ECONNREFUSED");
  });

  test("rejects if the answer takes too long", async () => {
    using server = new RawServer((socket) => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}"));
    expect(await get(server.address, "/", { ...LIMITS, requestTimeoutMs: 50 }).catch(String)).toContain("no answer within 50 ms");
  });

  test("rejects if the answer is too long", async () => {
    using server = new RawServer((socket) => socket.write(`HTTP/1.1 200 OK\r\n\r\n${"x".repeat(20_000)}`));
    expect(await get(server.address, "/", LIMITS).catch(String)).toContain("longer than 10000 bytes");
  });

  test("rejects if the server closes the connection without an answer", async () => {
    using server = new RawServer((socket) => socket.end());
    expect(await get(server.address, "/", LIMITS).catch(String)).toContain("closed without an answer");
  });
});

describe("AnswerReader", () => {
  const CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;x=y\r\n, chunked!\r\n0\r\n\r\n";

  const readAnswer = (bytes: Buffer, ended: boolean) => {
    const reader = new ResponseReader(10_000);
    reader.add(bytes);
    return reader.read(ended);
  };
  const readResponse = (bytes: Buffer, ended: boolean) => readAnswer(bytes, ended)?.body.toString();

  test("parses a response that comes byte by byte", () => {
    for (const text of ["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", CHUNKED]) {
      const reader = new ResponseReader(10_000);
      let body: string | undefined;
      for (const byte of Buffer.from(text)) {
        expect(reader.add(Buffer.of(byte))).toBeTrue();
        body ??= reader.read(false)?.body.toString();
      }
      expect(body).toStartWith("hello");
    }
  });

  test("parses many small chunks in linear time", () => {
    const parse = (chunks: number) => {
      const reader = new ResponseReader(4 * 1024 * 1024);
      reader.add(Buffer.from("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"));
      for (let i = 0; i < chunks; i++) {
        reader.add(Buffer.from("1\r\nx\r\n"));
        if (reader.read(false) !== undefined) throw new Error("it has an end");
      }
      reader.add(Buffer.from("0\r\n\r\n"));
      expect(reader.read(false)?.body.length).toBe(chunks);
    };
    expect(growth(parse, 12_500)).toBeLessThan(LINEAR);
  });

  test("waits for the complete response, however its end is marked", () => {
    for (const text of ["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.0 200 OK\r\ncontent-length:5\r\n\r\nhello", CHUNKED]) {
      const bytes = Buffer.from(text);
      // The bytes behind the last chunk's size add nothing.
      const needed = text === CHUNKED ? bytes.length - 2 : bytes.length;
      for (let length = 0; length < needed; length++) expect(readResponse(bytes.subarray(0, length), false)).toBeUndefined();
      expect(readResponse(bytes, false)).toBe(text === CHUNKED ? "hello, chunked!" : "hello");
    }
  });

  test("accepts a body without a length when the connection has ended", () => {
    const bytes = Buffer.from("HTTP/1.0 200 OK\r\n\r\nhello");
    expect(readResponse(bytes, false)).toBeUndefined();
    expect(readResponse(bytes, true)).toBe("hello");
  });

  test("says what is wrong with a malformed response", () => {
    const said = (text: string) => {
      try {
        return readResponse(Buffer.from(text), true);
      } catch (error) {
        return (error as Error).message;
      }
    };
    expect(said("")).toBe("closed without an answer");
    expect(said("HTTP/1.1 200 OK\r\n")).toBe("closed in the middle of the answer's headers");
    expect(said("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello")).toBe("closed in the middle of the answer's body");
    expect(said("SMTP ready\r\n\r\n")).toBe("the answer is not HTTP");
    expect(said("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello")).toBe('the answer\'s Content-Length is "-5"');
    expect(said("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello\r\n")).toBe("the answer's chunks are malformed");
    expect(said(CHUNKED.slice(0, -10))).toBe("closed in the middle of the answer's body");
    expect(readAnswer(Buffer.from("HTTP/1.1 500 Internal Server Error\r\n\r\noops"), true)).toMatchObject({
      status: 500,
      statusText: "500 Internal Server Error",
    });
  });
});
