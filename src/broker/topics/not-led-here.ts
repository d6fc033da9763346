import { PublishError } from "../acks/pending-publish.ts";

/** What was asked for, only a broker can do that leads a partition of the topic: the topic is of a cluster, or is to be made there. */
export class NotLedHere extends PublishError {
  constructor(readonly topic: string) {
    super(`another broker leads topic ${topic}; lookup servers tell which one`);
  }
}
