export interface HelpEntry {
  type: string;
  default: string;
}

/** Flags in a --help text as Go's flag package prints it: name to type and default. */
export function readHelp(text: string): Map<string, HelpEntry> {
  const entries = text.matchAll(/^ {2}-(\S+)(?: (\S+))?\n {4}\t.*?(?: \(default (\S+|"[^"]*")\))?$/gm);
  return new Map([...entries].map(([, name = "", type = "", value = ""]) => [name, { type, default: value }]));
}
