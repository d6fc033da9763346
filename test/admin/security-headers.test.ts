import { afterAll, beforeAll, expect, test } from "bun:test";
import { adminRoutes } from "../../src/admin/routes.ts";
import { addSecurityHeaders } from "../../src/admin/security-headers.ts";
import { Console, TRUSTING, WITH_HTTPS } from "./support/console.ts";

const ROUTED = { basePath: "/nsq", proxyGraphite: true };
let console: Console;

beforeAll(() => {
  const upstreams = { nsqdHttpAddresses: ["127.0.0.1:1"], graphiteUrl: "http://127.0.0.1:1" };
  console = new Console({ ...ROUTED, ...upstreams, ...WITH_HTTPS, httpAllowedHosts: ["127.0.0.1"] });
});

afterAll(() => console[Symbol.asyncDispose]());

/** Which of the headers are missing, or not as every answer has them. */
function faults({ headers }: Response): string[] {
  const wanted: Record<string, RegExp> = {
    "cache-control": /^(?:no-store|no-cache|public, max-age=31536000, immutable)$/,
    "content-security-policy": /^default-src 'none'; .*frame-ancestors 'none'$/,
    "cross-origin-resource-policy": /^same-origin$/,
    "referrer-policy": /^no-referrer$/,
    "x-content-type-options": /^nosniff$/,
  };
  return Object.entries(wanted).flatMap(([name, value]) => (value.test(headers.get(name) ?? "") ? [] : [`${name}: ${headers.get(name)}`]));
}

/** The console's listeners, and what their answers say of HTTPS. */
const LISTENERS = [
  { over: "HTTP", origin: () => console.origin, strict: null },
  { over: "HTTPS", origin: () => console.secureOrigin, strict: "max-age=31536000" },
] as const;

async function ask(origin: string, method: string, path: string, headers: Record<string, string> = {}): Promise<Response> {
  const ending = new AbortController();
  const init = { method, headers, redirect: "manual" as const, signal: ending.signal, ...TRUSTING };
  const response = await fetch(origin + path, method === "POST" || method === "PUT" ? { ...init, body: "{}" } : init);
  // A stream goes on until its client leaves.
  ending.abort();
  return response;
}

for (const { over, origin, strict } of LISTENERS)
  for (const [path, route] of adminRoutes(ROUTED))
    for (const method of [...route.keys(), "OPTIONS", "PATCH"])
      test(`${method} ${path} over ${over} has the headers`, async () => {
        const asked = ROUTED.basePath + path.replace(/:\w+/g, "x");
        for (const query of ["", "?topic=x&view=overview", "?topic=%zz"]) {
          const response = await ask(origin(), method, asked + query, { "Content-Type": "application/json" });
          expect([query, response.status, ...faults(response)]).toEqual([query, response.status]);
          expect(response.headers.get("strict-transport-security")).toBe(strict);
        }
      });

const OTHERS: [status: number, method: string, path: string, headers?: Record<string, string>][] = [
  [404, "GET", "/"],
  [404, "GET", "/nsq/api/nothing"],
  [404, "GET", "/nsq/index-00000000.js"],
  [404, "POST", "/nsq/nothing"],
  [405, "PUT", "/nsq/api/topics"],
  [301, "GET", "/nsq/api/topics/"],
  [307, "POST", "/nsq/api/topics/"],
  [400, "GET", "/nsq/%zz"],
  [403, "POST", "/nsq/api/topics", { "Sec-Fetch-Site": "cross-site" }],
  [403, "GET", "/nsq/api/topics", { Host: "elsewhere.example" }],
  [415, "POST", "/nsq/api/v1/actions", { "Content-Type": "application/x-www-form-urlencoded" }],
  [200, "GET", "/nsq/"],
  [200, "GET", "/nsq/topics/x"],
];

test("so have answers that no route makes", async () => {
  for (const { over, origin, strict } of LISTENERS)
    for (const [status, method, path, headers] of OTHERS) {
      const response = await ask(origin(), method, path, headers);
      expect([over, method, path, response.status, ...faults(response)]).toEqual([over, method, path, status]);
      expect(response.headers.get("strict-transport-security")).toBe(strict);
    }
});

test("an answer keeps what it says itself", () => {
  const own = { "cache-control": "no-cache", "content-security-policy": "default-src 'self'", "referrer-policy": "origin" };
  const response = new Response("", { headers: own });
  addSecurityHeaders(response, true);
  expect(Object.fromEntries(response.headers)).toMatchObject({ ...own, "strict-transport-security": "max-age=31536000" });
});
