/** Why a program cannot start, in words that tell an operator what to do. */
export class StartError extends Error {
  override name = "StartError";
}
