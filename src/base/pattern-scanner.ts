/** Goes through the source of a pattern. What a parser of patterns accepts is behind it then. */
export class PatternScanner {
  protected at = 0;

  constructor(protected readonly source: string) {}

  protected isAt(character: string): boolean {
    return this.source[this.at] === character;
  }

  protected accept(character: string): boolean {
    if (!this.isAt(character)) return false;
    this.at++;
    return true;
  }

  /** Accepts text that matches a sticky expression. @returns undefined if it does not match here */
  protected acceptForm(form: RegExp): RegExpExecArray | undefined {
    form.lastIndex = this.at;
    const match = form.exec(this.source);
    if (match === null) return undefined;
    this.at += match[0].length;
    return match;
  }
}
