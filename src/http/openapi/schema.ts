/** A JSON Schema (2020-12), as far as the descriptions of our calls need it. */
export interface Schema {
  readonly type?: string | readonly string[];
  /** A schema with a title gets a place of its own in the document, where others refer to it. */
  readonly title?: string;
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: Schema | boolean;
  readonly items?: Schema;
  readonly maxItems?: number;
  readonly anyOf?: readonly Schema[];
  readonly enum?: readonly (string | number | boolean | null)[];
  readonly pattern?: string;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly default?: unknown;
  readonly examples?: readonly unknown[];
  readonly format?: string;
  readonly contentEncoding?: string;
  readonly $ref?: string;
}

/** A member of an object that may be left out. */
export interface Optional {
  readonly optional: Schema;
}

/** What describes the members of an object. */
export type Members = Readonly<Record<string, Schema | Optional>>;

/** What describes the members of a type. A member that may be left out there must be optional here, and none may be missing. */
export type MembersOf<Type> = {
  readonly [Name in keyof Type]-?: Record<string, never> extends Pick<Type, Name> ? Optional : Schema;
};

export const STRING: Schema = { type: "string" };
export const INTEGER: Schema = { type: "integer" };
export const COUNT: Schema = { type: "integer", minimum: 0 };
export const NUMBER: Schema = { type: "number" };
export const BOOLEAN: Schema = { type: "boolean" };
export const ANYTHING: Schema = {};

/** @param member optional: it may be left out */
export function optional(schema: Schema): Optional {
  return { optional: schema };
}

export function object(members: Members, more: Schema = {}): Schema {
  const all = Object.entries(members);
  return {
    type: "object",
    ...more,
    properties: Object.fromEntries(all.map(([name, member]) => [name, isOptional(member) ? member.optional : member])),
    required: all.filter(([, member]) => !isOptional(member)).map(([name]) => name),
  };
}

/** An object of a type, with whose members the compiler compares these. */
export function objectOf<Type>(members: MembersOf<Type>, more: Schema = {}): Schema {
  // Each of them is a Schema or Optional.
  return object(members as Members, more);
}

function isOptional(member: Schema | Optional): member is Optional {
  return "optional" in member;
}

/** An object whose members have any names. */
export function mapOf(values: Schema): Schema {
  return { type: "object", additionalProperties: values };
}

export function listOf(items: Schema): Schema {
  return { type: "array", items };
}

export function oneOf(...values: readonly string[]): Schema {
  return { type: "string", enum: values };
}

export function orNull(schema: Schema): Schema {
  if (typeof schema.type !== "string" || schema.title !== undefined || schema.enum !== undefined)
    return { anyOf: [schema, { type: "null" }] };
  return { ...schema, type: [schema.type, "null"] };
}

/** A schema that is elsewhere in the document, under its title. For types that contain themselves. */
export function refTo(title: string): Schema {
  return { $ref: `#/components/schemas/${title}` };
}
