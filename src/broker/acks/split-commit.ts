import { type Committed, type Replicated, WAITS_FOR_LEADER, WAITS_FOR_SYNC } from "./pending-publish.ts";

/** What a batch waits for that went to several places: all of them. One that fails refuses it, though the others have their messages. */
export class SplitCommit implements Committed {
  constructor(private readonly parts: readonly Committed[]) {}

  get failure(): Error | undefined {
    for (const { failure } of this.parts) if (failure !== undefined) return failure;
    return undefined;
  }

  get waitsFor(): number {
    return this.parts.reduce((bits, { waitsFor }) => bits | waitsFor, 0);
  }

  get replicated(): Replicated[] {
    return this.parts.flatMap(({ replicated = [] }) => replicated);
  }

  get syncFailure(): Error | undefined {
    for (const { waitsFor, syncFailure } of this.parts)
      if ((waitsFor & (WAITS_FOR_SYNC | WAITS_FOR_LEADER)) !== 0 && syncFailure !== undefined) return syncFailure;
    return undefined;
  }
}
