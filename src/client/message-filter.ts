import { ClientError } from "./errors.ts";

/**
 * Which messages a consumer takes, by their headers. Only headers that are strings fit; a name with dots is a path into objects.
 *
 * - `equals`: the value itself
 * - `regexp`: a regular expression that is found in the value, without look-around and back-references
 * - `glob`: a pattern for the whole value, `*`, `?`, `[a-z]`, `{one,other}`
 * - `all`, `any`: several headers with their values
 *
 * With `not`, messages that do not fit.
 */
export type MessageFilter = { not?: boolean } & (
  | { header: string; equals: string }
  | { header: string; regexp: string }
  | { header: string; glob: string }
  | { all: Readonly<Record<string, string>> }
  | { any: Readonly<Record<string, string>> }
);

const EQUALS = 1;
const REGEXP = 2;
const GLOB = 3;
const SEVERAL = 4;

/** The filter as IDENTIFY has it. @throws ClientError INVALID_OPTION */
export function wireFilter(filter: MessageFilter): object {
  if (typeof filter !== "object" || filter === null) throw invalid();
  const inverse = filter.not === true;
  if ("all" in filter) return several("all", filter.all, inverse);
  if ("any" in filter) return several("any", filter.any, inverse);
  const { header } = filter;
  const [type, data] = "equals" in filter ? [EQUALS, filter.equals] : "regexp" in filter ? [REGEXP, filter.regexp] : [GLOB, filter.glob];
  if (typeof header !== "string" || typeof data !== "string") throw invalid();
  return { type, inverse, filter_ext_key: header, filter_data: data };
}

function several(kind: "all" | "any", values: Readonly<Record<string, string>>, inverse: boolean): object {
  const pairs = Object.entries(values ?? {});
  if (pairs.length === 0 || pairs.some(([, value]) => typeof value !== "string")) throw invalid();
  const list = pairs.map(([header, value]) => ({ filter_ext_key: header, filter_data: value }));
  return { type: SEVERAL, inverse, filter_ext_key: kind, filter_data_list: list };
}

function invalid(): ClientError {
  return new ClientError(
    "INVALID_OPTION",
    "a filter has a header with equals, regexp or glob, or has all or any, and its values are strings",
  );
}
