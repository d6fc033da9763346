import { Refusal } from "../../http/server/reply.ts";
import { Slots } from "../upstream/slots.ts";

/** OWASP's least for argon2id: 19 MiB, two passes, one lane. */
export const HASHING = { algorithm: "argon2id", memoryCost: 19_456, timeCost: 2 } as const;
/** Each check takes the memory and about 50 ms of a thread. */
const AT_ONCE = 2;
const MOST_WAITING = 32;
/** Checked for users that there are not, if the file has no hash either. It opens nothing: the result is not used. */
const NOBODYS = "$argon2id$v=19$m=19456,t=2,p=1$jkgzbOzp9mDbmFeXGF0PSiV5FWybwoFLIDmJpm2oi1k$OCY7K2iELUAvq53JAB96tJgG0Zg8zdjTI01UfD5GNlU";

const slots = new Slots(AT_ONCE, MOST_WAITING);

/**
 * Checks a password, in about the same time whether there is such a user or not.
 *
 * @param hash undefined: there is no such user
 * @param decoy the hash of another user, whose cost is then paid
 * @throws Refusal 503 if too many wait
 */
export async function isPassword(password: string, hash: string | undefined, decoy = NOBODYS): Promise<boolean> {
  if (!(await slots.take())) throw new Refusal(503, "TOO_MANY_REQUESTS");
  try {
    const fits = await Bun.password.verify(password, hash ?? decoy, "argon2id");
    return fits && hash !== undefined;
  } finally {
    slots.free();
  }
}
