/** A number that only some brokers tell. @returns undefined if this one does not */
export function maybeNumber(of: object, key: string | number): number | undefined {
  const value: unknown = Reflect.get(of, key);
  return typeof value === "number" && Number.isFinite(value) ? value : undefined;
}
