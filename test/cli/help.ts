export interface HelpEntry {
  type: string;
  default: string;
}

/** Parses a --help text in the layout of Go's flag package. @returns type and default of each flag, by name */
export function readHelp(text: string): Map<string, HelpEntry> {
  const entries = text.matchAll(/^ {2}-(\S+)(?: (\S+))?\n {4}\t.*?(?: \(default (\S+|"[^"]*")\))?$/gm);
  return new Map([...entries].map(([, name = "", type = "", value = ""]) => [name, { type, default: value }]));
}
