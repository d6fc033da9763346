import { PublishError } from "../acks/pending-publish.ts";

/** A topic that an earlier run left and that is not open yet, because a file of it could not be read. It is opened later. */
export interface WaitingTopic {
  readonly name: string;
  /** Ids of its rows in the metadata store; 0 in place of one that it has not got yet. */
  readonly ids: readonly number[];
  readonly nameCrc: number;
  /** Ids of its channels' rows. */
  readonly channelIds: readonly number[];
  /** Why it is not open. */
  readonly failure: Error | undefined;
}

/** The refusal of a publish to a topic that is not open yet, and of everything else that needs the topic. */
export class TopicWaits extends PublishError {
  override name = "TopicWaits";

  constructor({ name, failure }: WaitingTopic) {
    super(`topic ${name} is not open: ${failure?.message ?? "its files were not read yet"}`);
  }
}
