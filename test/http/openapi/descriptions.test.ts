import { describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { HTTP_API_DOC_PATH, httpApiDoc, SERVERS } from "../../../scripts/http-api-doc.ts";
import { openApiDocument } from "../../../src/http/openapi/document.ts";
import { removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { missing, testUnless } from "../../support/needs.ts";

/** A program in Python. */
const VALIDATOR_MS = 60_000;

/** nsqd's overview of its profiles has a slash at its end, nsqlookupd's has none; nsqlookupd has no more of /debug. */
const OF_OTHERS: Record<string, readonly string[]> = {
  "The broker": ["GET /debug/pprof"],
  "The lookup server": ["GET /debug/pprof/", "PUT /debug/setblockrate", "POST /debug/freememory"],
};

const sorted = (calls: readonly string[] = []) => [...calls].sort();

describe.each([...SERVERS])("%s", (name, api, table) => {
  const known = api.groups.flatMap(({ operations }) => Object.entries(operations));
  const called = table.flatMap(([path, methods]) => [...methods.keys()].map((method) => `${method === "HEAD" ? "GET" : method} ${path}`));
  const document = openApiDocument(api, table, "/base");

  test("has a description of every call, and no description of others", () => {
    const described = new Set(known.map(([call]) => call));
    expect(called.filter((call) => !described.has(call))).toEqual([]);
    const superfluous = [...described].filter((call) => !called.includes(call));
    expect(superfluous.sort()).toEqual(sorted(OF_OTHERS[name]));
  });

  test("describes the parameters of each path, and no call twice", () => {
    expect(new Set(known.map(([call]) => call)).size).toBe(known.length);
    for (const [call, { parameters = [], summary }] of known) {
      const inPath = parameters.filter((parameter) => parameter.in === "path").map((parameter) => parameter.name);
      expect([call, inPath]).toEqual([call, [...call.matchAll(/:(\w+)/g)].map(([, parameter = ""]) => parameter)]);
      expect(summary).toMatch(/[^.]$/);
    }
  });

  test("has every schema that its document refers to", () => {
    const text = JSON.stringify(document);
    const { components } = document as { components: { schemas: object } };
    const references = [...text.matchAll(/"#\/components\/schemas\/(\w+)"/g)].map(([, title = ""]) => title);
    expect(references.filter((title) => !(title in components.schemas))).toEqual([]);
  });

  testUnless(missing("openapi-spec-validator"))(
    "has a valid document",
    () => {
      const folder = temporaryFolder();
      try {
        const path = join(folder, "openapi.json");
        writeFileSync(path, JSON.stringify(document));
        const { stdout, stderr, exitCode } = Bun.spawnSync(["openapi-spec-validator", "--schema", "3.1", path]);
        expect([exitCode, exitCode === 0 ? "" : `${stdout}${stderr}`]).toEqual([0, ""]);
      } finally {
        removeFolder(folder);
      }
    },
    VALIDATOR_MS,
  );
});

test("docs/http-api.md is what `npm run docs` writes", () => {
  expect(readFileSync(HTTP_API_DOC_PATH, "utf8")).toBe(httpApiDoc());
});
