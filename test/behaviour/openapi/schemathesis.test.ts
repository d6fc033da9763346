import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { SERVERS } from "../../../scripts/http-api-doc.ts";
import { startAdmin } from "../../../src/admin/server.ts";
import { adminFlags } from "../../../src/cli/admin-flags.ts";
import { parseFlags } from "../../../src/cli/flags.ts";
import { LineLogger } from "../../../src/cli/line-logger.ts";
import { openApiDocument } from "../../../src/http/openapi/document.ts";
import { InProcessLookup } from "../../lookup/support/in-process.ts";
import { removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { describeUnless, missing } from "../../support/needs.ts";
import { cleanEnvironment } from "../../support/server.ts";
import { WithHttp } from "../../support/with-http.ts";

/**
 * Schemathesis makes requests of each server's description, right ones and wrong ones, and compares the answers with it: statuses, content
 * types, codes of errors and members of JSON. The program is in CONTRIBUTING.md.
 */

const SEED = Number(process.env.BUNSQ_SEED ?? 4150);
const MAX_EXAMPLES = Number(process.env.BUNSQ_OPENAPI_EXAMPLES ?? 10);
const TIMEOUT_MS = 300_000;
/** Why a call is left out. */
const LEFT_OUT: Record<string, string> = {
  "/debug/pprof/profile": "takes half a minute",
  "/debug/pprof/heap": "nothing else is served meanwhile, for a second and more",
  "/api/graphite": "there is no graphite here, which is an INTERNAL_ERROR as in nsqadmin",
  "/render": "answers as graphite does",
  "/api/v1/stream": "does not end",
  "/api/v1/tail": "does not end",
};
/** These take away what the other calls are about, so they have a run of their own. */
const REMOVING = "delete";
/**
 * What changes a broker for good has a broker of its own, which has no discovery and no process that would end. The console has
 * such a call, too, which is left out: PUT has the console connect to lookup servers of any address.
 */
const CHANGING = ["/drain", "/config/{opt}"];
/** The id of a message in the descriptions' examples. */
const EXAMPLE_ID = "0000000000000a01";
const EXAMPLE_BROKER = "broker:4151";
const CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";

interface Json {
  [name: string]: Json | string | boolean | Json[] | undefined;
}

/** Objects may have no members but those that are described. Answers are compared more strictly so than clients should. */
function closed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(closed);
  if (typeof value !== "object" || value === null) return value;
  const members = Object.fromEntries(Object.entries(value).map(([name, member]) => [name, closed(member)])) as Json;
  return members.type === "object" && typeof members.properties === "object" ? { unevaluatedProperties: false, ...members } : members;
}

describeUnless(missing("schemathesis"))("the descriptions are true", () => {
  const folder = temporaryFolder();
  const urls: Record<string, string> = {};
  let broker: WithHttp;
  let lookup: InProcessLookup;
  let console: ReturnType<typeof startAdmin>;

  beforeAll(async () => {
    broker = WithHttp.start({ broadcastAddress: "127.0.0.1" });
    lookup = new InProcessLookup();
    const { options } = parseFlags(adminFlags(), ["-http-address=127.0.0.1:0", `-nsqd-http-address=${broker.origin.slice(7)}`]);
    console = startAdmin(options, new LineLogger("fatal", ""));
    urls["The broker"] = broker.origin;
    urls["The lookup server"] = `http://127.0.0.1:${lookup.server.httpPort}`;
    urls["The console"] = `http://127.0.0.1:${console.httpPort}`;
  });

  afterAll(async () => {
    await console.stop();
    await lookup[Symbol.asyncDispose]();
    await broker[Symbol.asyncDispose]();
    removeFolder(folder);
  });

  test.each(SERVERS.map(([name, api, table]) => ({ name, api, table })))(
    "of $name",
    async ({ name, api, table }) => {
      const id = await prepare(broker);
      const text = JSON.stringify(closed(openApiDocument(api, table)))
        .replaceAll(EXAMPLE_ID, id)
        .replaceAll(EXAMPLE_BROKER, broker.origin.slice("http://".length));
      const path = join(folder, "openapi.json");
      writeFileSync(path, text);
      const leftOut = [...CHANGING, ...Object.keys(LEFT_OUT)].map(exactly);
      for (const choice of [
        ["--exclude-path-regex", [...leftOut, REMOVING].join("|")],
        ["--include-path-regex", REMOVING],
      ]) {
        // Not every server has calls of the second kind.
        if (choice[0] === "--include-path-regex" && !text.includes(`/${REMOVING}"`)) continue;
        expect(await run(path, urls[name] ?? "", choice)).toEqual(["0", ""]);
      }
    },
    TIMEOUT_MS,
  );

  test(
    "of the broker, where calls change it for good",
    async () => {
      await using changed = WithHttp.start({ broadcastAddress: "127.0.0.1" });
      const path = join(folder, "changing.json");
      const [, api, table] = SERVERS.find(([name]) => name === "The broker") as (typeof SERVERS)[number];
      writeFileSync(path, JSON.stringify(closed(openApiDocument(api, table))));
      expect(await run(path, changed.origin, ["--include-path-regex", CHANGING.map(exactly).join("|")])).toEqual(["0", ""]);
      expect(changed.broker.drain.isDraining).toBeTrue();
    },
    TIMEOUT_MS,
  );
});

/** An expression for one path. */
function exactly(path: string): string {
  return `^${path.replaceAll(/[{}]/g, "\\$&")}$`;
}

/** What the calls of the descriptions' examples are about. */
async function prepare(broker: WithHttp): Promise<string> {
  for (const call of ["/topic/create?topic=orders", "/channel/create?topic=orders&channel=billing"]) {
    expect(await broker.call("POST", call)).toBe("200");
  }
  expect(await broker.call("POST", "/mpub?topic=orders", "one\n{}\nthree")).toBe("200 OK");
  const { messages } = await broker.json("GET", "/topic/messages?topic=orders");
  return messages[0].id;
}

/** @returns the exit code, and what schemathesis has found */
async function run(document: string, url: string, choice: string[]): Promise<[code: string, findings: string]> {
  const program = Bun.spawn(
    [
      "schemathesis",
      ...["run", document, "--url", url, ...choice, "--checks", CHECKS, "--phases", "examples,coverage,fuzzing"],
      ...["--max-examples", String(MAX_EXAMPLES), "--seed", String(SEED), "--generation-database", "none", "--no-color"],
      ...["--suppress-health-check", "all", "--request-timeout", "30"],
    ],
    { cwd: dirname(document), stdin: "ignore", stdout: "pipe", stderr: "pipe", env: cleanEnvironment() },
  );
  const [out, errors, code] = await Promise.all([program.stdout.text(), program.stderr.text(), program.exited]);
  return [String(code), code === 0 ? "" : `${out.slice(out.indexOf("FAILURES"))}${errors}`];
}
