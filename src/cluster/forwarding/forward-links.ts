import type { ForwardedPublish } from "../../broker/forwarding/forwarded-publish.ts";
import type { LeaderLinks, LinkAnswer } from "../../broker/forwarding/leader-links.ts";
import { ForwardLink, type ForwardLinkParts } from "./forward-link.ts";

/** The connections to all brokers that this one has sent publishes to. */
export class ForwardLinks implements LeaderLinks {
  private readonly byUid = new Map<string, ForwardLink>();

  constructor(private readonly parts: ForwardLinkParts) {}

  send(uid: string, publish: ForwardedPublish, done: (answer: LinkAnswer) => void): void {
    let link = this.byUid.get(uid);
    if (link === undefined) {
      link = new ForwardLink(this.parts, uid);
      this.byUid.set(uid, link);
    }
    link.send(publish, done);
  }

  close(): void {
    for (const link of this.byUid.values()) link.close();
  }
}
