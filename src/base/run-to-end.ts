/** Does all steps of a work that can be interrupted between them. @returns what the work returns @throws what it throws */
export function runToEnd<Result>(steps: Generator<unknown, Result>): Result {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}
