/** Says why a program cannot start, and what an operator can do about it. */
export class StartError extends Error {
  override name = "StartError";
}

/** The start was interrupted by a signal. */
export class StartInterrupted extends StartError {
  override name = "StartInterrupted";
}
