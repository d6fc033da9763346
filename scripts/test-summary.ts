/** A test of a JUnit report that failed or was skipped. */
interface Outcome {
  kind: "failed" | "skipped";
  /** The names of the groups that it is in, outermost first, and its own. */
  name: string;
  file: string;
}

const UNKNOWN_REASON = "for another reason";

/**
 * The lines that close a run of the tests: each test that failed, and how many were skipped by reason
 * (`skipped: 12 no nsqd, 3 no ip`). The last line is always the one about skipped tests.
 *
 * @param report as `bun test --reporter=junit` writes it
 */
export function closingLines(report: string): string[] {
  const outcomes = readOutcomes(report);
  const failed = outcomes.filter(({ kind }) => kind === "failed");
  return [...failed.map(({ file, name }) => `failed: ${file}: ${name}`), `skipped: ${countByReason(outcomes)}`];
}

/** Counts the skipped tests by the reason in their names, see test/support/needs.ts. The most frequent reason comes first. */
function countByReason(outcomes: readonly Outcome[]): string {
  const counts = new Map<string, number>();
  for (const { kind, name } of outcomes) {
    if (kind !== "skipped") continue;
    const reason = /\[skipped: ([^\]]*)\]/.exec(name)?.[1] ?? UNKNOWN_REASON;
    counts.set(reason, (counts.get(reason) ?? 0) + 1);
  }
  if (counts.size === 0) return "none";
  return [...counts]
    .sort(([, a], [, b]) => b - a)
    .map(([reason, count]) => `${count} ${reason}`)
    .join(", ");
}

function readOutcomes(report: string): Outcome[] {
  // Bun's report has one tag in each line, and the groups of a test in its class name, innermost first.
  const cases = report.matchAll(/<testcase ([^>]*)>\s*<(failure|error|skipped|todo)/g);
  return [...cases].map(([, attributes = "", tag]) => ({
    kind: tag === "failure" || tag === "error" ? "failed" : "skipped",
    name: [...attribute(attributes, "classname").split(" > ").reverse(), attribute(attributes, "name")].filter(Boolean).join(" > "),
    file: attribute(attributes, "file"),
  }));
}

function attribute(attributes: string, name: string): string {
  const value = new RegExp(`(?:^|\\s)${name}="([^"]*)"`).exec(attributes)?.[1] ?? "";
  const entities: Record<string, string> = { "&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'", "&#10;": "\n", "&amp;": "&" };
  return value.replace(/&(?:lt|gt|quot|apos|#10|amp);/g, (entity) => entities[entity] ?? entity);
}
