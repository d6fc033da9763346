const TRIES = 8;
const TIMES = 8;
/** Half way, as a factor, between what is linear and what is quadratic: memory and collector cost a linear work more when it is large. */
export const LINEAR = 22;

/**
 * How many times as much CPU time a work takes for eight times the size: about 8 if it is linear, 64 if it is quadratic. CPU time is this
 * process's own, so a machine that stalls it adds nothing; the best of a few tries is taken, since other work may share the caches.
 *
 * @param work that takes some ms at least for the size given
 */
export function growth(work: (size: number) => void, size: number): number {
  // Compiled first.
  work(size);
  let small = Number.POSITIVE_INFINITY;
  let large = Number.POSITIVE_INFINITY;
  for (let i = 0; i < TRIES && !(large < TIMES * small); i++) {
    small = Math.min(
      small,
      cpuMs(() => work(size)),
    );
    large = Math.min(
      large,
      cpuMs(() => work(TIMES * size)),
    );
  }
  return large / small;
}

function cpuMs(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}
