import { readFileSync } from "node:fs";
import { join } from "node:path";

/** What happened next on the connection of a recorded client. */
export type Step =
  | { kind: "send"; bytes: Buffer }
  /** A frame without its size word. */
  | { kind: "receive"; frame: Buffer }
  /** The server closed the connection. */
  | { kind: "closed" }
  /** Nothing came for a second or so. */
  | { kind: "nothing" };

/** A part of a recorded session. */
export interface Section {
  title: string;
  steps: Step[];
}

/** Reads the record of a session with Youzan's nsqd 0.3.7-HA.1.13.0 in `captures/`: `>>` client to server, `<<` server to client. */
export function readTranscript(name: string): Section[] {
  const sections: Section[] = [];
  for (const line of readFileSync(join(import.meta.dir, `../captures/${name}.txt`), "utf8").split("\n")) {
    const steps: Step[] = sections.at(-1)?.steps ?? [];
    if (line.startsWith("--- ")) sections.push({ title: line.slice(4), steps: [] });
    else if (line === "<< closed") steps.push({ kind: "closed" });
    else if (line === "<< nothing") steps.push({ kind: "nothing" });
    else if (line.startsWith("<< ")) steps.push({ kind: "receive", frame: Buffer.from(line.slice(11), "hex") });
    else if (line.startsWith(">> ")) steps.push({ kind: "send", bytes: sent(line.slice(3)) });
  }
  return sections;
}

/** @param text hex; of long bytes the beginning and how many there are: the rest are like the last */
function sent(text: string): Buffer {
  const [hex = "", length = ""] = text.split("..");
  const beginning = Buffer.from(hex, "hex");
  if (length === "") return beginning;
  const bytes = Buffer.alloc(Number(length), beginning.at(-1));
  beginning.copy(bytes);
  return bytes;
}
