/** Says why a program cannot start, and what an operator can do about it. */
export class StartError extends Error {
  override name = "StartError";
}
