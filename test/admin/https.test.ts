import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { connect as connectTls, type SecureVersion } from "node:tls";
import type { AdminOptions } from "../../src/admin/options.ts";
import { adminRoutes } from "../../src/admin/routes.ts";
import { startAdmin } from "../../src/admin/server.ts";
import { DescriptorBudget } from "../../src/base/descriptor-budget.ts";
import { adminFlags } from "../../src/cli/admin-flags.ts";
import { parseFlags } from "../../src/cli/flags.ts";
import { ByteSocket } from "../behaviour/differential/support/byte-socket.ts";
import { certificate, clientTls } from "../support/certs/certs.ts";
import { MemoryLogger, removeFolder, temporaryFolder } from "../support/in-process.ts";
import { until } from "../support/server.ts";
import { WithHttp } from "../support/with-http.ts";
import { Console, PageStream, TRUSTING, WITH_HTTPS } from "./support/console.ts";

const DOWN = { nsqdHttpAddresses: ["127.0.0.1:1"] };
const TOKEN = "secret";
const folder = temporaryFolder();
const accessFile = join(folder, "access.toml");
let console: Console;

beforeAll(() => {
  const sha256 = new Bun.CryptoHasher("sha256").update(TOKEN).digest("hex");
  writeFileSync(accessFile, `[tokens.anna]\nsha256 = "${sha256}"\nroles = { "*" = "admin" }\n`);
  console = new Console({ ...DOWN, ...WITH_HTTPS, accessFile });
});

afterAll(async () => {
  await console[Symbol.asyncDispose]();
  removeFolder(folder);
});

const ask = (origin: string, path: string, init: RequestInit = {}) => fetch(origin + path, { ...init, ...TRUSTING });
const logIn = (origin: string) => {
  const init = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token: TOKEN }) };
  return ask(origin, "/api/v1/session", init);
};

/** The version that a handshake agrees on, or its error. @param most the newest version that the client speaks */
function handshake(port: number, most: SecureVersion): Promise<string> {
  return new Promise((resolve) => {
    const socket = connectTls({ host: "127.0.0.1", port, ca: clientTls().ca, minVersion: "TLSv1.1", maxVersion: most });
    const end = (outcome: string) => {
      socket.destroy();
      resolve(outcome);
    };
    socket.on("secureConnect", () => end(socket.getProtocol() ?? "none"));
    socket.on("error", () => end("refused"));
    socket.on("close", () => end("refused"));
  });
}

describe("a console with HTTPS", () => {
  test("answers every call as over HTTP", async () => {
    const headers = { "Content-Type": "application/json", Authorization: `Bearer ${TOKEN}` };
    for (const [path, route] of adminRoutes({ basePath: "/", proxyGraphite: false }))
      for (const method of route.keys()) {
        const asked = `${path.replace(/:\w+/g, "x")}?topic=x&view=overview`;
        const both = [console.origin, console.secureOrigin].map(async (origin) => {
          const ending = new AbortController();
          const body = method === "GET" || method === "HEAD" ? null : "{}";
          const { status, headers: got } = await ask(origin, asked, { method, headers, body, signal: ending.signal });
          ending.abort();
          return [method, path, status, got.get("content-type")];
        });
        const [plain, secure] = await Promise.all(both);
        expect(secure).toEqual(plain!);
      }
  });

  test("serves the page and its files", async () => {
    const page = await (await ask(console.secureOrigin, "/")).text();
    expect(page).toBe(await (await ask(console.origin, "/")).text());
    const [, file = ""] = /src="([^"]+\.js)"/.exec(page) ?? [];
    expect((await ask(console.secureOrigin, `/${file.replace(/^\.?\//, "")}`)).status).toBe(200);
  });

  test("has its login's cookie sent over HTTPS only", async () => {
    const cookie = (await logIn(console.secureOrigin)).headers.get("set-cookie") ?? "";
    expect(cookie).toMatch(/^bunsq_session=[^;]+; /);
    expect(cookie.split("; ")).toContain("Secure");
    const headers = { Cookie: cookie.split(";")[0]! };
    expect((await ask(console.secureOrigin, "/api/v1/overview", { headers })).status).toBe(200);
    const out = await ask(console.secureOrigin, "/api/v1/session", {
      method: "DELETE",
      headers: { ...headers, "Content-Type": "application/json" },
    });
    expect((out.headers.get("set-cookie") ?? "").split("; ")).toContain("Secure");
    expect((await logIn(console.origin)).headers.get("set-cookie")).not.toContain("Secure");
  });

  test("refuses pages of other sites by their name and its own", async () => {
    const own = new URL(console.secureOrigin).host;
    const status = async (origin: string) => {
      const headers = { "Content-Type": "application/json", Authorization: `Bearer ${TOKEN}`, Origin: origin };
      return (await ask(console.secureOrigin, "/api/v1/actions", { method: "POST", headers, body: "{}" })).status;
    };
    expect(await status("https://elsewhere.example")).toBe(403);
    expect(await status(`https://${own}`)).toBe(400);
  });

  test("asks for TLS 1.2 at least", async () => {
    const { httpsPort } = console.server;
    expect(await handshake(httpsPort, "TLSv1.1")).toBe("refused");
    expect(await handshake(httpsPort, "TLSv1.2")).toBe("TLSv1.2");
    expect(await handshake(httpsPort, "TLSv1.3")).toBe("TLSv1.3");
  });

  test("ends a client that sends plain HTTP or garbage there, and goes on for others, whose stream is not disturbed", async () => {
    await using broker = WithHttp.start();
    await using open = new Console({ ...WITH_HTTPS, nsqdHttpAddresses: [`127.0.0.1:${broker.http.port}`] });
    const stream = await PageStream.open(`${open.secureOrigin}/api/v1/stream?view=/topics`);
    await until("the view is there", () => stream.views.has("/topics"));
    for (const bytes of ["GET /ping HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\xff\xff", "\0".repeat(1000), "\x80"]) {
      const socket = await ByteSocket.connect(open.server.httpsPort);
      socket.write(bytes);
      socket.halfClose();
      await until("it is ended", () => socket.ended);
      expect((await ask(open.secureOrigin, "/ping")).status).toBe(200);
      socket.destroy();
    }
    await broker.call("POST", "/topic/create?topic=later");
    await until("the stream goes on", () => JSON.stringify(stream.views.get("/topics")).includes("later"));
    expect(stream.isEnded).toBe(false);
    expect(open.logger.matching(/^(ERROR|FATAL)/)).toEqual([]);
    stream.close();
  });

  test("ends streams at its stop", async () => {
    const open = new Console({ ...DOWN, ...WITH_HTTPS });
    const stream = await PageStream.open(`${open.secureOrigin}/api/v1/stream?view=/overview`);
    await until("the view is there", () => stream.views.has("/overview"));
    await open.server.stop();
    await until("the stream is ended", () => stream.isEnded);
  });

  test("notifies of actions with the URL that was asked", async () => {
    await using broker = WithHttp.start({ broadcastAddress: "127.0.0.1" });
    await broker.call("POST", "/topic/create?topic=t");
    const told: { url: string }[] = [];
    const fetch = async (request: Request) => {
      told.push((await request.json()) as { url: string });
      return new Response();
    };
    await using endpoint = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch });
    const to = { nsqdHttpAddresses: [`127.0.0.1:${broker.http.port}`], notificationHttpEndpoint: endpoint.url.href };
    await using open = new Console({ ...WITH_HTTPS, ...to });
    const init = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ action: "pause", topic: "t" }) };
    expect(await (await ask(open.secureOrigin, "/api/v1/actions", init)).json()).toMatchObject({ ok: true });
    await until("it is told", () => told.length > 0);
    expect(told[0]?.url).toBe(`${open.secureOrigin}/api/v1/actions`);
  });
});

test("without --hsts answers over HTTPS say nothing of it", async () => {
  await using open = new Console({ ...DOWN, ...WITH_HTTPS, hsts: false });
  const { status, headers } = await ask(open.secureOrigin, "/ping");
  expect([status, headers.get("strict-transport-security"), headers.get("x-content-type-options")]).toEqual([200, null, "nosniff"]);
});

test("with an empty --http-address there is HTTPS alone", async () => {
  await using open = new Console({ ...DOWN, ...WITH_HTTPS, httpAddress: "" });
  expect(open.server.httpPort).toBe(0);
  expect(await (await ask(open.secureOrigin, "/ready")).text()).toBe("OK");
  expect(open.logger.matching(/INFO: HTTP: listening/)).toEqual([]);
  expect(open.logger.matching(/INFO: HTTPS: listening on 127\.0\.0\.1:\d+$/)).toHaveLength(1);
});

test("idle connections over HTTP make room for one over HTTPS, and a client for whom there is no room is not sent plain text", async () => {
  const { options } = parseFlags(adminFlags(), []);
  const listeners = { ...WITH_HTTPS, httpAddress: "127.0.0.1:0", logLevel: "error" as const };
  const logger = new MemoryLogger();
  // Half of these are for clients, and HTTPS needs three for each.
  const server = startAdmin({ ...options, ...listeners, ...DOWN }, logger, "", new DescriptorBudget(8));
  const idle = await Promise.all([1, 2, 3, 4].map(() => ByteSocket.connect(server.httpPort)));
  expect((await fetch(`https://127.0.0.1:${server.httpsPort}/ping`, { ...TRUSTING, keepalive: false })).status).toBe(200);
  await until("idle ones are closed", () => idle.filter(({ ended }) => ended).length >= 3);
  await server.stop();
  for (const socket of idle) socket.destroy();

  const without = startAdmin({ ...options, ...listeners, ...DOWN }, logger, "", new DescriptorBudget(4));
  const client = await ByteSocket.connect(without.httpsPort);
  client.write("\x16\x03\x01");
  await until("it is turned away", () => client.ended);
  expect(client.received().toString()).toBe("");
  await without.stop();
  client.destroy();
});

describe("a console does not start", () => {
  const refusal = (changes: Partial<AdminOptions>, prefix = "") => {
    const { options } = parseFlags(adminFlags(), []);
    try {
      startAdmin({ ...options, httpAddress: "127.0.0.1:0", ...DOWN, ...changes }, new MemoryLogger(), prefix);
    } catch (error) {
      return (error as Error).message;
    }
    return "it started";
  };

  test("without any address to listen on", () => {
    const none = "no address to listen on: give -http-address, or -https-address with -tls-cert and -tls-key";
    expect(refusal({ httpAddress: "" })).toBe(none);
    expect(refusal({ ...WITH_HTTPS, httpAddress: "", httpsAddress: "" })).toBe(none);
    expect(refusal({ httpAddress: "" }, "admin-")).toBe(none.replace(/ -(?=\w)/g, " -admin-"));
  });

  test("with half a pair, or a pair that does not fit", () => {
    expect(refusal({ ...WITH_HTTPS, tlsKey: "" }, "admin-")).toContain("-admin-tls-key is missing");
    expect(refusal({ ...WITH_HTTPS, tlsCert: "" })).toContain("-tls-cert is missing");
    expect(refusal({ ...WITH_HTTPS, tlsKey: certificate("client.key") })).toContain("does not match");
    // Also where HTTPS is switched off.
    expect(refusal({ ...WITH_HTTPS, httpsAddress: "", tlsKey: certificate("nobody.key") })).toContain("ENOENT");
  });

  test("with an address that is none, or that is in use, and leaves nothing open", async () => {
    expect(refusal({ ...WITH_HTTPS, httpsAddress: "/run/console.sock" }, "admin-")).toStartWith(
      '-admin-https-address: invalid address "/run/console.sock"',
    );
    expect(refusal({ httpAddress: "nonsense" })).toStartWith('-http-address: invalid address "nonsense"');
    const taken = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => {} } });
    const free = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => {} } });
    const httpAddress = `127.0.0.1:${free.port}`;
    free.stop(true);
    const inUse = refusal({ ...WITH_HTTPS, httpAddress, httpsAddress: `127.0.0.1:${taken.port}` }, "admin-");
    expect(inUse).toContain(`cannot listen on 127.0.0.1:${taken.port}: another program uses it`);
    expect(inUse).toContain("choose another -admin-https-address");
    taken.stop(true);
    await expect(fetch(`http://${httpAddress}/ping`)).rejects.toThrow();
  });
});
