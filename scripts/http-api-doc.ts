import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { ADMIN_API } from "../src/admin/describe/admin-api.ts";
import { adminRoutes } from "../src/admin/routes.ts";
import { BROKER_API } from "../src/broker/http/describe/broker-api.ts";
import { apiRoutes as brokerRoutes } from "../src/broker/http/routes.ts";
import { boundsOf } from "../src/http/openapi/bounds.ts";
import { type DescribedCall, describedCalls, errorsOf, type PathTable } from "../src/http/openapi/document.ts";
import type { ApiDescription } from "../src/http/openapi/operation.ts";
import { LOOKUP_API } from "../src/lookup/http/lookup-api.ts";
import { apiRoutes as lookupRoutes } from "../src/lookup/http/routes.ts";

export const HTTP_API_DOC_PATH = join(import.meta.dir, "../docs/http-api.md");

/** The servers, with all calls that they can have. */
export const SERVERS: readonly (readonly [heading: string, api: ApiDescription, table: PathTable])[] = [
  ["The broker", BROKER_API, brokerRoutes(true)],
  ["The lookup server", LOOKUP_API, lookupRoutes(true)],
  ["The console", ADMIN_API, adminRoutes({ basePath: "/", proxyGraphite: true })],
];

const INTRODUCTION = `<!-- Generated from the route tables and their descriptions by \`npm run docs\`. Change it there. -->

# HTTP API

All HTTP calls of broker, lookup server and console. Each server tells its own: as OpenAPI 3.1 at \`/openapi.json\`, with the schemas of
all answers, and as a page at \`/docs\`.

    curl http://127.0.0.1:4151/openapi.json

An argument that is not said to be in the path or a header belongs to the query. A call answers 200 if it was carried out, and an error as
\`{"message": CODE}\`; the codes are below. HEAD is answered as GET, without the body, where it is listed.
`;

/** The whole of docs/http-api.md. */
export function httpApiDoc(): string {
  return [INTRODUCTION, ...SERVERS.map(([heading, api, table]) => serverSection(heading, api, table))].join("");
}

function serverSection(heading: string, api: ApiDescription, table: PathTable): string {
  const calls = describedCalls(api, table);
  const every = { ...api, errors: {}, bodyErrors: {} };
  const groups = api.groups.flatMap(({ name, description }) => {
    const own = calls.filter(({ group }) => group === name);
    return own.length === 0 ? [] : [`\n### ${heading}: ${name}\n\n${description}\n`, ...own.map((call) => callSection(every, call))];
  });
  const common = errorsOf({ ...api, bodyErrors: {} }, { summary: "", answer: { description: "", contents: {} } });
  const ofBodies = errorsOf({ ...api, errors: api.bodyErrors }, { summary: "", answer: { description: "", contents: {} } });
  return `\n## ${heading}\n\n${api.description}\n\nEvery call may answer ${errorList(common)}. Calls with a body may also answer ${errorList(ofBodies)}.\n${groups.join("")}`;
}

/** @param api without the errors that all calls have */
function callSection(api: ApiDescription, { method, path, operation }: DescribedCall): string {
  const { summary, details, parameters = [], body, answer, otherAnswers = {} } = operation;
  const lines = [
    ...parameters.map(({ name, in: where, description, required, schema, example }) => {
      const notes = [where === "query" ? "" : where, required ? "" : "optional", boundsOf(schema)].filter((note) => note !== "");
      const shown = example === undefined ? "" : `; for example \`${example}\``;
      return `\`${name}\`${notes.length === 0 ? "" : ` (${notes.join(", ")})`}: ${description.replace(/\.$/, "")}${shown}`;
    }),
    ...(body === undefined ? [] : [`body: ${body.description}`]),
    `200: ${answer.description.replace(/\.$/, "")} (${Object.keys(answer.contents).join(" or ") || "no body"})`,
    ...Object.entries(otherAnswers).map(([status, { description }]) => `${status}: ${description}`),
    ...errorsOf(api, operation).map((error) => errorList([error])),
  ];
  const text = details === undefined ? `${summary}.` : `${summary}. ${details}`;
  return `\n**\`${method} ${path}\`** ${text.replaceAll("<", "&lt;")}\n\n${lines.map((line) => `- ${line}\n`).join("")}`;
}

function errorList(errors: [status: string, codes: string[]][]): string {
  return errors.map(([status, codes]) => `${status}: ${codes.map((code) => `\`${code}\``).join(", ")}`).join("; ");
}

if (import.meta.main) writeFileSync(HTTP_API_DOC_PATH, httpApiDoc());
