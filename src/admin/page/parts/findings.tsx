import type { Finding } from "../../console-api.ts";
import { MessageLink, TopicLink } from "./names.tsx";

const GRAVE: readonly Finding["kind"][] = ["no_consumers", "read_failure", "timeouts", "attempts", "poison", "dead_letters"];

/** Why consumers are slow, the gravest reason first. */
export function Findings({ topic, channel, findings }: { topic: string; channel: string; findings: readonly Finding[] }) {
  if (findings.length === 0) return null;
  return (
    <ul class="findings" aria-label="Findings">
      {findings.map((finding) => (
        <li key={`${finding.kind} ${finding.broker ?? ""} ${finding.client ?? ""}`} class={GRAVE.includes(finding.kind) ? "bad" : "warn"}>
          {finding.text}
          {finding.message !== undefined && (
            <>
              {" See "}
              <MessageLink topic={topic} channel={channel} id={finding.message} broker={finding.broker ?? ""} />.
            </>
          )}
          {finding.topic !== undefined && (
            <>
              {" See "}
              <TopicLink topic={finding.topic} />.
            </>
          )}
        </li>
      ))}
    </ul>
  );
}
