import { fieldsOf, type Json, listOf, memberOf } from "../../../../base/go/json.ts";
import { fatal, type ProtocolError } from "../../../../frame/error.ts";
import { MAX_TAG_BYTES } from "../../../../frame/header.ts";
import { FilterError, HeaderFilter } from "../../../topics/channel/selective/header-filter.ts";

/** What Youzan's clients say in IDENTIFY beside what NSQ's say. */
const DEFAULTS = { extend_support: false, desired_tag: "", multiplexing: false };
const CONDITION_DEFAULTS = { filter_ext_key: "", filter_data: "" };
const FILTER_DEFAULTS = { type: 0, inverse: false, ...CONDITION_DEFAULTS };

/** The type of a filter that is none. */
const NO_FILTER = 0;

const UNREADABLE = fatal("E_BAD_BODY", "IDENTIFY failed to decode JSON body");

/** What such a client is, and what it is answered. */
export interface YouzanIdentity {
  extendSupport: boolean;
  /** Undefined: none. */
  tag: Buffer | undefined;
  filter: HeaderFilter | undefined;
  /** Added to the answer of a client that negotiates: what it sent, but for an empty tag. */
  answer: { desired_tag?: string; extend_support?: boolean; ext_filter?: object };
}

/** Reads Youzan's fields of an IDENTIFY. @returns undefined if there are none; an error for one that is not valid */
export function youzanIdentity(document: Json): YouzanIdentity | ProtocolError | undefined {
  const filter = memberOf(document, "ext_filter");
  const has = (name: string) => memberOf(document, name) !== undefined;
  if (filter === undefined && !Object.keys(DEFAULTS).some(has)) return undefined;
  const fields = fieldsOf(document, DEFAULTS);
  if (fields === undefined) return UNREADABLE;
  const { extend_support: extendSupport, desired_tag: desiredTag } = fields;
  const tagBytes = Buffer.byteLength(desiredTag);
  if (tagBytes > MAX_TAG_BYTES) return fatal("E_BAD_BODY", `IDENTIFY invalid tag len ${tagBytes}, exceed limit ${MAX_TAG_BYTES}`);
  const read = filter === undefined || filter === null ? undefined : readFilter(filter);
  if (read !== undefined && "code" in read) return read;
  const answer = {
    ...(desiredTag === "" ? {} : { desired_tag: desiredTag }),
    // Youzan's servers do not say these two, so that a client cannot know whether they count.
    ...(has("extend_support") ? { extend_support: extendSupport } : {}),
    ...(read === undefined ? {} : { ext_filter: read.fields }),
  };
  return { extendSupport, tag: tagBytes === 0 ? undefined : Buffer.from(desiredTag), filter: read?.filter, answer };
}

function readFilter(document: Json): { filter: HeaderFilter | undefined; fields: object } | ProtocolError {
  const fields = fieldsOf(document, FILTER_DEFAULTS);
  const list = listOf(document, "filter_data_list")?.map((entry) => fieldsOf(entry, CONDITION_DEFAULTS));
  if (fields === undefined || list === undefined) return UNREADABLE;
  const conditions: { filter_ext_key: string; filter_data: string }[] = [];
  for (const condition of list) {
    if (condition === undefined) return UNREADABLE;
    conditions.push(condition);
  }
  const sent = { ...fields, type: Number(fields.type), filter_data_list: conditions };
  if (sent.type === NO_FILTER) return { filter: undefined, fields: sent };
  try {
    return { filter: HeaderFilter.fromJson(sent), fields: sent };
  } catch (error) {
    if (error instanceof FilterError) return fatal("E_BAD_BODY", `IDENTIFY invalid ext_filter: ${error.message}`);
    throw error;
  }
}
