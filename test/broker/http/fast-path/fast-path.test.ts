import { expect, test } from "bun:test";
import { connect } from "node:net";
import { ByteSocket } from "../../../behaviour/differential/support/byte-socket.ts";
import { chunked, header, readResponses, requestBytes, type WireResponse } from "../../../behaviour/differential/support/http-wire.ts";
import { sized } from "../../../support/raw-client.ts";
import { until } from "../../../support/server.ts";
import { WithHttp } from "../../../support/with-http.ts";

/** Parts of the fast path that tests look at. */
interface Inside {
  api: {
    front: {
      listener: { connections: Set<unknown> };
      proxies: { byPort: Map<number, unknown>; serverPort: number };
      load: { requests: number };
    };
  };
}

function show(response: WireResponse): string {
  return `${response.statusLine.split(" ")[1]} ${response.body}`.trimEnd();
}

async function answers(socket: ByteSocket, count: number): Promise<string[]> {
  return (await readResponses(socket, count, false)).map(show);
}

function pub(body: string | Uint8Array, topic = "t"): Buffer {
  return requestBytes("POST", `/pub?topic=${topic}`, body);
}

/** Everything of a response on the wire, for comparing those of the fast path and of Bun.serve(). */
function onTheWire(response: WireResponse): unknown {
  const headers = response.headers.map(([name, value]) =>
    name === "Date" ? [name, value.replace(/\d/g, "9").replace(/[A-Z][a-z]{2}/g, "Abc")] : [name, value],
  );
  return [response.statusLine, headers, response.body.toString()];
}

test("the fast path answers with the same bytes as Bun.serve()", async () => {
  await using http = WithHttp.start();
  const socket = await http.socket();
  socket.write(pub("one"));
  const [fast] = await readResponses(socket, 1, false);
  // This request is equal but for a header that is not for the fast path.
  socket.write(requestBytes("POST", "/pub?topic=t", "two", ["Connection: keep-alive, keep-alive"]));
  const [, served] = await readResponses(socket, 2, false);
  expect(onTheWire(fast)).toEqual(onTheWire(served));
  expect(Math.abs(Date.parse(header(fast, "date") ?? "") - Date.now())).toBeLessThan(60_000);

  const { files } = http.broker.registry.topic("t").partitions[0].log;
  if (files === undefined) throw new Error("no files");
  const commit = files.commit;
  files.commit = () => {
    throw new Error("ENOSPC");
  };
  const other = await http.socket();
  other.write(pub("three"));
  const [fastFailure] = await readResponses(other, 1, false);
  socket.write(pub("four"));
  const [, , servedFailure] = await readResponses(socket, 3, false);
  files.commit = commit;
  expect(show(fastFailure)).toBe('503 {"message":"PUB_FAILED"}');
  expect(onTheWire(fastFailure)).toEqual(onTheWire(servedFailure));
  other.write(pub("five"));
  expect(await answers(other, 2)).toEqual(['503 {"message":"PUB_FAILED"}', "200 OK"]);
  expect(await http.bodies("t", 3)).toEqual(["one", "two", "five"]);
});

test("pipelined publishes fail if their topic cannot be written, and the responses keep their order", async () => {
  await using http = WithHttp.start();
  const { files } = http.broker.registry.topic("bad").partitions[0].log;
  if (files === undefined) throw new Error("no files");
  files.commit = () => {
    throw new Error("ENOSPC");
  };
  const socket = await http.socket();
  const topics = Array.from({ length: 100 }, (_, i) => (i % 3 === 0 ? "bad" : "good"));
  socket.write(Buffer.concat([...topics.map((topic) => pub("m", topic)), requestBytes("GET", "/info")]));
  const all = await answers(socket, topics.length + 1);
  expect(all.slice(0, -1)).toEqual(topics.map((topic) => (topic === "bad" ? '503 {"message":"PUB_FAILED"}' : "200 OK")));
  expect(http.broker.registry.topics.get("good")?.messageCount).toBe(66);
});

test("with fsync nothing is answered before the sync has ended, and publishes that cannot be synced fail", async () => {
  await using http = WithHttp.start();
  http.broker.registry.topic("safe").setDurability("fsync");
  const { files } = http.broker.registry.topic("safe").partitions[0].log;
  if (files === undefined) throw new Error("no files");
  const waiting: ((error: Error | undefined) => void)[] = [];
  const sync = files.sync;
  files.sync = (done) => {
    if (done !== undefined) waiting.push(done);
  };
  const socket = await http.socket();
  socket.write(Buffer.concat([pub("m"), pub("m", "safe"), pub("m")]));
  await until("the sync is under way", () => waiting.length === 1);
  await http.settle();
  expect(socket.received().length).toBe(0);
  waiting.shift()?.(new Error("EIO"));
  expect(await answers(socket, 3)).toEqual(["200 OK", '503 {"message":"PUB_FAILED"}', "200 OK"]);

  // The connection of a client that is gone when its response is due is closed, though it was not read at that time.
  const { connections } = (http.http as unknown as Inside).api.front.listener;
  const before = connections.size;
  const gone = await Bun.connect({ hostname: "127.0.0.1", port: http.http.port, socket: { data: () => {} } });
  gone.write(Buffer.concat([pub("m", "safe"), requestBytes("GET", "/ping")]));
  await until("the sync is under way", () => waiting.length === 1);
  gone.terminate();
  waiting.shift()?.(undefined);
  await until("the connection is closed", () => connections.size === before);
  files.sync = sync;
});

test("pipelined publishes are published and answered in their order, however many come at once", async () => {
  await using http = WithHttp.start();
  const socket = await http.socket();
  const count = 2000;
  socket.write(Buffer.concat(Array.from({ length: count }, (_, i) => pub(`${i}`))));
  const all = await answers(socket, count);
  expect(all).toEqual(Array.from({ length: count }, () => "200 OK"));
  expect((await http.bodies("t", count)).join()).toBe(Array.from({ length: count }, (_, i) => i).join());
});

test("publishes to several topics in turn reach each of them, though one is deleted in between", async () => {
  await using http = WithHttp.start();
  const socket = await http.socket();
  for (let round = 1; round <= 3; round++) {
    socket.write(Buffer.concat(["a", "b", "ab", "a"].map((topic) => pub(`${topic} ${round}`, topic))));
    expect((await answers(socket, 4 * round)).at(-1)).toBe("200 OK");
    expect(["a", "b", "ab"].map((topic) => http.depth(topic))).toEqual([2 * round, 1, round]);
    http.broker.registry.deleteTopic("b");
  }
  expect(await http.bodies("ab", 3)).toEqual(["ab 1", "ab 2", "ab 3"]);
});

test("a request after pipelined publishes sees them committed, and is answered after them", async () => {
  for (const durability of ["write", "fsync"] as const) {
    await using http = WithHttp.start({ durability });
    const socket = await http.socket();
    const count = 600;
    socket.write(
      Buffer.concat([
        ...Array.from({ length: count }, (_, i) => pub(`${i}`)),
        requestBytes("GET", "/stats?format=json&include_mem=false"),
        requestBytes("GET", "/nothing"),
        pub("last"),
      ]),
    );
    const all = await answers(socket, count + 3);
    expect(all.slice(0, count).every((answer) => answer === "200 OK")).toBe(true);
    expect(JSON.parse(all[count].slice(4)).topics[0].message_count).toBe(count);
    expect(all.slice(count + 1)).toEqual(['404 {"message":"NOT_FOUND"}', "200 OK"]);
    socket.write(pub("later"));
    expect((await answers(socket, count + 4)).at(-1)).toBe("200 OK");
    expect((await http.bodies("t", count + 2)).slice(count)).toEqual(["last", "later"]);
  }
});

test("a request in two pieces is accepted, wherever it is cut", async () => {
  await using http = WithHttp.start();
  const socket = await http.socket();
  const requests = [pub("hello"), requestBytes("POST", "/mpub?topic=t", "a\nb\n")];
  let count = 0;
  for (const request of requests) {
    for (let at = 1; at < request.length; at++) {
      await socket.writeInPackets(request.subarray(0, at), at);
      if (at % 16 === 0) await http.settle();
      socket.write(Buffer.concat([request.subarray(at), request]));
      count += 2;
      await socket.until((bytes) => bytes.toString("latin1").split("\r\n\r\nOK").length > count);
    }
  }
  const each = [requests[0].length - 1, requests[1].length - 1];
  await until("all are published", () => http.broker.registry.topics.get("t")?.messageCount === 2 * each[0] + 4 * each[1]);
  expect(socket.received().toString("latin1")).not.toMatch(/HTTP\/1.1 [^2]/);
});

test("a request that comes byte by byte is answered, and so is the next one", async () => {
  await using http = WithHttp.start();
  const socket = await http.socket();
  await socket.writeInPackets(pub("slow"), 1);
  await socket.writeInPackets(requestBytes("POST", "/mpub?topic=t&binary=true", Buffer.concat([Buffer.from([0, 0, 0, 1]), sized("x")])), 1);
  expect(await answers(socket, 2)).toEqual(["200 OK", "200 OK"]);
  expect(await http.bodies("t", 2)).toEqual(["slow", "x"]);
});

test("a large body in many pieces is published whole, and its memory is freed", async () => {
  await using http = WithHttp.start();
  const body = Buffer.from(Array.from({ length: 1_000_000 }, (_, i) => (i * 7) & 255));
  const socket = await http.socket();
  await socket.writeInPackets(pub(body, "t"), 30_011);
  expect(await answers(socket, 1)).toEqual(["200 OK"]);
  const consumer = await http.started.consumer("t", "all", 1);
  expect((await consumer.message()).data.equals(body)).toBe(true);
  const used = http.broker.chunks.usedBytes;
  const half = await http.socket();
  half.write(pub(body).subarray(0, 500_000));
  await until("its body takes memory", () => http.broker.chunks.usedBytes >= used + 500_000);
  half.destroy();
  await until("the memory is freed", () => http.broker.chunks.usedBytes <= used);
});

test("a refused batch is refused whole, and the connection goes on", async () => {
  await using http = WithHttp.start({ maxMsgSizeBytes: 10, maxBodySizeBytes: 100 });
  const socket = await http.socket();
  const mpub = (body: string | Uint8Array, binary = true) => requestBytes("POST", `/mpub?topic=t${binary ? "&binary=true" : ""}`, body);
  const two = Buffer.from([0, 0, 0, 2]);
  const requests: [Buffer, string][] = [
    [mpub(Buffer.concat([two, sized("a"), sized("b"), Buffer.from("trailing")])), "200 OK"],
    [mpub(Buffer.concat([two, sized("a")])), '413 {"message":"BAD_MESSAGE"}'],
    [mpub(Buffer.concat([two, sized("a"), sized("x".repeat(11))])), '413 {"message":"BAD_MESSAGE"}'],
    [mpub("\0\0"), '413 {"message":"BAD_BODY"}'],
    [mpub("x".repeat(101), false), '413 {"message":"BODY_TOO_BIG"}'],
    [mpub(`a\n${"x".repeat(11)}`, false), '413 {"message":"MSG_TOO_BIG"}'],
    [mpub("\n\n", false), "200 OK"],
    [pub("x".repeat(11)), '413 {"message":"MSG_TOO_BIG"}'],
    [pub("x".repeat(10)), "200 OK"],
  ];
  let count = 0;
  for (const [request, answer] of requests) {
    // Once on a new connection, and again on one that the request before it took off the fast path.
    const fresh = await http.socket();
    fresh.write(request);
    expect(await answers(fresh, 1)).toEqual([answer]);
    socket.write(request);
    expect((await answers(socket, ++count)).at(-1)).toBe(answer);
  }
  expect(http.broker.registry.topics.get("t")?.messageCount).toBe(6);
});

test("a client that ends its side after its requests gets all responses, then the end", async () => {
  await using http = WithHttp.start();
  const socket = await http.socket();
  socket.write(Buffer.concat(Array.from({ length: 600 }, () => pub("m"))));
  socket.halfClose();
  const bytes = await socket.untilEnd();
  expect([socket.ended, socket.broken]).toEqual([true, false]);
  expect(bytes.toString("latin1").split("\r\n\r\nOK").length - 1).toBe(600);
  const cut = await http.socket();
  cut.write(pub("never").subarray(0, -1));
  cut.halfClose();
  expect((await cut.untilEnd()).length).toBe(0);
  expect(cut.ended).toBe(true);
  expect(http.broker.registry.topics.get("t")?.messageCount).toBe(600);
});

test("a client that does not read its responses is not read, and gets all of them once it reads", async () => {
  await using http = WithHttp.start();
  const requests = Buffer.concat(Array.from({ length: 1000 }, () => pub("m")));
  const { promise: connected, resolve } = Promise.withResolvers<void>();
  let room = true;
  let bytes = 0;
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port: http.http.port,
    socket: {
      open: () => resolve(),
      drain: () => {
        room = true;
      },
      data: (_, data) => {
        bytes += data.length;
      },
    },
  });
  await connected;
  socket.pause();
  let sent = 0;
  let lastCount = -1;
  const count = () => http.broker.registry.topics.get("t")?.messageCount ?? 0;
  // Until neither the kernel's buffers nor the broker accept more.
  await until(
    "nothing is accepted any more",
    async () => {
      for (let i = 0; room && i < 10; i++) {
        const taken = Math.max(0, socket.write(requests, sent % requests.length));
        sent += taken;
        room = taken > 0 && sent % requests.length === 0;
      }
      await http.settle();
      const still = !room && count() === lastCount;
      lastCount = count();
      if (!still) await Bun.sleep(50);
      return still;
    },
    30_000,
  );
  const stalledAt = count();
  socket.resume();
  await until("more requests are answered", () => count() > stalledAt);
  await until("each request has its response", () => bytes / count() > 150);
  socket.terminate();
}, 40_000);

test("proxied requests are logged with the client's address", async () => {
  await using http = WithHttp.start();
  const socket = await http.socket();
  socket.write(Buffer.concat([pub("m"), requestBytes("GET", "/ping")]));
  expect(await answers(socket, 2)).toEqual(["200 OK", "200 OK"]);
  await until("it is logged", () => http.started.log.matching(/200 GET \/ping/).length === 1);
  expect(http.started.log.matching(/200 GET \/ping/)[0]).toContain(`(${socket.localAddress})`);
});

test("a client that reads late gets a long response whole", async () => {
  await using http = WithHttp.start();
  // Longer than the buffers of all sockets on its way.
  const whole = Buffer.from(`NOK - ${"0123456789".repeat(2_000_000)}`);
  http.setWriteFailure(new Error(whole.toString().slice("NOK - ".length)));
  const pieces: Buffer[] = [];
  let bytes = 0;
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port: http.http.port,
    socket: {
      data: (_, data) => {
        pieces.push(data);
        bytes += data.length;
      },
    },
  });
  socket.pause();
  socket.write(requestBytes("GET", "/ping"));
  const { byPort } = (http.http as unknown as Inside).api.front.proxies;
  await until("it is proxied", () => byPort.size > 0);
  // Other clients are served in the meantime.
  for (let i = 0; i < 10; i++) expect((await fetch(`http://127.0.0.1:${http.http.port}/info`)).status).toBe(200);
  expect(bytes).toBe(0);
  socket.resume();
  await until("everything has come", () => bytes > whole.length);
  expect(Buffer.concat(pieces).subarray(-whole.length).equals(whole)).toBe(true);
  socket.terminate();
}, 60_000);

test("a large upload is proxied without a loss, also of the requests before and after it", async () => {
  await using http = WithHttp.start({ maxMsgSizeBytes: 4_000_000 });
  const socket = await http.socket();
  const body = "0123456789".repeat(300_000);
  socket.write(
    Buffer.concat([
      pub("before"),
      requestBytes("POST", "/pub?topic=t", chunked(Array.from({ length: 30 }, (_, i) => body.slice(i * 100_000, (i + 1) * 100_000))), [
        "Transfer-Encoding: chunked",
      ]),
    ]),
  );
  expect(await answers(socket, 2)).toEqual(["200 OK", "200 OK"]);
  socket.write(pub("after"));
  expect(await answers(socket, 3)).toEqual(["200 OK", "200 OK", "200 OK"]);
  expect((await http.bodies("t", 3)).map((text) => text.length)).toEqual([6, body.length, 5]);
});

test("Bun.serve() behind the fast path serves only the fast path", async () => {
  const served: number[] = [];
  const serve = Bun.serve;
  const spied = (options: Parameters<typeof Bun.serve>[0]) => {
    const server = serve(options);
    served.push(server.port ?? 0);
    return server;
  };
  Bun.serve = spied as typeof Bun.serve;
  try {
    await using http = WithHttp.start();
    expect(served).toHaveLength(1);
    expect(served[0]).not.toBe(http.http.port);
    const response = await fetch(`http://127.0.0.1:${served[0]}/stats`);
    expect([response.status, await response.text()]).toEqual([403, '{"message":"FORBIDDEN"}']);
  } finally {
    Bun.serve = serve;
  }
});

test("idle connections and half requests are closed after their timeouts", async () => {
  await using http = WithHttp.start({}, { idleTimeoutS: 1 });
  const idle = await http.socket();
  idle.write(pub("m"));
  expect(await answers(idle, 1)).toEqual(["200 OK"]);
  const silent = await http.socket();
  const half = await http.socket();
  half.write(pub("half").subarray(0, 20));
  await Promise.all([idle, silent, half].map((socket) => socket.untilEnd(10_000)));
  expect([idle.ended, silent.ended, half.ended]).toEqual([true, true, true]);
}, 15_000);

test("publishes that are under way when the server stops are answered", async () => {
  for (const durability of ["write", "fsync"] as const) {
    await using http = WithHttp.start({ durability });
    const idle = await http.socket();
    const busy = await http.socket();
    const served = await http.socket();
    served.write(requestBytes("GET", "/ping"));
    expect(await answers(served, 1)).toEqual(["200 OK"]);
    busy.write(pub("half").subarray(0, -2));
    await http.settle();
    const stopped = http.http.stop();
    await Promise.all([idle.untilEnd(), served.untilEnd()]);
    expect([idle.ended, served.ended]).toEqual([true, true]);
    busy.write("lf");
    expect(await answers(busy, 1)).toEqual(["200 OK"]);
    await busy.untilEnd();
    await stopped;
    expect(http.broker.registry.topics.get("t")?.messageCount).toBe(1);
    expect(ByteSocket.connect(http.http.port)).rejects.toThrow();
  }
});

test("clients that come and go leave nothing behind", async () => {
  await using http = WithHttp.start();
  for (let i = 0; i < 100; i++) {
    const socket = await ByteSocket.connect(http.http.port);
    const request = i % 3 === 0 ? requestBytes("GET", "/ping") : pub("m");
    socket.write(i % 3 === 1 ? request.subarray(0, -1) : request);
    if (i % 2 === 0) await socket.until((bytes) => bytes.length > 0, 20);
    socket.destroy();
  }
  const { listener, proxies, load } = (http.http as unknown as Inside).api.front;
  await until("everything is freed", () => listener.connections.size === 0 && proxies.byPort.size === 0 && load.requests === 0);
});

test("another address of this machine with the port of a client's proxy is refused", async () => {
  await using http = WithHttp.start();
  const client = await http.socket();
  client.write(requestBytes("GET", "/ping"));
  expect(await answers(client, 1)).toEqual(["200 OK"]);
  const { byPort, serverPort } = (http.http as unknown as Inside).api.front.proxies;
  const [localPort] = byPort.keys();
  const other = connect({ host: "127.0.0.1", port: serverPort, localAddress: "127.0.0.2", localPort });
  const received = await new Promise<string>((resolve, reject) => {
    let text = "";
    other.on("data", (data) => {
      text += data.toString();
    });
    other.on("close", () => resolve(text));
    other.on("error", reject);
    other.write(requestBytes("POST", "/pub?topic=t", "foreign"));
  });
  expect(received).toStartWith("HTTP/1.1 403 ");
  expect(http.depth("t")).toBeUndefined();
});
