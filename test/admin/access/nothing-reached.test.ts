import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { guardedRoute } from "../../../src/admin/access/guard.ts";
import { type Level, needsByBody, type PlainEndpoint } from "../../../src/admin/access/permission.ts";
import { AdminCall } from "../../../src/admin/call.ts";
import { ROUTES } from "../../../src/admin/routes.ts";
import { type AdminServer, startAdmin } from "../../../src/admin/server.ts";
import { adminFlags } from "../../../src/cli/admin-flags.ts";
import { parseFlags } from "../../../src/cli/flags.ts";
import { MemoryLogger, removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { until } from "../../support/server.ts";

/** What the console asks for by itself, whoever asks it. */
const WATCHED = ["/stats?format=json&include_clients=false&include_mem=false&include_partitions=false&bunsq=true", "/info"];
const ID = "0123456789abcdef";
/** Bodies of the calls whose body says what they do. */
const BODIES: Readonly<Record<string, object[]>> = {
  "POST /api/topics": [{}, { channel: "c" }],
  "POST /api/topics/:topic": [{ action: "pause" }, { action: "empty" }],
  "POST /api/topics/:topic/:channel": [{ action: "pause" }, { action: "empty" }],
  "DELETE /api/nodes/:node": [{}],
  "POST /api/v1/actions": [
    ...["create", "pause", "unpause"].map((action) => ({ action })),
    ...["delete", "empty"].map((action) => ({ action, confirm: "foreign" })),
    { action: "tombstone", confirm: "foreign", broker: "{broker}" },
    { action: "seek", channel: "c", to: "end", confirm: "c" },
    { action: "seek", channel: "c", to: "end", preview: true },
    { action: "retention", value: { default: true } },
    { action: "durability", value: { value: "fsync" } },
    { action: "trace", value: { on: true } },
    { action: "drain", topic: "", broker: "{broker}", confirm: "{broker}" },
  ],
  "POST /api/v1/messages": [
    ...["finish", "requeue"].map((action) => ({ action, channel: "c", ids: [ID], preview: false })),
    { action: "copy", to_topic: "own.a", ids: [ID], preview: false },
    { action: "copy", topic: "own.a", to_topic: "foreign", ids: [ID], preview: false },
    { action: "move", topic: "own.a", to_topic: "foreign", channel: "c", ids: [ID], preview: false },
    { action: "publish", body: "aGk=", preview: false },
    { action: "finish", channel: "c", select: { state: "waiting", limit: 10 }, preview: true },
  ],
};
const folder = temporaryFolder();
const file = join(folder, "access.toml");
const hash = (text: string) => new Bun.CryptoHasher("sha256").update(text).digest("hex");
/** What has come to the broker, but for what the console asks by itself. */
const reached: string[] = [];
let polls = 0;
let broker: Bun.Server<undefined>;
let server: AdminServer;

beforeAll(async () => {
  writeFileSync(file, `[tokens.own]\nsha256 = "${hash("own")}"\nroles = { "own.*" = "admin" }\n`);
  broker = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: (request) => {
      const { pathname, search } = new URL(request.url);
      const path = pathname + search;
      if (request.method === "GET" && WATCHED.includes(path)) polls++;
      else reached.push(`${request.method} ${path}`);
      return Response.json({ topics: [{ topic_name: "foreign", channels: [{ channel_name: "c" }] }] });
    },
  });
  const flags = ["-http-address=127.0.0.1:0", `-nsqd-http-address=127.0.0.1:${broker.port}`, `-access-file=${file}`];
  server = startAdmin(parseFlags(adminFlags(), flags).options, new MemoryLogger());
  await until("the broker is watched", async () => polls >= 2);
});

afterAll(async () => {
  await server.stop();
  await broker.stop(true);
  removeFolder(folder);
});

function send(method: string, path: string, body: object | undefined, token: string | undefined): Promise<Response> {
  const address = `127.0.0.1:${broker.port}`;
  const url = `http://127.0.0.1:${server.httpPort}${path.replace(":topic", "foreign").replace(":node", address).replace(/:\w+/g, "c")}`;
  const headers = { "Content-Type": "application/json", ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }) };
  const json = body && JSON.stringify({ topic: "foreign", ...body }).replaceAll("{broker}", address);
  return fetch(url, { method, headers, ...(json === undefined ? {} : { body: json }) });
}

describe("nothing comes to a broker", () => {
  for (const [path, route] of ROUTES)
    for (const [method, { permission }] of route) {
      if (permission.level === "public") continue;
      const bodies = method === "GET" || method === "HEAD" ? [undefined] : (BODIES[`${method} ${path}`] ?? [{}]);
      const asked = permission.topic === "query" ? `${path}?topic=foreign&channel=c&id=${ID}` : path;
      // These show what their user may see, and refuse nobody who has logged in.
      const isAnybodys = permission.topic === "none" && permission.level === "view";
      for (const body of bodies)
        test(`when ${method} ${path} ${body === undefined ? "" : JSON.stringify(body)} is refused`, async () => {
          reached.length = 0;
          for (const token of [undefined, "forged", ...(isAnybodys ? [] : ["own"])]) {
            const response = await send(method, asked, body, token);
            expect([token, response.status]).toEqual([token, token === "own" ? 403 : 401]);
          }
          expect(reached).toEqual([]);
        });
    }

  test("and what is not refused does", async () => {
    reached.length = 0;
    await send("POST", "/api/v1/actions", { action: "pause", topic: "own.a" }, "own");
    expect(reached).not.toEqual([]);
  });
});

test("an endpoint whose body names the topic acts after its user was found to have all that it needs", async () => {
  const acted: string[] = [];
  const route = needsByBody("view", "body", "POST", async () => ({
    needs: [
      { level: "view", topic: "own" },
      { level: "operate", topic: "foreign" },
    ],
    carryOut: () => {
      acted.push("acted");
      return new Response();
    },
  }));
  const callOf = (may: (level: Level, topic: string | undefined) => boolean) => {
    const identity = { grants: { may, maySomewhere: () => true } };
    // Only what the guard looks at.
    const call: AdminCall = Object.create(AdminCall.prototype, {
      admin: { value: { access: { identify: () => identity, hasFile: true }, watcher: { refresh: () => {} } } },
    });
    return call;
  };
  const endpoint = guardedRoute("/api/x", route).get("POST")!;
  for (const [level, topic] of [
    ["view", "own"],
    ["operate", "foreign"],
  ] as const) {
    const call = callOf((asked, of) => !(asked === level && of === topic));
    expect(Promise.resolve(endpoint.handle(call))).rejects.toMatchObject({ status: 403 });
  }
  await new Promise(setImmediate);
  expect(acted).toEqual([]);
  await endpoint.handle(callOf(() => true));
  expect(acted).toEqual(["acted"]);
});

test("an endpoint that acts at once cannot be given the permission of one whose body names the topic", () => {
  // @ts-expect-error a handler gets the call, and with it all servers, before its body is read
  const wrong: PlainEndpoint = { handle: () => new Response(), logged: true, permission: { level: "operate", topic: "body" } };
  expect(wrong.permission.topic as string).toBe("body");
});
