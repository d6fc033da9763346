/** Fills a buffer with random bytes. Tests pass one that draws from a seed. */
export type RandomSource = (target: Buffer) => void;

/** The machine's own randomness. */
export const systemRandom: RandomSource = (target) => void crypto.getRandomValues(target);
