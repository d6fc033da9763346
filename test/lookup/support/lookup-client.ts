import { ByteSocket } from "../../behaviour/differential/support/byte-socket.ts";
import { sized } from "../../support/raw-client.ts";

/** The body of IDENTIFY. */
export interface Identity {
  broadcast_address: string;
  hostname: string;
  tcp_port: number;
  http_port: number;
  version: string;
}

export function identityOf(name: string, changes: Partial<Identity> = {}): Identity {
  return { broadcast_address: name, hostname: `host-${name}`, tcp_port: 4150, http_port: 4151, version: "1.3.0", ...changes };
}

/** A broker's connection to a lookup server, byte by byte. It splits the bytes into answers, and hides nothing. */
export class LookupClient {
  /** The bytes of the answers that have been returned. */
  private taken = 0;

  private constructor(readonly socket: ByteSocket) {}

  static async connect(port: number, magic = "  V1"): Promise<LookupClient> {
    const client = new LookupClient(await ByteSocket.connect(port));
    if (magic !== "") client.socket.write(magic);
    return client;
  }

  /** Its own address, as the server sees it: `ip:port`. */
  get address(): string {
    return this.socket.localAddress;
  }

  /** Sends a command line, with a body behind it if one is given. */
  send(line: string, body?: string | Uint8Array): void {
    this.socket.write(body === undefined ? `${line}\n` : Buffer.concat([Buffer.from(`${line}\n`, "latin1"), sized(body)]));
  }

  /** Waits for the next answer. @returns undefined if the connection ends, or if no answer comes within `timeoutMs` */
  async next(timeoutMs = 20_000): Promise<Buffer | undefined> {
    const whole = (bytes: Buffer) => bytes.length >= this.taken + 4 && bytes.length >= this.taken + 4 + bytes.readInt32BE(this.taken);
    const bytes = await this.socket.until(whole, timeoutMs);
    if (!whole(bytes)) return undefined;
    const start = this.taken + 4;
    this.taken = start + bytes.readInt32BE(this.taken);
    return bytes.subarray(start, this.taken);
  }

  /** Sends a command and returns its answer as text. */
  async call(line: string, body?: string | Uint8Array): Promise<string> {
    this.send(line, body);
    const answer = await this.next();
    if (answer === undefined) throw new Error(`no answer to ${line}`);
    return answer.toString();
  }

  /** Sends IDENTIFY. */
  async identify(identity: Identity): Promise<void> {
    const answer = await this.call("IDENTIFY", JSON.stringify(identity));
    if (!answer.startsWith("{")) throw new Error(`IDENTIFY was answered with ${answer}`);
  }

  /** The bytes behind the answers that have been returned. */
  rest(): Buffer {
    return this.socket.received().subarray(this.taken);
  }

  close(): void {
    this.socket.destroy();
  }
}
