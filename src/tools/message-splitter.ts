/** Splits bytes into messages at a separator. Empty messages are left out. */
export class MessageSplitter {
  /** The pieces of a message that has no end yet. */
  private pieces: Uint8Array[] = [];

  /** @param separator a byte */
  constructor(private readonly separator: number) {}

  /** The messages that end in these bytes. */
  split(bytes: Uint8Array): Uint8Array[] {
    const messages: Uint8Array[] = [];
    let from = 0;
    for (let at = bytes.indexOf(this.separator); at >= 0; at = bytes.indexOf(this.separator, from)) {
      this.pieces.push(bytes.subarray(from, at));
      messages.push(...this.end());
      from = at + 1;
    }
    if (from < bytes.length) this.pieces.push(bytes.subarray(from));
    return messages;
  }

  /** The message behind the last separator, if there is one. */
  end(): Uint8Array[] {
    const [first] = this.pieces;
    const message = this.pieces.length > 1 ? Buffer.concat(this.pieces) : first;
    this.pieces = [];
    return message === undefined || message.length === 0 ? [] : [message];
  }
}
