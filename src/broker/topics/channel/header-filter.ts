import { Pattern } from "../../../base/go/regexp/matcher.ts";
import { PatternError } from "../../../base/go/regexp/parser.ts";

/**
 * Which messages a consumer wants, by the JSON in their headers. A path is a key, or several with dots in between. Only texts match.
 * A filter that is inverse wants all other messages, those without a header too.
 */
export interface HeaderFilter {
  /** How one text is compared; `all` and `any`: exactly, with one path each. */
  readonly kind: "exact" | "regexp" | "glob" | "all" | "any";
  readonly inverse: boolean;
  /** One, unless the kind is `all` or `any`. */
  readonly conditions: readonly { readonly path: string; readonly data: string }[];
}

/** A filter as Youzan's clients send it. */
export interface FilterFields {
  type: number | bigint;
  inverse: boolean;
  filter_ext_key: string;
  filter_data: string;
}

/** No pattern takes more instructions. */
const MAX_PATTERN_STEPS = 10_000;
/** No filter has more conditions. */
const MAX_CONDITIONS = 64;

const KINDS = new Map<number | bigint, HeaderFilter["kind"]>([
  [1, "exact"],
  [2, "regexp"],
  [3, "glob"],
]);
const SEVERAL = 4;

/**
 * Checks a filter.
 *
 * @param list the conditions of type 4
 * @returns undefined for type 0, which is none; an error that says what is wrong with it
 */
export function headerFilter(
  { type, inverse, filter_ext_key: key, filter_data: data }: FilterFields,
  list: readonly Pick<FilterFields, "filter_ext_key" | "filter_data">[],
): HeaderFilter | undefined | Error {
  if (type === 0) return undefined;
  if (type === SEVERAL) {
    if (key !== "all" && key !== "any") return new Error(`filter_ext_key of type ${SEVERAL} is neither all nor any`);
    if (list.length === 0) return new Error("filter_data_list is empty");
    if (list.length > MAX_CONDITIONS) return new Error(`filter_data_list has more than ${MAX_CONDITIONS} entries`);
    if (list.some(({ filter_ext_key }) => filter_ext_key === "")) return new Error("filter_data_list has an empty filter_ext_key");
    return { kind: key, inverse, conditions: list.map((one) => ({ path: one.filter_ext_key, data: one.filter_data })) };
  }
  const kind = KINDS.get(type);
  if (kind === undefined) return new Error(`there is no type ${type}`);
  if (key === "") return new Error("filter_ext_key is empty");
  const wrong = kind === "regexp" ? checkPattern(data) : kind === "glob" ? checkGlob(data) : undefined;
  return wrong ?? { kind, inverse, conditions: [{ path: key, data }] };
}

function checkPattern(source: string): Error | undefined {
  try {
    Pattern.compile(source, { steps: MAX_PATTERN_STEPS });
    return undefined;
  } catch (error) {
    if (error instanceof PatternError) return error;
    throw error;
  }
}

/** A glob has `*`, `?`, sets in brackets, alternatives in braces, and a backslash in front of a character that stands for itself. */
function checkGlob(source: string): Error | undefined {
  let braces = 0;
  let inSet = false;
  for (let at = 0; at < source.length; at++) {
    const character = source[at];
    if (character === "\\" && ++at === source.length) return new Error("the glob ends with a backslash");
    if (inSet) inSet = character !== "]";
    else if (character === "[") inSet = true;
    else if (character === "{") braces++;
    else if (character === "}" && --braces < 0) return new Error("the glob has a closing brace without an opening one");
  }
  return inSet || braces > 0 ? new Error("the glob has a bracket that is not closed") : undefined;
}
