/** What a call was refused with. */
export class ApiError extends Error {
  override name = "ApiError";

  constructor(
    /** 0 if nothing answered. */
    readonly status: number,
    readonly code: string,
    readonly detail: string,
  ) {
    super(detail === "" ? code : `${code}: ${detail}`);
  }
}
