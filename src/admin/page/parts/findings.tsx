import type { Finding } from "../../console-api.ts";

const GRAVE: readonly Finding["kind"][] = ["no_consumers", "read_failure", "timeouts", "attempts"];

/** Why consumers are slow, the gravest reason first. */
export function Findings({ findings }: { findings: readonly Finding[] }) {
  if (findings.length === 0) return null;
  return (
    <ul class="findings" aria-label="Findings">
      {findings.map((finding) => (
        <li key={`${finding.kind} ${finding.broker ?? ""} ${finding.client ?? ""}`} class={GRAVE.includes(finding.kind) ? "bad" : "warn"}>
          {finding.text}
        </li>
      ))}
    </ul>
  );
}
