import { seedFromEnvironment } from "../../support/random.ts";

/**
 * Plays schedules, each from a seed of its own. When one fails, its seed is printed, and `BUNSQ_SEED=<seed> BUNSQ_SCHEDULES=1` plays it
 * again.
 *
 * @param usual how many, unless BUNSQ_SCHEDULES says another number
 * @param play one schedule; it throws if something does not hold
 */
export function playSchedules(usual: number, play: (seed: number) => void): void {
  const count = Number(process.env.BUNSQ_SCHEDULES ?? usual);
  const first = seedFromEnvironment();
  for (let i = 0; i < count; i++) {
    const seed = (first + i) >>> 0;
    try {
      play(seed);
    } catch (error) {
      console.log(`schedule ${i + 1} of ${count} failed; play it again with BUNSQ_SEED=${seed} BUNSQ_SCHEDULES=1`);
      throw error;
    }
  }
}
