import type { Schema } from "./schema.ts";

/** An argument of a call. */
export interface Parameter {
  readonly name: string;
  readonly in: "query" | "path" | "header";
  readonly description: string;
  readonly required: boolean;
  readonly schema: Schema;
  readonly example?: string | number;
}

/** A body, by its content type. Types without a schema are text. */
export type Contents = Readonly<Record<string, Schema>>;

export interface Answer {
  readonly description: string;
  /** Empty: no body. */
  readonly contents: Contents;
}

export interface RequestBody {
  readonly description: string;
  readonly required: boolean;
  readonly contents: Contents;
}

/** The codes of a call's errors, by status. One that ends with `…` begins like this. */
export type ErrorCodes = Readonly<Record<number, readonly string[]>>;

/** What one method of a path does. */
export interface Operation {
  /** One line, without a full stop. */
  readonly summary: string;
  readonly details?: string;
  readonly parameters?: readonly Parameter[];
  readonly body?: RequestBody;
  /** The answer 200. */
  readonly answer: Answer;
  /** Answers with other statuses that are no errors in JSON. */
  readonly otherAnswers?: Readonly<Record<number, Answer>>;
  readonly errors?: ErrorCodes;
}

/** The calls of one kind, by method and path of the route table: `POST /config/:opt`. */
export type Operations = Readonly<Record<string, Operation>>;

export interface OperationGroup {
  readonly name: string;
  readonly description: string;
  readonly operations: Operations;
}

/** The description of all calls that a server may have. */
export interface ApiDescription {
  readonly title: string;
  /** The release of the program. */
  readonly version: string;
  readonly description: string;
  readonly groups: readonly OperationGroup[];
  /** The errors that every call has. */
  readonly errors: ErrorCodes;
  /** The errors that calls with a body have too. */
  readonly bodyErrors: ErrorCodes;
}

/** An argument in the query that must be given. */
export function needs(name: string, description: string, schema: Schema, example?: string | number): Parameter {
  return { name, in: "query", description, required: true, schema, ...(example === undefined ? {} : { example }) };
}

/** An argument in the query that may be given. */
export function takes(name: string, description: string, schema: Schema, example?: string | number): Parameter {
  return { ...needs(name, description, schema, example), required: false };
}

/** A part of the path. */
export function inPath(name: string, description: string, schema: Schema, example?: string | number): Parameter {
  return { ...needs(name, description, schema, example), in: "path" };
}

export function header(name: string, description: string, schema: Schema, example?: string | number): Parameter {
  return { ...takes(name, description, schema, example), in: "header" };
}

export const NO_BODY: Answer = { description: "Done", contents: {} };

export function jsonAnswer(description: string, schema: Schema): Answer {
  return { description, contents: { "application/json": schema } };
}

export function textAnswer(description: string, example?: string): Answer {
  return { description, contents: { "text/plain": { type: "string", ...(example === undefined ? {} : { examples: [example] }) } } };
}

export function jsonBody(description: string, schema: Schema): RequestBody {
  return { description, required: true, contents: { "application/json": schema } };
}
