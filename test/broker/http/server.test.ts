import { expect, test } from "bun:test";
import { StartError } from "../../../src/base/start-error.ts";
import { PublishError } from "../../../src/broker/acks/pending-publish.ts";
import { startHttp } from "../../../src/broker/http/server.ts";
import { type Disk, systemDisk } from "../../../src/broker/storage/disk/disk.ts";
import type { ByteSocket } from "../../behaviour/differential/support/byte-socket.ts";
import { chunked, header, readResponses, requestBytes, type WireResponse } from "../../behaviour/differential/support/http-wire.ts";
import { messageAfter } from "../../support/due.ts";
import { InProcess } from "../../support/in-process.ts";
import { sized } from "../../support/raw-client.ts";
import { until } from "../../support/server.ts";
import { SteppedClock } from "../../support/stepped-clock.ts";
import { WithHttp } from "../../support/with-http.ts";

function show(response: WireResponse | undefined): string {
  if (response === undefined) return "nothing";
  return `${response.statusLine.split(" ")[1]} ${response.body}`.trimEnd();
}

/** The next `count` responses on a connection. */
async function answers(socket: ByteSocket, count = 1): Promise<string[]> {
  return (await readResponses(socket, count, false)).map(show);
}

/** A request with a Content-Length of which only `sent` is sent. */
function announced(target: string, bytes: number, sent: string): Buffer {
  return requestBytes("POST", target, sent, [`Content-Length: ${bytes}`]);
}

test("a consumer gets exactly the bytes that are published over HTTP", async () => {
  await using http = WithHttp.start();
  const everyByte = Uint8Array.from({ length: 256 }, (_, i) => i);
  expect(await http.call("POST", "/pub?topic=t", everyByte)).toBe("200 OK");
  expect(await http.call("POST", "/mpub?topic=t", "one\ntwo\r\n\nthree")).toBe("200 OK");
  expect(await http.call("POST", "/mpub?topic=t&binary=true", Buffer.concat([Buffer.from([0, 0, 0, 2]), sized("\n"), sized("b")]))).toBe(
    "200 OK",
  );
  const consumer = await http.started.consumer("t", "ch", 10);
  expect((await consumer.message()).data).toEqual(Buffer.from(everyByte));
  for (const text of ["one", "two\r", "three", "\n", "b"]) expect((await consumer.message()).text).toBe(text);
});

test("a deferred publish is delivered when it is due, and not before", async () => {
  const clock = new SteppedClock();
  await using http = WithHttp.start({}, {}, { clock });
  const consumer = await http.started.consumer("t", "ch", 10);
  expect(await http.call("POST", "/pub?topic=t&defer=300", "later")).toBe("200 OK");
  expect(await http.call("POST", "/pub?topic=t", "now")).toBe("200 OK");
  expect((await consumer.message()).text).toBe("now");
  expect((await messageAfter(clock, 300, consumer)).text).toBe("later");
});

test("a body of the largest size is published whole, in whatever pieces it comes", async () => {
  await using http = WithHttp.start({ maxMsgSizeBytes: 200_000 });
  const body = "x".repeat(200_000);
  expect(await http.call("POST", "/pub?topic=t", body)).toBe("200 OK");
  const socket = await http.socket();
  socket.write(
    requestBytes("POST", "/pub?topic=t", chunked(Array.from({ length: 100 }, () => "x".repeat(2000))), ["Transfer-Encoding: chunked"]),
  );
  expect(await answers(socket)).toEqual(["200 OK"]);
  const consumer = await http.started.consumer("t", "ch", 2);
  for (let i = 0; i < 2; i++) expect((await consumer.message()).text).toBe(body);
});

test("a body with a Content-Length beyond the limit is refused before it comes", async () => {
  await using http = WithHttp.start({ maxMsgSizeBytes: 1000, maxBodySizeBytes: 2000 });
  for (const [target, code] of [
    ["/pub?topic=t", "MSG_TOO_BIG"],
    ["/mpub?topic=t", "BODY_TOO_BIG"],
    ["/mpub?topic=t&binary=true", "BODY_TOO_BIG"],
  ] as const) {
    const socket = await http.socket();
    socket.write(announced(target, 2001, ""));
    expect(await answers(socket)).toEqual([`413 {"message":"${code}"}`]);
  }
  expect(http.depth("t") ?? 0).toBe(0);
});

test("a connection goes on after a short refused body, and ends after a long one", async () => {
  await using http = WithHttp.start({ maxMsgSizeBytes: 1000 });
  const socket = await http.socket();
  socket.write(announced("/pub?topic=t", 100_000, "x".repeat(100_000)));
  socket.write(requestBytes("POST", "/pub?topic=t", chunked(["x".repeat(1001)]), ["Transfer-Encoding: chunked"]));
  socket.write(requestBytes("GET", "/ping"));
  expect(await answers(socket, 3)).toEqual(['413 {"message":"MSG_TOO_BIG"}', '413 {"message":"MSG_TOO_BIG"}', "200 OK"]);
  const long = await http.socket();
  long.write(announced("/pub?topic=t", 1_000_000, ""));
  expect(await answers(long)).toEqual(['413 {"message":"MSG_TOO_BIG"}']);
  await long.untilEnd();
  expect(long.ended).toBe(true);
});

test("an endless chunked body is cut off a little beyond the limit", async () => {
  await using http = WithHttp.start({ maxMsgSizeBytes: 1000 });
  const socket = await http.socket();
  socket.write("POST /pub?topic=t HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
  const chunk = `${(65536).toString(16)}\r\n${"x".repeat(65536)}\r\n`;
  let sent = 0;
  await until("the server closes the connection", async () => {
    if (!socket.ended && sent < 64) {
      await socket.writeInPackets(chunk, chunk.length);
      sent++;
    }
    return socket.ended;
  });
  expect(sent).toBeLessThan(64);
  expect(socket.received().toString()).toContain("MSG_TOO_BIG");
  expect(await http.call("GET", "/ping")).toBe("200 OK");
});

test("a chunked body in chunks of one byte is accepted", async () => {
  await using http = WithHttp.start();
  const socket = await http.socket();
  socket.write(requestBytes("POST", "/pub?topic=t", chunked(Array.from({ length: 50_000 }, () => "x")), ["Transfer-Encoding: chunked"]));
  expect(await answers(socket)).toEqual(["200 OK"]);
  expect(http.broker.registry.topics.get("t")?.messageBytes).toBe(50_000);
});

test("a request that stalls times out, and publishes nothing", async () => {
  await using http = WithHttp.start({}, { idleTimeoutS: 1 });
  const body = await http.socket();
  body.write(announced("/pub?topic=t", 100, "half"));
  const chunks = await http.socket();
  chunks.write("POST /mpub?topic=t HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
  // Bun's timers are accurate to some seconds.
  await Promise.all([body.untilEnd(15_000), chunks.untilEnd(15_000)]);
  expect([body.ended, chunks.ended]).toEqual([true, true]);
  expect(http.depth("t") ?? 0).toBe(0);
  expect(http.log.matching(/^ERROR/)).toEqual([]);
  expect(await http.call("GET", "/ping")).toBe("200 OK");
}, 20_000);

/** A disk whose syncs end when the test says so. */
function heldSyncs(): { disk: Disk; release: () => void } {
  const held: (() => void)[] = [];
  let isHolding = true;
  const sync: Disk["sync"] = (fd, done) => {
    if (isHolding) held.push(() => systemDisk.sync(fd, done));
    else systemDisk.sync(fd, done);
  };
  const release = () => {
    isHolding = false;
    for (const run of held.splice(0)) run();
  };
  return { disk: { ...systemDisk, sync }, release };
}

/** A request with an X-NSQ header is left to Bun.serve(). */
const PATHS: [where: string, headers: string[]][] = [
  ["on the fast path", []],
  ["behind it", ["X-NSQ-Anything: 1"]],
];
for (const [where, headers] of PATHS) {
  test(`publishes beyond the limit are refused ${where}, what only reads is not, and half a publish does not count`, async () => {
    const { disk, release } = heldSyncs();
    await using http = WithHttp.start({ durability: "fsync" }, { requests: 1 }, { disk });
    for (let i = 0; i < 5; i++) {
      const half = await http.socket();
      half.write(requestBytes("POST", "/pub?topic=half", "half", headers).subarray(0, -2));
    }
    await http.settle();
    const slow = await http.socket();
    slow.write(requestBytes("POST", "/pub?topic=t", "m", headers));
    await until("the first is being carried out", () => http.depth("t") === 1);
    const second = await http.socket();
    second.write(requestBytes("POST", "/pub?topic=t", "m", headers));
    expect(await answers(second)).toEqual(['503 {"message":"TOO_MANY_REQUESTS"}']);
    for (const path of ["/ping", "/stats", "/info"]) expect(await http.call("GET", path)).toStartWith("200");
    release();
    expect(await answers(slow)).toEqual(["200 OK"]);
    second.write(requestBytes("POST", "/pub?topic=t", "m", headers));
    expect((await answers(second, 2))[1]).toBe("200 OK");
  });

  test(`a body that comes too slowly is answered 408 ${where}, and one that comes byte by byte too`, async () => {
    await using http = WithHttp.start({}, { slowBodyMs: 600 });
    const silent = await http.socket();
    silent.write(requestBytes("POST", "/pub?topic=t", "silent", headers).subarray(0, -1));
    const large = await http.socket();
    large.write(requestBytes("POST", "/mpub?topic=t", "x".repeat(500_000), headers).subarray(0, 5000));
    const trickling = await http.socket();
    trickling.write(requestBytes("POST", "/mpub?topic=t", "x".repeat(500_000), headers).subarray(0, 5000));
    const timer = setInterval(() => trickling.write("x"), 100);
    try {
      for (const socket of [silent, large, trickling]) {
        await socket.untilEnd();
        expect(socket.received().toString()).toStartWith("HTTP/1.1 408 ");
        expect(socket.received().toString()).toEndWith('{"message":"REQUEST_TIMEOUT"}');
      }
    } finally {
      clearInterval(timer);
    }
    expect(http.depth("t") ?? 0).toBe(0);
    expect(http.log.matching(/^ERROR/)).toEqual([]);
  });

  test(`large bodies wait for room ${where} when many have come halfway, small ones do not, and all are received in the end`, async () => {
    await using http = WithHttp.start({}, { bodyBytes: 900_000 });
    const large = requestBytes("POST", "/pub?topic=t", "x".repeat(600_000), headers);
    const halves = await Promise.all(Array.from({ length: 4 }, () => http.socket()));
    for (const socket of halves) socket.write(large.subarray(0, -1));
    await http.settle();
    expect(await http.call("POST", "/pub?topic=small", "m")).toBe("200 OK");
    for (const socket of halves) socket.write("x");
    for (const socket of halves) expect(await answers(socket)).toEqual(["200 OK"]);
    expect(http.depth("t")).toBe(4);
  });

  test(`large bodies that are only announced take no room ${where}`, async () => {
    await using http = WithHttp.start({}, { bodyBytes: 900_000 });
    const large = requestBytes("POST", "/mpub?topic=t", "x".repeat(800_000), headers);
    for (let i = 0; i < 30; i++) {
      const silent = await http.socket();
      silent.write(large.subarray(0, 300));
    }
    await http.settle();
    const honest = await http.socket();
    honest.write(large);
    expect(await answers(honest)).toEqual(["200 OK"]);
  });

  test(`the room of a client that leaves in the middle of its body is free again ${where}`, async () => {
    await using http = WithHttp.start({}, { bodyBytes: 100_000 });
    for (let i = 0; i < 5; i++) {
      const gone = await Promise.all([http.socket(), http.socket(), http.socket()]);
      for (const socket of gone) socket.write(requestBytes("POST", "/pub?topic=t", "x".repeat(100_000), headers).subarray(0, -1));
      await http.settle();
      for (const socket of gone) socket.destroy();
      expect(await http.call("POST", "/pub?topic=u", "x".repeat(100_000))).toBe("200 OK");
    }
    expect(http.depth("t") ?? 0).toBe(0);
    expect(http.log.matching(/^ERROR/)).toEqual([]);
  });
}

test("a client that leaves while its body waits does not keep the next one waiting", async () => {
  await using http = WithHttp.start({}, { bodyBytes: 100_000 });
  const large = "x".repeat(100_000);
  const first = await http.socket();
  first.write(announced("/pub?topic=t", large.length, large.slice(1)));
  await http.settle();
  const gone = await http.socket();
  gone.write(announced("/pub?topic=gone", large.length, "x"));
  await http.settle();
  const last = await http.socket();
  last.write(announced("/pub?topic=t", large.length, large));
  gone.destroy();
  await http.settle();
  first.write("x");
  expect(await answers(first)).toEqual(["200 OK"]);
  expect(await answers(last)).toEqual(["200 OK"]);
  expect(http.depth("t")).toBe(2);
  expect(http.depth("gone")).toBeUndefined();
});

test("two equal Content-Length headers count once, and large bodies after them are still served", async () => {
  await using http = WithHttp.start();
  const body = "x".repeat(100_000);
  const twice = [`Content-Length: ${body.length}`, `Content-Length: ${body.length}`];
  for (let i = 0; i < 2; i++) {
    const socket = await http.socket();
    socket.write(requestBytes("POST", "/mpub?topic=t", body, twice));
    expect(await answers(socket)).toEqual(["200 OK"]);
  }
  expect(http.depth("t")).toBe(2);
});

test("requests without a body may be pipelined", async () => {
  await using http = WithHttp.start();
  const socket = await http.socket();
  socket.write(
    Buffer.concat([requestBytes("GET", "/ping"), requestBytes("GET", "/nothing"), requestBytes("POST", "/topic/create?topic=t")]),
  );
  expect(await answers(socket, 3)).toEqual(["200 OK", '404 {"message":"NOT_FOUND"}', "200"]);
});

test("a publish that the broker refuses is answered with 503", async () => {
  await using http = WithHttp.start();
  const { broker } = http;
  broker.registry.topic("t");
  for (const [reason, code] of [
    ["exiting", "EXITING"],
    ["no space left on device", "PUB_FAILED"],
  ] as const) {
    broker.publishing.refusal = new PublishError(reason);
    expect(await http.call("POST", "/pub?topic=t", "m")).toBe(`503 {"message":"${code}"}`);
    expect(await http.call("POST", "/mpub?topic=t", "m")).toBe(`503 {"message":"${code}"}`);
  }
});

test("a path in the wrong case is redirected, whatever bytes host and query have", async () => {
  await using http = WithHttp.start();
  const socket = await http.socket();
  socket.write(Buffer.from("POST /channel/unpaUse?topic=f\xf5&channel=c HTTP/1.1\r\nHost: \x99 b\r\nContent-Length: 0\r\n\r\n", "latin1"));
  const [response] = await readResponses(socket, 1, false);
  expect(show(response)).toBe("307");
  expect(header(response, "location")).toBe("/channel/unpause?topic=f%EF%BF%BD&channel=c");
});

test("a defect in a handler is answered with 500, and logged", async () => {
  await using http = WithHttp.start();
  Object.defineProperty(http.broker.health, "text", {
    get() {
      throw new Error("the dog ate it");
    },
  });
  expect(await http.call("GET", "/ping")).toBe('500 {"message":"INTERNAL_ERROR"}');
  expect(http.log.matching(/^ERROR: error in HTTP handler - Error: the dog ate it/)).toHaveLength(1);
});

test("/ping and /stats say what is wrong with the broker", async () => {
  await using http = WithHttp.start();
  http.setWriteFailure(new Error("disk full"));
  const ping = await fetch(`http://127.0.0.1:${http.http.port}/ping`);
  expect([ping.status, await ping.text(), ping.headers.get("content-type"), ping.headers.get("x-nsq-content-type")]).toEqual([
    500,
    "NOK - disk full",
    "text/plain; charset=utf-8",
    null,
  ]);
  expect(await http.call("GET", "/stats?format=json")).toContain('"health":"NOK - disk full"');
  expect(await http.call("GET", "/stats")).toContain("\nHealth: NOK - disk full\n");
});

test("topics and channels are made, paused, emptied and deleted", async () => {
  await using http = WithHttp.start();
  const { broker } = http;
  expect(await http.call("POST", "/topic/create?topic=t")).toBe("200");
  await http.call("POST", "/pub?topic=t", "m");
  expect(http.depth("t")).toBe(1);
  expect(await http.call("POST", "/topic/empty?topic=t")).toBe("200");
  expect(http.depth("t")).toBe(0);
  expect(await http.call("POST", "/channel/create?topic=t&channel=ch")).toBe("200");
  const topic = broker.registry.topics.get("t");
  const channel = topic?.channels.get("ch");
  expect(await http.call("POST", "/topic/pause?topic=t")).toBe("200");
  expect(await http.call("POST", "/channel/pause?topic=t&channel=ch")).toBe("200");
  expect([topic?.paused, channel?.paused]).toEqual([true, true]);
  expect(await http.call("POST", "/topic/unpause?topic=t")).toBe("200");
  expect(await http.call("POST", "/channel/unpause?topic=t&channel=ch")).toBe("200");
  expect([topic?.paused, channel?.paused]).toEqual([false, false]);
  await http.call("POST", "/pub?topic=t", "m");
  await until("the message is in the channel", () => channel?.depth === 1);
  expect(await http.call("POST", "/channel/empty?topic=t&channel=ch")).toBe("200");
  expect(channel?.depth).toBe(0);
  expect(await http.call("POST", "/channel/delete?topic=t&channel=ch")).toBe("200");
  expect(topic?.channels.size).toBe(0);
  expect(await http.call("POST", "/channel/delete?topic=t&channel=ch")).toBe('404 {"message":"CHANNEL_NOT_FOUND"}');
  expect(await http.call("POST", "/topic/delete?topic=t")).toBe("200");
  expect(broker.registry.topics.size).toBe(0);
  expect(await http.call("POST", "/topic/delete?topic=t")).toBe('404 {"message":"TOPIC_NOT_FOUND"}');
});

test("a changed option takes effect, and listeners are called", async () => {
  await using http = WithHttp.start();
  const { broker, log } = http;
  let told = 0;
  broker.optionsChanged.push(() => told++);
  expect(await http.call("PUT", "/config/log_level", "WARN")).toBe("200 3");
  expect([broker.options.logLevel, log.level, told]).toEqual(["warn", "warn", 1]);
  expect(await http.call("PUT", "/config/nsqlookupd_tcp_addresses", '["a:1","<b>:2"]')).toBe('200 ["a:1","\\u003cb\\u003e:2"]');
  expect(broker.options.lookupdTcpAddresses).toEqual(["a:1", "<b>:2"]);
  expect(told).toBe(2);
  expect(await http.call("PUT", "/config/log_level", "loud")).toBe('400 {"message":"INVALID_VALUE"}');
  expect(await http.call("PUT", "/config/msg_timeout", "1")).toBe('400 {"message":"INVALID_OPTION"}');
  expect(told).toBe(2);
});

test("each call but a publish is logged, at the level info", async () => {
  await using http = WithHttp.start();
  const calls = () => http.log.matching(/^INFO: \d\d\d /).splice(0);
  await http.call("GET", "/ping?a=%20b");
  await http.call("POST", "/pub", "m");
  await http.call("POST", "/topic/create");
  await http.call("GET", "/nothing");
  await http.call("DELETE", "/ping");
  const lines = calls().map((line) => line.replace(/\(127\.0\.0\.1:\d+\) [\d.]+(ns|µs|ms|s)$/, "(client) time"));
  expect(lines).toEqual([
    "INFO: 200 GET /ping?a=%20b (client) time",
    "INFO: 400 POST /topic/create (client) time",
    "INFO: 404 GET /nothing (client) time",
    "INFO: 405 DELETE /ping (client) time",
  ]);
  http.log.level = "warn";
  await http.call("GET", "/ping");
  expect(calls()).toHaveLength(4);
});

test("a port in use is an error that says what to do, also if a server of the same kind uses it", async () => {
  await using http = WithHttp.start();
  const { port } = http.http;
  expect(http.log.matching(/HTTP: listening/)).toEqual([`INFO: HTTP: listening on 127.0.0.1:${port}`]);
  await using other = InProcess.start({ httpAddress: `127.0.0.1:${port}` });
  expect(() => startHttp(other.broker)).toThrow(StartError);
  expect(() => startHttp(other.broker)).toThrow(`cannot listen on 127.0.0.1:${port}: another program uses it`);
});

test("stopping answers requests under way, closes idle connections, and accepts no new ones", async () => {
  await using http = WithHttp.start({}, { stopTimeoutMs: 10_000 });
  const idle = await http.socket();
  idle.write(requestBytes("GET", "/ping"));
  expect(await answers(idle)).toEqual(["200 OK"]);
  const busy = await http.socket();
  busy.write(announced("/pub?topic=t", 8, "half"));
  await http.settle();
  const stopped = http.http.stop();
  await idle.untilEnd();
  expect(idle.ended).toBe(true);
  busy.write("half");
  expect(show((await readResponses(busy, 1, false))[0])).toBe("200 OK");
  await stopped;
  expect(http.depth("t")).toBe(1);
  await expect(http.call("GET", "/ping")).rejects.toThrow();
});

test("stopping waits for a stalled client no longer than its timeout", async () => {
  await using http = WithHttp.start({}, { stopTimeoutMs: 200 });
  const stalled = await http.socket();
  stalled.write(announced("/pub?topic=t", 8, "half"));
  await http.settle();
  // Nothing but its timeout ends it: the client sends no more.
  await http.http.stop();
  await stalled.untilEnd();
  expect(stalled.ended).toBe(true);
});

test("a topic's durability is set and told over HTTP", async () => {
  await using server = WithHttp.start();
  expect(await server.call("POST", "/topic/durability?topic=t&level=fsync")).toBe('404 {"message":"TOPIC_NOT_FOUND"}');
  await server.call("POST", "/topic/create?topic=t");
  expect(await server.call("GET", "/topic/durability?topic=t")).toBe('200 {"topic_name":"t","level":"default","durability":"write"}');
  expect(await server.call("POST", "/topic/durability?topic=t")).toBe('400 {"message":"MISSING_ARG_LEVEL"}');
  expect(await server.call("POST", "/topic/durability?topic=t&level=none")).toBe('400 {"message":"INVALID_ARG_LEVEL"}');
  const fsync = '200 {"topic_name":"t","level":"fsync","durability":"fsync"}';
  expect(await server.call("POST", "/topic/durability?topic=t&level=fsync")).toBe(fsync);
  expect(await server.call("GET", "/topic/durability?topic=t")).toBe(fsync);
  // Publishes over HTTP wait for the disk as well, also deferred ones.
  for (const target of ["/pub?topic=t", "/pub?topic=t&defer=60000", "/mpub?topic=t"]) {
    expect(await server.call("POST", target, "m")).toBe("200 OK");
  }
  const written = '200 {"topic_name":"t","level":"default","durability":"write"}';
  expect(await server.call("POST", "/topic/durability?topic=t&level=default")).toBe(written);
});

test("with hardly any free space publishes are refused with 503, except those to ephemeral topics", async () => {
  await using server = WithHttp.start({ minFreeBytes: 2 ** 50 });
  expect(await server.call("POST", "/pub?topic=t", "m")).toBe('503 {"message":"PUB_FAILED"}');
  expect(await server.call("POST", "/mpub?topic=t", "m")).toBe('503 {"message":"PUB_FAILED"}');
  expect(await server.call("GET", "/ping")).toMatch(
    /^500 NOK - the disk is nearly full: \d+ bytes are free, --min-free-bytes keeps 1125899906842624$/,
  );
  expect(await server.call("POST", "/pub?topic=t%23ephemeral", "m")).toBe("200 OK");
  const client = await server.started.client();
  client.command("PUB other", "m");
  expect((await client.next()).text).toStartWith("E_PUB_FAILED PUB failed the disk is nearly full");
  // A refused publish makes no topic, and consumers can still connect.
  expect(server.broker.registry.topics.has("other")).toBeFalse();
  await server.started.consumer("t", "c");
});
