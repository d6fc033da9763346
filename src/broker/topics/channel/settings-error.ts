/** Settings that cannot be used. The message says which and why. */
export class SettingsError extends Error {
  override name = "SettingsError";

  /** @param setting its name in JSON */
  constructor(
    readonly setting: string,
    why: string,
  ) {
    super(`${setting}: ${why}`);
  }
}
