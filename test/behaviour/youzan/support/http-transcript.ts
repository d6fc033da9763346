import { readFileSync } from "node:fs";
import { join } from "node:path";

/** One call that was sent to Youzan's nsqd, and its answer. */
export interface Exchange {
  method: string;
  target: string;
  body: string | undefined;
  /** It was sent to a broker that has the topic, and is not the leader of its partition. */
  isElsewhere: boolean;
  status: number;
  answer: string;
  /** What a consumer got first afterwards, as the record shows it. */
  first: string | undefined;
}

/** Calls that belong together. */
export interface HttpSection {
  title: string;
  exchanges: Exchange[];
  /** What consumers got first that subscribed at an offset. */
  firsts: string[];
}

/**
 * Reads the record of calls to Youzan's nsqd 0.3.7-HA.1.13.0 in `captures/`: `>` a call, `+` its body, `<` status and content type of the
 * answer, `|` its lines, `=` what a consumer got first.
 */
export function readHttpTranscript(name: string): HttpSection[] {
  const sections: HttpSection[] = [{ title: "", exchanges: [], firsts: [] }];
  for (const line of readFileSync(join(import.meta.dir, `../captures/${name}.txt`), "utf8").split("\n")) {
    const { exchanges, firsts } = sections.at(-1) as HttpSection;
    const last = exchanges.at(-1);
    const rest = line.slice(2);
    if (line.startsWith("--- ")) sections.push({ title: line.slice(4), exchanges: [], firsts: [] });
    else if (line.startsWith("> ")) exchanges.push(callOf(rest));
    else if (line.startsWith("= ") && last === undefined) firsts.push(rest);
    else if (last === undefined) continue;
    else if (line.startsWith("+ ")) last.body = rest.replaceAll("\\n", "\n");
    else if (line.startsWith("< ")) last.status = Number(rest.split(" ")[0]);
    else if (line.startsWith("| ")) last.answer += (last.answer === "" ? "" : "\n") + rest;
    else if (line.startsWith("= ")) last.first = rest;
  }
  return sections;
}

function callOf(line: string): Exchange {
  const [method = "", target = ""] = line.split(" ");
  const isElsewhere = line.endsWith("(another broker)");
  return { method, target, body: undefined, isElsewhere, status: 0, answer: "", first: undefined };
}
