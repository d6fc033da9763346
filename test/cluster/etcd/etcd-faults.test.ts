import { afterEach, expect, test } from "bun:test";
import { createServer, type Server, type Socket } from "node:net";
import type { EtcdEvent, EtcdWatch, EtcdWatcher } from "../../../src/cluster/etcd/etcd.ts";
import { EtcdError } from "../../../src/cluster/etcd/etcd-error.ts";
import { EtcdHttp } from "../../../src/cluster/etcd/etcd-http.ts";
import { deadAddress } from "../../support/auth-server.ts";
import { certificate, clientTls } from "../../support/certs/certs.ts";
import { RealEtcd } from "../../support/etcd.ts";
import { missing, testUnless } from "../../support/needs.ts";
import { until } from "../../support/server.ts";

const HEADER = { revision: "7" };
/** Longer than a loaded machine stands still. Calls to an endpoint that never answers are given less. */
const LIMIT_MS = 20_000;

/** An endpoint that does with a request whatever the test says. */
class FakeEndpoint {
  requests = 0;
  private constructor(
    private readonly server: Server,
    readonly sockets: Set<Socket>,
  ) {}

  static async start(onRequest: (socket: Socket, request: string) => void): Promise<FakeEndpoint> {
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("data", (data) => {
        endpoint.requests++;
        onRequest(socket, data.toString());
      });
    });
    const endpoint = new FakeEndpoint(server, sockets);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return endpoint;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as { port: number }).port}`;
  }

  close(): void {
    this.server.close();
    for (const socket of this.sockets) socket.destroy();
  }
}

const opened: FakeEndpoint[] = [];
const watches: EtcdWatch[] = [];
afterEach(() => {
  for (const endpoint of opened.splice(0)) endpoint.close();
  for (const watch of watches.splice(0)) watch.close();
});

async function endpoint(onRequest: (socket: Socket, request: string) => void): Promise<FakeEndpoint> {
  const fake = await FakeEndpoint.start(onRequest);
  opened.push(fake);
  return fake;
}

function answer(socket: Socket, status: number, body: string): void {
  socket.write(`HTTP/1.1 ${status} X\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
}

const answering = (body: object, status = 200) => endpoint((socket) => answer(socket, status, JSON.stringify(body)));
const hanging = () => endpoint(() => {});
const closing = () => endpoint((socket) => void socket.destroy());

function etcdAt(...endpoints: (FakeEndpoint | string)[]): EtcdHttp {
  return new EtcdHttp({ endpoints: endpoints.map((one) => (typeof one === "string" ? one : one.url)), callLimitMs: LIMIT_MS });
}

class Told implements EtcdWatcher {
  readonly values: (string | undefined)[] = [];
  readonly troubles: EtcdError[] = [];
  compacted = 0;
  onEvents(_revision: number, events: readonly EtcdEvent[]): void {
    this.values.push(...events.map(({ entry }) => entry?.value));
  }
  onCompacted(): void {
    this.compacted++;
  }
  onTrouble(error: EtcdError): void {
    this.troubles.push(error);
  }
}

test("reads and writes go to another endpoint when nobody listens at the first, since nothing was sent", async () => {
  const good = await answering({ header: HEADER });
  const etcd = etcdAt(`http://${deadAddress()}`, good);
  expect(await etcd.put("a", "1")).toEqual({ revision: 7 });
  expect(await etcd.get("a")).toEqual({ entry: undefined, revision: 7 });
  expect(good.requests).toBe(2);
});

test("no endpoint at all: nothing was changed", async () => {
  const etcd = etcdAt(`http://${deadAddress()}`, `http://${deadAddress()}`);
  expect(await etcd.put("a", "1")).toMatchObject({ reason: "unreachable", outcome: "none" });
});

test("a write whose answer does not come is not sent again, and its outcome is unknown", async () => {
  const bad = await closing();
  const good = await answering({ header: HEADER, succeeded: true });
  for (const call of [
    (etcd: EtcdHttp) => etcd.txn([], [{ put: "a", value: "1" }]),
    (etcd: EtcdHttp) => etcd.put("a", "1"),
    (etcd: EtcdHttp) => etcd.remove("a"),
  ]) {
    const etcd = etcdAt(bad, good);
    const before = bad.requests;
    expect(await call(etcd)).toMatchObject({ reason: "unreachable", outcome: "unknown" });
    expect([bad.requests - before, good.requests]).toEqual([1, 0]);
  }
});

test("a connection that was kept and is closed under a write does not have it sent again either", async () => {
  let served = 0;
  const bad = await endpoint((socket) =>
    served++ === 0 ? answer(socket, 200, JSON.stringify({ header: HEADER })) : void socket.destroy(),
  );
  const etcd = etcdAt(bad);
  expect(await etcd.put("a", "1")).toEqual({ revision: 7 });
  expect(await etcd.put("a", "2")).toMatchObject({ outcome: "unknown" });
  expect(bad.requests).toBe(2);
});

test("a write to an endpoint that hangs is unknown after its time; a read goes on to the next endpoint, and so does the next write", async () => {
  const good = await answering({ header: HEADER });
  const bad = await hanging();
  expect(await etcdAt(bad, good).put("a", "1", "", 200)).toMatchObject({ reason: "unreachable", outcome: "unknown" });
  expect(good.requests).toBe(0);
  const etcd = etcdAt(bad, good);
  // A machine that stands still may have no time left for the other endpoint.
  await until("a read gets through", async () => !((await etcd.get("a", 1_000)) instanceof EtcdError));
  expect(await etcd.put("a", "1")).toEqual({ revision: 7 });
});

test("what an endpoint without a leader says may have been done by another one", async () => {
  const bad = await answering({ error: "etcdserver: request timed out", code: 14 }, 503);
  expect(await etcdAt(bad).txn([], [{ remove: "a" }])).toMatchObject({ reason: "unreachable", outcome: "unknown" });
  expect(await etcdAt(bad).get("a")).toMatchObject({ reason: "unreachable", outcome: "none" });
});

test("answers that are not etcd's are errors, whatever they are", async () => {
  const bodies = ["", "<html>", "[]", "null", '"x"', "{}", '{"header":3}', '{"error":{"code":14,"message":"no"}}'];
  const revisions = ["9007199254740993", "x", "-1", 1.5, {}].map((revision) => JSON.stringify({ header: { revision } }));
  for (const body of [...bodies, ...revisions]) {
    const bad = await endpoint((socket) => answer(socket, 200, body));
    const etcd = etcdAt(bad);
    expect(await etcd.get("a")).toMatchObject({ reason: "unreachable", outcome: "none" });
    expect(await etcd.txn([], [{ put: "a", value: "" }, { get: "a" }])).toMatchObject({ reason: "unreachable", outcome: "unknown" });
    expect(await etcd.keepAlive("1")).toMatchObject({ reason: "unreachable" });
  }
  for (const kvs of [{}, [3], [{ key: 3 }], [{ mod_revision: {} }], [{ mod_revision: "1e99" }], [{ lease: "abc" }]]) {
    const bad = await answering({ header: HEADER, kvs });
    expect(await etcdAt(bad).get("a")).toMatchObject({ reason: "unreachable", outcome: "none" });
    expect(await etcdAt(bad).range("a")).toMatchObject({ reason: "unreachable", outcome: "none" });
  }
});

test("a watch whose stream is nonsense, ends or is not opened is tried again, and tells the trouble", async () => {
  const line = (result: object) => `${JSON.stringify({ result })}\n`;
  const created = line({ header: { revision: "9" }, created: true });
  const event = (revision: number, value: string) =>
    line({
      header: HEADER,
      events: [{ kv: { key: btoa("/a/b"), value: btoa(value), create_revision: "5", mod_revision: String(revision) } }],
    });
  const streams = [
    "{}\n",
    "nonsense\n",
    `${created}${event(8, "eight")}`,
    `${created}${event(8, "eight")}${event(9, "nine")}`,
    '{"error":{"grpc_code":14,"message":"away"}}\n',
  ];
  const seen: string[] = [];
  const fake = await endpoint((socket, request) => {
    seen.push(/"start_revision":"(\d+)"/.exec(request)?.[1] ?? "");
    const body = streams.shift();
    if (body === undefined) return answer(socket, 200, line({ header: HEADER, created: true, canceled: true, compact_revision: "99" }));
    answer(socket, 200, body);
  });
  const told = new Told();
  watches.push(etcdAt(fake).watch("/a/", 8, told));
  await until("the watch is told of the compaction", () => told.compacted === 1);
  // What comes twice is told once.
  expect(told.values).toEqual(["eight", "nine"]);
  expect(seen).toEqual(["8", "8", "8", "9", "10", "10"]);
  expect(told.troubles.length).toBe(5);
});

test("a watch at an endpoint that is behind waits for it, and ends when that stays behind: etcd may have been restored from a backup", async () => {
  const revisions = ["2", "6", "4"];
  const fake = await endpoint((socket) => {
    const line = `${JSON.stringify({ result: { header: { revision: revisions.shift() ?? "3" }, created: true } })}\n`;
    socket.write(`HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n${line.length.toString(16)}\r\n${line}\r\n`);
  });
  const told = new Told();
  watches.push(new EtcdHttp({ endpoints: [fake.url], callLimitMs: LIMIT_MS, watchQuietMs: 20 }).watch("/a/", 7, told));
  await until("it has ended", () => told.compacted === 1);
  expect(told.troubles.length).toBeGreaterThan(2);
  expect(fake.requests).toBeGreaterThan(5);
});

test("a watch that is quiet for long is opened anew, in case its connection is dead, which is no trouble", async () => {
  const starts: string[] = [];
  const fake = await endpoint((socket, request) => {
    starts.push(/"start_revision":"(\d+)"/.exec(request)?.[1] ?? "");
    const first = starts.length === 1;
    const events = first ? [{ kv: { key: btoa("/a/b"), value: btoa("x"), mod_revision: "8" } }] : [];
    const lines = `${JSON.stringify({ result: { header: { revision: "8" }, created: true } })}\n${JSON.stringify({ result: { header: HEADER, events } })}\n`;
    socket.write(`HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n${lines.length.toString(16)}\r\n${lines}\r\n`);
  });
  const told = new Told();
  watches.push(new EtcdHttp({ endpoints: [fake.url], callLimitMs: LIMIT_MS, watchQuietMs: 20 }).watch("/a/", 3, told));
  await until("it is opened again and again", () => starts.length >= 4);
  expect(starts.slice(0, 3)).toEqual(["3", "9", "9"]);
  expect([told.values, told.troubles, told.compacted]).toEqual([["x"], [], 0]);
});

test("a proxy that the environment names is not used", async () => {
  const good = await answering({ header: HEADER });
  const program = `
    import { EtcdHttp } from "${import.meta.dir}/../../../src/cluster/etcd/etcd-http.ts";
    console.log(JSON.stringify(await new EtcdHttp({ endpoints: ["${good.url}"], callLimitMs: ${LIMIT_MS} }).put("a", "1")));`;
  const proxy = `http://${deadAddress()}`;
  const child = Bun.spawn([process.execPath, "-e", program], {
    env: { ...process.env, HTTP_PROXY: proxy, http_proxy: proxy },
    stdout: "pipe",
  });
  expect(await new Response(child.stdout).text()).toBe('{"revision":7}\n');
});

testUnless(missing("etcd"))(
  "a watch and calls go on when the member that they use stops or is killed",
  async () => {
    await using real = await RealEtcd.start({ members: 3 });
    const etcd = new EtcdHttp({ endpoints: real.endpoints, callLimitMs: 3_000 });
    const told = new Told();
    watches.push(etcd.watch("/a/", 1, told));
    const put = async (value: string) => {
      // An unknown outcome is read again; here putting the same value twice does no harm.
      await until(`${value} is put`, async () => !((await etcd.put("/a/b", value)) instanceof EtcdError));
      await until(`${value} is told`, () => told.values.includes(value));
    };
    await put("1");
    real.signal(0, "SIGSTOP");
    await put("2");
    real.signal(0, "SIGCONT");
    real.signal(1, "SIGKILL");
    await put("3");
    await real.restart(1);
    real.signal(2, "SIGKILL");
    await put("4");
    expect(told.compacted).toBe(0);
  },
  60_000,
);

testUnless(missing("etcd"))(
  "a user gets a token, and another one when etcd does not know it any more",
  async () => {
    await using real = await RealEtcd.start();
    const { endpoints } = real;
    const post = async (path: string, body: object) =>
      expect((await fetch(`${endpoints[0]}/v3/auth/${path}`, { method: "POST", body: JSON.stringify(body) })).ok).toBe(true);
    await post("user/add", { name: "root", password: "secret" });
    await post("user/grant", { user: "root", role: "root" });
    await post("enable", {});
    const as = (name: string, password: string) => new EtcdHttp({ endpoints, callLimitMs: LIMIT_MS, user: { name, password } });
    expect(await as("root", "wrong").put("/a/b", "1")).toMatchObject({ reason: "refused", outcome: "none" });
    expect(await new EtcdHttp({ endpoints, callLimitMs: LIMIT_MS }).put("/a/b", "1")).toMatchObject({ reason: "refused", outcome: "none" });
    const etcd = as("root", "secret");
    const told = new Told();
    watches.push(etcd.watch("/a/", 1, told));
    expect(await etcd.put("/a/b", "1")).toMatchObject({ revision: 2 });
    await until("the watch tells it", () => told.values.length === 1);
    // Tokens are in the memory of the member that gave them.
    real.signal(0, "SIGKILL");
    await real.restart(0);
    expect(await etcd.get("/a/b")).toMatchObject({ entry: { value: "1" } });
    expect(await etcd.txn([{ key: "/a/b", modRevision: 2 }], [{ put: "/a/b", value: "2" }])).toMatchObject({ succeeded: true });
    await until("the watch tells it", () => told.values.length === 2);
  },
  60_000,
);

testUnless(missing("etcd"))(
  "etcd over TLS wants our certificate, and we want its",
  async () => {
    const server = [`--cert-file=${certificate("node.pem")}`, `--key-file=${certificate("node.key")}`];
    const clients = ["--client-cert-auth", `--trusted-ca-file=${certificate("ca.pem")}`];
    await using real = await RealEtcd.start({ scheme: "https", flags: [...server, ...clients] });
    const { endpoints } = real;
    const { ca, cert = "", key = "" } = clientTls("client");
    const etcd = new EtcdHttp({ endpoints, callLimitMs: LIMIT_MS, tls: { ca, cert, key } });
    const told = new Told();
    watches.push(etcd.watch("/a/", 1, told));
    expect(await etcd.put("/a/b", "1")).toMatchObject({ revision: 2 });
    await until("the watch tells it", () => told.values.length === 1);
    const foreign = clientTls("foreign");
    for (const tls of [{ ca }, { ca, cert: foreign.cert ?? "", key: foreign.key ?? "" }, { cert, key }]) {
      expect(await new EtcdHttp({ endpoints, callLimitMs: LIMIT_MS, tls }).get("/a/b")).toMatchObject({ reason: "unreachable" });
    }
  },
  60_000,
);
