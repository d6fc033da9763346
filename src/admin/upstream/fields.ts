/** A JSON object of another server, of which nothing is sure. */
export type Fields = Readonly<Record<string, unknown>>;

/** A value as an object; an empty one if it is none. */
export function fieldsOf(value: unknown): Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : {};
}

/** The text under a name; empty if there is none. */
export function textOf(fields: Fields, name: string): string {
  const value = fields[name];
  return typeof value === "string" ? value : "";
}

/** The number under a name; 0 if there is none. */
export function numberOf(fields: Fields, name: string): number {
  const value = fields[name];
  return typeof value === "number" ? value : 0;
}

/** Whether there is true under a name. */
export function flagOf(fields: Fields, name: string): boolean {
  return fields[name] === true;
}

/** The list under a name; empty if there is none. */
export function listOf(fields: Fields, name: string): readonly unknown[] {
  const value = fields[name];
  return Array.isArray(value) ? value : [];
}

/** The texts of the list under a name. */
export function textsOf(fields: Fields, name: string): string[] {
  return listOf(fields, name).filter((value) => typeof value === "string");
}
