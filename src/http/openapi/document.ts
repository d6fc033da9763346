import type { Answer, ApiDescription, Contents, ErrorCodes, Operation } from "./operation.ts";
import type { Schema } from "./schema.ts";

/** The paths of a route table and their methods. */
export type PathTable = readonly (readonly [path: string, methods: { keys(): Iterable<string> }])[];

/** A call of the table with its description. */
export interface DescribedCall {
  readonly method: string;
  /** As in the table: `/config/:opt` */
  readonly path: string;
  readonly group: string;
  readonly operation: Operation;
}

/** The end of a code that is only the beginning of the error's text. */
const OPEN_END = "…";
/** Where tools look for a schema that others refer to. */
const SCHEMAS = "#/components/schemas/";

/** The calls of a table that are described, in the table's order. HEAD is described with GET. */
export function describedCalls(api: ApiDescription, table: PathTable): DescribedCall[] {
  const known = new Map(
    api.groups.flatMap(({ name, operations }) => Object.entries(operations).map(([call, operation]) => [call, { group: name, operation }])),
  );
  return table.flatMap(([path, methods]) =>
    [...methods.keys()].flatMap((method) => {
      const found = known.get(`${method === "HEAD" ? "GET" : method} ${path}`);
      return found === undefined ? [] : [{ method, path, ...found }];
    }),
  );
}

/** All errors of a call, by status. */
export function errorsOf({ errors, bodyErrors }: ApiDescription, operation: Operation): [status: string, codes: string[]][] {
  const all = new Map<string, Set<string>>();
  const add = (some: ErrorCodes) => {
    for (const [status, codes] of Object.entries(some)) all.set(status, new Set([...(all.get(status) ?? []), ...codes]));
  };
  add(operation.errors ?? {});
  if (operation.body !== undefined) add(bodyErrors);
  add(errors);
  return [...all].map(([status, codes]): [string, string[]] => [status, [...codes]]).sort(([a], [b]) => Number(a) - Number(b));
}

/**
 * The OpenAPI 3.1 document of a server's calls (https://spec.openapis.org/oas/v3.1.1.html).
 *
 * @param table the calls that the server has. Those without a description are left out
 * @param basePath in front of all paths; empty for none
 */
export function openApiDocument(api: ApiDescription, table: PathTable, basePath = ""): object {
  const schemas: Record<string, Schema> = {};
  const paths: Record<string, Record<string, object>> = {};
  const groups = new Set<string>();
  for (const { method, path, group, operation } of describedCalls(api, table)) {
    const item = path.replaceAll(/:(\w+)/g, "{$1}");
    paths[item] ??= {};
    groups.add(group);
    paths[item][method.toLowerCase()] = {
      operationId: `${method.toLowerCase()}${path.replaceAll(/\W+(\w?)/g, (_, letter: string) => letter.toUpperCase())}`,
      tags: [group],
      summary: operation.summary,
      ...(operation.details === undefined ? {} : { description: operation.details }),
      ...(operation.parameters === undefined ? {} : { parameters: operation.parameters }),
      ...(operation.body === undefined
        ? {}
        : { requestBody: { ...pick(operation.body), content: contentOf(operation.body.contents, schemas) } }),
      responses: responsesOf(api, operation, method === "HEAD", schemas),
    };
  }
  return {
    openapi: "3.1.1",
    info: { title: api.title, version: api.version, description: api.description },
    servers: [{ url: basePath === "" ? "/" : basePath }],
    tags: api.groups.filter(({ name }) => groups.has(name)).map(({ name, description }) => ({ name, description })),
    paths,
    components: { schemas },
  };
}

function pick({ description, required }: { description: string; required: boolean }): object {
  return { description, required };
}

function responsesOf(api: ApiDescription, operation: Operation, isHead: boolean, schemas: Record<string, Schema>): Record<string, object> {
  const answers = new Map<string, Answer>([["200", operation.answer], ...Object.entries(operation.otherAnswers ?? {})]);
  for (const [status, codes] of errorsOf(api, operation)) {
    const other = answers.get(status);
    const description = codes.map((code) => `\`${code}\``).join(", ");
    answers.set(status, {
      description: other === undefined ? description : `${other.description} Or: ${description}`,
      contents: { ...other?.contents, "application/json": errorSchema(codes) },
    });
  }
  return Object.fromEntries(
    [...answers].map(([status, { description, contents }]) => {
      const hasBody = !isHead && Object.keys(contents).length > 0;
      return [status, { description, ...(hasBody ? { content: contentOf(contents, schemas) } : {}) }];
    }),
  );
}

/** The schema of `{"message": CODE}`. The console may say more in `detail`, for people. */
function errorSchema(codes: readonly string[]): Schema {
  const whole = codes.filter((code) => !code.endsWith(OPEN_END));
  const beginnings = codes.filter((code) => code.endsWith(OPEN_END)).map((code) => ({ pattern: `^${escaped(code.slice(0, -1))}` }));
  const texts: Schema[] = [...(whole.length > 0 ? [{ enum: whole }] : []), ...beginnings];
  const [first] = texts;
  const message: Schema = texts.length === 1 && first !== undefined ? { type: "string", ...first } : { type: "string", anyOf: texts };
  return { type: "object", properties: { message, detail: { type: "string" } }, required: ["message"] };
}

function escaped(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

function contentOf(contents: Contents, schemas: Record<string, Schema>): object {
  return Object.fromEntries(Object.entries(contents).map(([type, schema]) => [type, { schema: withReferences(schema, schemas) }]));
}

/** Moves the schemas that have a title to `schemas`, and leaves references in their places. */
function withReferences(schema: Schema, schemas: Record<string, Schema>): Schema {
  const { title, properties, items, anyOf, additionalProperties } = schema;
  if (title !== undefined && schemas[title] !== undefined) return { $ref: SCHEMAS + title };
  // The place is taken before the members are looked at, which may be of the same schema.
  if (title !== undefined) schemas[title] = schema;
  const inner = (one: Schema) => withReferences(one, schemas);
  const flat: Schema = {
    ...schema,
    ...(properties === undefined
      ? {}
      : { properties: Object.fromEntries(Object.entries(properties).map(([name, one]) => [name, inner(one)])) }),
    ...(items === undefined ? {} : { items: inner(items) }),
    ...(anyOf === undefined ? {} : { anyOf: anyOf.map(inner) }),
    ...(typeof additionalProperties === "object" ? { additionalProperties: inner(additionalProperties) } : {}),
  };
  if (title === undefined) return flat;
  schemas[title] = flat;
  return { $ref: SCHEMAS + title };
}
