import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { addressOf } from "../../../src/admin/access/credentials.ts";
import { TrustedProxies } from "../../../src/admin/access/trusted-proxies.ts";
import { type AdminServer, startAdmin } from "../../../src/admin/server.ts";
import { adminFlags } from "../../../src/cli/admin-flags.ts";
import { parseFlags } from "../../../src/cli/flags.ts";
import { MemoryLogger, removeFolder, temporaryFolder } from "../../support/in-process.ts";

const PROXIES = new TrustedProxies("trusted-proxies", ["10.0.0.0/8", "192.0.2.1", "fd00::/8", "2001:db8::7"]);
const PEER = "10.0.0.1:5000";

describe("the client of a request", () => {
  const CASES: [peer: string, headers: Record<string, string>, client: string][] = [
    ["203.0.113.9:1", { "X-Forwarded-For": "1.1.1.1" }, "203.0.113.9:1"],
    ["203.0.113.9:1", { Forwarded: "for=1.1.1.1" }, "203.0.113.9:1"],
    [PEER, {}, PEER],
    [PEER, { "X-Forwarded-For": "203.0.113.9" }, "203.0.113.9"],
    [PEER, { "X-Forwarded-For": "203.0.113.9:77" }, "203.0.113.9:77"],
    // The client has sent the first, which may be anything.
    [PEER, { "X-Forwarded-For": "1.1.1.1, 203.0.113.9" }, "203.0.113.9"],
    [PEER, { "X-Forwarded-For": "1.1.1.1, 203.0.113.9 ,192.0.2.1,10.9.9.9" }, "203.0.113.9"],
    [PEER, { "X-Forwarded-For": "10.1.1.1, 10.2.2.2" }, "10.1.1.1"],
    [PEER, { "X-Forwarded-For": "unknown" }, PEER],
    [PEER, { "X-Forwarded-For": "" }, PEER],
    [PEER, { "X-Forwarded-For": "1.1.1.1, unknown, 10.2.2.2" }, "10.2.2.2"],
    [PEER, { "X-Forwarded-For": `${"1.1.1.1,".repeat(2_000)}203.0.113.9` }, PEER],
    [PEER, { "X-Forwarded-For": "2001:db8::9" }, "[2001:db8::9]"],
    [PEER, { "X-Forwarded-For": "[2001:db8::9]:80, fd12::1" }, "[2001:db8::9]:80"],
    [PEER, { "X-Forwarded-For": "::ffff:203.0.113.9" }, "203.0.113.9"],
    ["[2001:db8::7]:1", { "X-Forwarded-For": "203.0.113.9" }, "203.0.113.9"],
    ["[2001:db8::8]:1", { "X-Forwarded-For": "203.0.113.9" }, "[2001:db8::8]:1"],
    [PEER, { Forwarded: "for=1.1.1.1, For=203.0.113.9;proto=https;by=10.0.0.1" }, "203.0.113.9"],
    [PEER, { Forwarded: 'for="[2001:db8::9]:4711";host="a,b;c", for=10.3.3.3' }, "[2001:db8::9]:4711"],
    [PEER, { Forwarded: "for=_hidden" }, PEER],
    [PEER, { Forwarded: "for=1.1.1.1, proto=https" }, PEER],
    // A quote that the client has opened must not swallow what the proxy has added.
    [PEER, { Forwarded: 'for=1.1.1.1;x=", for=203.0.113.9' }, PEER],
    [PEER, { Forwarded: 'for=1.1.1.1;x=", for="[2001:db8::9]"' }, PEER],
    // A proxy that sets one of them passes the client's other one on.
    [PEER, { "X-Forwarded-For": "203.0.113.9", Forwarded: "for=1.1.1.1" }, PEER],
    [PEER, { "X-Forwarded-For": "203.0.113.9", Forwarded: "for=203.0.113.9:5" }, "203.0.113.9"],
    [PEER, { "X-Forwarded-For": "203.0.113.9", Forwarded: "for" }, PEER],
  ];

  for (const [peer, headers, client] of CASES)
    test(`${peer} with ${JSON.stringify(headers).slice(0, 90)} is ${client}`, () => {
      expect(PROXIES.clientOf(peer, new Headers(headers))).toBe(client);
    });

  test("is whoever has connected if no proxy is trusted", () => {
    expect(new TrustedProxies("f", []).clientOf(PEER, new Headers({ "X-Forwarded-For": "1.1.1.1" }))).toBe(PEER);
  });

  test("has used TLS if a trusted proxy says so of it, as the last one", () => {
    const says = (peer: string, name: string, value: string) => PROXIES.saysHttps(peer, new Headers({ [name]: value }));
    expect([says(PEER, "X-Forwarded-Proto", "https"), says(PEER, "X-Forwarded-Proto", "http, HTTPS")]).toEqual([true, true]);
    expect([says(PEER, "X-Forwarded-Proto", "https, http"), says("203.0.113.9:1", "X-Forwarded-Proto", "https")]).toEqual([false, false]);
  });

  test("counts its attempts by address, however the proxy has written it", () => {
    expect(["203.0.113.9", "203.0.113.9:77", "[2001:db8::9]", "[2001:db8::9]:1"].map(addressOf)).toEqual([
      "203.0.113.9",
      "203.0.113.9",
      "2001:db8",
      "2001:db8",
    ]);
  });
});

test.each(["", "10.0.0.0/33", "proxy.example", "10.0.0", "10.0.0.0/8/8", "::1/129"])(
  "%p is no proxy, and the console does not start",
  (value) => {
    expect(() => new TrustedProxies("admin-trusted-proxies", ["::1", value])).toThrow("failed to parse --admin-trusted-proxies");
  },
);

describe("a console", () => {
  const folder = temporaryFolder();
  const file = join(folder, "access.toml");
  const logger = new MemoryLogger();
  let behind: AdminServer;
  let alone: AdminServer;
  let elsewhere: AdminServer;

  beforeAll(async () => {
    const password = await Bun.password.hash("right", { algorithm: "argon2id", memoryCost: 64, timeCost: 1 });
    const users = Array.from({ length: 8 }, (_, at) => `[users.u${at}]\npassword = "${password}"\nroles = { "*" = "admin" }\n`);
    writeFileSync(file, `${users.join("")}[header_users.hugo]\nroles = { "*" = "admin" }\n`);
    const start = (...flags: string[]) => {
      const all = ["-http-address=127.0.0.1:0", "-nsqd-http-address=127.0.0.1:1", `-access-file=${file}`, ...flags];
      return startAdmin(parseFlags(adminFlags(), all).options, logger);
    };
    behind = start("-trusted-proxies=127.0.0.1");
    alone = start();
    elsewhere = start("-trusted-proxies=10.0.0.0/8");
  });

  afterAll(async () => {
    for (const server of [behind, alone, elsewhere]) await server.stop();
    removeFolder(folder);
  });

  const url = ({ httpPort }: AdminServer, path: string) => `http://127.0.0.1:${httpPort}${path}`;
  const logIn = (server: AdminServer, user: string, password: string, headers: Record<string, string>) =>
    fetch(url(server, "/api/v1/session"), {
      method: "POST",
      headers: { "Content-Type": "application/json", ...headers },
      body: JSON.stringify({ user, password }),
    });
  const statuses = async (server: AdminServer, from: (at: number) => string) => {
    const all: number[] = [];
    for (let at = 0; at < 24; at++) all.push((await logIn(server, `nobody${at}`, "wrong", { "X-Forwarded-For": from(at) })).status);
    return all;
  };

  test("counts failed logins by the address that its proxy names, and by the proxy's own if it is not trusted", async () => {
    expect(await statuses(behind, (at) => `203.0.113.${at}`)).not.toContain(429);
    expect(await statuses(behind, (at) => `1.1.1.${at}, 198.51.100.1`)).toContain(429);
    expect((await logIn(behind, "u0", "right", { "X-Forwarded-For": "203.0.113.200" })).status).toBe(200);
    expect(await statuses(alone, (at) => `203.0.113.${at}`)).toContain(429);
  });

  test("notes that address in its audit log, and the scheme that the proxy says", async () => {
    const session = await logIn(behind, "u1", "right", { "X-Forwarded-For": "1.1.1.1, 203.0.113.50", "X-Forwarded-Proto": "https" });
    expect(session.headers.get("set-cookie")).toContain("Secure");
    expect(logger.matching(/"u1" has logged in from 203\.0\.113\.50$/)).toHaveLength(1);
    const plain = await logIn(behind, "u2", "right", { "X-Forwarded-For": "203.0.113.50", "X-Forwarded-Proto": "http" });
    expect(plain.headers.get("set-cookie")).not.toContain("Secure");
    const headers = {
      Cookie: (session.headers.get("set-cookie") ?? "").split(";")[0] ?? "",
      "X-Forwarded-For": "1.1.1.1, 203.0.113.51",
      "Content-Type": "application/json",
    };
    const body = JSON.stringify({ action: "pause", topic: "t" });
    await fetch(url(behind, "/api/v1/actions"), { method: "POST", headers, body });
    const { activity } = (await (await fetch(url(behind, "/api/v1/activity"), { headers })).json()) as { activity: { from: string }[] };
    expect(activity[0]?.from).toBe("203.0.113.51");
  });

  test("keeps others from /config who come through a proxy on its own host", async () => {
    const ask = async (from: string) =>
      (await fetch(url(behind, "/config/log_level"), { headers: { "X-Forwarded-User": "hugo", "X-Forwarded-For": from } })).status;
    expect([await ask("203.0.113.9"), await ask("127.0.0.5")]).toEqual([403, 200]);
  });

  test("takes a user's name from a proxy only that is trusted", async () => {
    const ask = async (server: AdminServer) =>
      (await fetch(url(server, "/api/v1/topics"), { headers: { "X-Forwarded-User": "hugo" } })).status;
    expect([await ask(behind), await ask(alone), await ask(elsewhere)]).toEqual([200, 200, 401]);
  });
});
