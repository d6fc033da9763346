import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { ROUTES } from "../../../src/admin/routes.ts";
import { type AdminServer, startAdmin } from "../../../src/admin/server.ts";
import { adminFlags } from "../../../src/cli/admin-flags.ts";
import { parseFlags } from "../../../src/cli/flags.ts";
import { MemoryLogger, removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { until } from "../../support/server.ts";

const ROLES = ["viewer", "operator", "admin"] as const;
const RANKS = { view: 0, operate: 1, administer: 2 };
/** Calls of which the body says what they do: what it is here, and what that asks. The route has the least of all. */
const BY_BODY: Readonly<Record<string, { level: keyof typeof RANKS; body: object }>> = {
  "/api/v1/actions": { level: "operate", body: { action: "pause" } },
  "/api/v1/messages": { level: "operate", body: { action: "requeue", channel: "c", ids: ["0123456789abcdef"], preview: false } },
};
const folder = temporaryFolder();
const file = join(folder, "access.toml");
const logger = new MemoryLogger();
const hash = (text: string) => new Bun.CryptoHasher("sha256").update(text).digest("hex");
const TOKENS = ROLES.map((role) => `[tokens.${role}]\nsha256 = "${hash(role)}"\nroles = { "own.*" = "${role}" }\n`).join("");
let server: AdminServer;
let base = "";
let users = "";

beforeAll(async () => {
  const password = await Bun.password.hash("right", { algorithm: "argon2id", memoryCost: 64, timeCost: 1 });
  users = `[users.anna]\npassword = "${password}"\nroles = { "*" = "viewer" }\n`;
  writeFileSync(file, `${TOKENS}${users}[header_users.hugo]\nroles = { "*" = "admin" }\n`);
  const flags = ["-http-address=127.0.0.1:0", "-nsqd-http-address=127.0.0.1:1", `-access-file=${file}`, "-base-path=/nsq"];
  server = startAdmin(parseFlags(adminFlags(), flags).options, logger);
  base = `http://127.0.0.1:${server.httpPort}/nsq`;
});

afterAll(async () => {
  await server.stop();
  removeFolder(folder);
});

const JSON_TYPE = { "Content-Type": "application/json" };
const logIn = (body: object, headers: Record<string, string> = {}) =>
  fetch(`${base}/api/v1/session`, { method: "POST", headers: { ...JSON_TYPE, ...headers }, body: JSON.stringify(body) });
const cookieIn = (response: Response) => ({ Cookie: (response.headers.get("set-cookie") ?? "").split(";")[0] ?? "" });
const see = async (headers: Record<string, string>) => (await fetch(`${base}/api/v1/overview`, { headers })).status;

describe("every route", () => {
  for (const [path, route] of ROUTES)
    for (const [method, { permission }] of route) {
      const { topic } = permission;
      const level = BY_BODY[path] !== undefined && method === "POST" ? BY_BODY[path].level : permission.level;
      const send = async (name: string, headers: Record<string, string>) => {
        const query = topic === "query" ? `?topic=${name}` : "";
        const url = `${base}${path.replace(":topic", name).replace(/:\w+/g, "x")}${query}`;
        const body =
          method === "GET" || method === "HEAD" ? null : JSON.stringify({ action: "pause", ...BY_BODY[path]?.body, topic: name });
        return fetch(url, { method, headers: { ...JSON_TYPE, ...headers }, body });
      };

      if (level !== "public")
        test(`${method} ${path} asks of its user what the table says`, async () => {
          expect((await send("own.a", {})).status).toBe(401);
          expect((await send("own.a", { Authorization: "Bearer forged" })).status).toBe(401);
          for (const role of ROLES)
            for (const name of ["own.a", "foreign"]) {
              const hasTopic = topic === "path" || topic === "query" || topic === "body";
              const isTheirs = hasTopic ? name === "own.a" : topic === "none" && level === "view";
              const may = ROLES.indexOf(role) >= RANKS[level] && isTheirs;
              const { status } = await send(name, { Authorization: `Bearer ${role}` });
              expect([role, name, status === 403]).toEqual([role, name, !may]);
              expect([401, 405, 415]).not.toContain(status);
            }
        });

      if (method !== "GET" && method !== "HEAD")
        test(`${method} ${path} is refused for a page of another site`, async () => {
          for (const header of [
            ["Sec-Fetch-Site", "cross-site"],
            ["Origin", "https://elsewhere.example"],
          ] as const) {
            const response = await send("own.a", { Authorization: "Bearer admin", [header[0]]: header[1] });
            expect(await response.text()).toBe('{"message":"CROSS_SITE_REQUEST"}');
          }
        });
    }

  test("lets a name in the proxy's header through if the file has it", async () => {
    expect(await see({ "X-Forwarded-User": "hugo" })).toBe(200);
    expect(await see({ "X-Forwarded-User": "anna" })).toBe(401);
  });

  const ask = async (role: string, call: string, body: object) => {
    const headers = { ...JSON_TYPE, Authorization: `Bearer ${role}` };
    return (await fetch(`${base}/api/v1/${call}`, { method: "POST", headers, body: JSON.stringify(body) })).status;
  };

  for (const [call, body] of [
    ["actions", { action: "delete", topic: "own.a", confirm: "own.a" }],
    ["actions", { action: "empty", topic: "own.a", confirm: "own.a" }],
    ["actions", { action: "tombstone", topic: "own.a", broker: "127.0.0.1:1", confirm: "own.a" }],
    ["actions", { action: "retention", topic: "own.a", value: { default: true } }],
    ["actions", { action: "durability", topic: "own.a", value: { value: "fsync" } }],
    ["actions", { action: "trace", topic: "own.a", value: { on: true } }],
    ["messages", { action: "finish", topic: "own.a", channel: "c", ids: ["0123456789abcdef"], preview: false }],
    ["messages", { action: "move", topic: "own.a", channel: "c", to_topic: "own.b", ids: ["0123456789abcdef"], preview: false }],
  ] as const)
    test(`${body.action} is for the topic's admins`, async () => {
      expect([await ask("viewer", call, body), await ask("operator", call, body)]).toEqual([403, 403]);
      expect(await ask("admin", call, body)).not.toBe(403);
      expect(await ask("admin", call, { ...body, topic: "foreign" })).toBe(403);
    });

  test("copies messages only to a topic of the user's", async () => {
    const copy = { action: "copy", topic: "own.a", ids: ["0123456789abcdef"], preview: false };
    expect(await ask("admin", "messages", { ...copy, to_topic: "foreign" })).toBe(403);
    expect(await ask("admin", "messages", { ...copy, to_topic: "own.b" })).not.toBe(403);
  });

  test("drains a broker only for admins of all topics", async () => {
    expect(await ask("admin", "actions", { action: "drain", broker: "127.0.0.1:1", confirm: "127.0.0.1:1" })).toBe(403);
  });

  test("empties a topic only for its admins", async () => {
    const empty = async (role: string) => {
      const headers = { ...JSON_TYPE, Authorization: `Bearer ${role}` };
      return (await fetch(`${base}/api/topics/own.a`, { method: "POST", headers, body: '{"action":"empty"}' })).status;
    };
    expect(await empty("operator")).toBe(403);
    expect(await empty("admin")).not.toBe(403);
  });
});

describe("a session", () => {
  test("has a new id at each login, none that a client chose, and ends with the logout", async () => {
    const planted = { Cookie: `bunsq_session=${"A".repeat(43)}` };
    const first = await logIn({ user: "anna", password: "right" }, planted);
    expect(first.status).toBe(200);
    const attributes = (first.headers.get("set-cookie") ?? "").split("; ").slice(1).sort();
    expect(attributes).toEqual(["HttpOnly", "Path=/nsq", "SameSite=Strict"]);
    expect(await see(planted)).toBe(401);
    expect(await see(cookieIn(first))).toBe(200);
    const second = await logIn({ user: "anna", password: "right" }, cookieIn(first));
    expect(await see(cookieIn(first))).toBe(401);
    expect(await see(cookieIn(second))).toBe(200);
    await fetch(`${base}/api/v1/session`, { method: "DELETE", headers: cookieIn(second) });
    expect(await see(cookieIn(second))).toBe(401);
  });

  test("goes on while the file is broken, and ends when it says something else of its user", async () => {
    const cookie = cookieIn(await logIn({ user: "anna", password: "right" }));
    writeFileSync(file, "[users");
    await until("the file is refused", async () => logger.matching(/cannot use .*access\.toml/).length > 0);
    expect(await see(cookie)).toBe(200);
    writeFileSync(file, TOKENS + users.replace("viewer", "operator"));
    await until("the session ends", async () => (await see(cookie)) === 401);
  });

  test("is not begun by a wrong password, an unknown user, a form or a long body, and many attempts are refused", async () => {
    const outcomes = new Set<string>();
    for (const user of ["anna", "nobody"]) {
      const response = await logIn({ user, password: "wrong" });
      outcomes.add(`${response.status} ${await response.text()} ${response.headers.get("set-cookie")}`);
    }
    expect([...outcomes]).toEqual(['401 {"message":"LOGIN_FAILED"} null']);
    expect((await logIn({}, { "Content-Type": "text/plain" })).status).toBe(415);
    expect((await logIn({ password: "x".repeat(5_000) })).status).toBe(413);
    const statuses: number[] = [];
    for (let at = 0; at < 12; at++) statuses.push((await logIn({ user: `user${at}`, password: "wrong" })).status);
    expect(statuses).toContain(429);
  });
});
