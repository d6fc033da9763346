import { HASHING } from "../../admin/access/passwords.ts";
import { ClientError } from "../../client/bun.ts";
import { command, commandGroup, EXIT_OK } from "../command/command.ts";

const TOKEN_BYTES = 32;
const MOST_PASSWORD_BYTES = 1024;

const password = command<object>({
  name: "password",
  summary: "Print the hash of a password that standard input has, for an access file",
  about: 'A line end behind the password is not a part of it.\n\n  read -rs p; printf %s "$p" | bunsq access password',
  table: { options: {}, others: [] },
  run: async ({ terminal }) => {
    const text = (await Bun.stdin.text()).replace(/\r?\n$/, "");
    if (text === "" || Buffer.byteLength(text) > MOST_PASSWORD_BYTES) {
      throw new ClientError("INVALID_PASSWORD", `a password has 1 to ${MOST_PASSWORD_BYTES} bytes`);
    }
    await terminal.print(`password = "${await Bun.password.hash(text, HASHING)}"\n`);
    return EXIT_OK;
  },
});

const token = command<object>({
  name: "token",
  summary: "Print a new token, and its hash for an access file",
  about: "The token is printed to standard error: it is for the client alone, which sends it as Authorization: Bearer TOKEN.",
  table: { options: {}, others: [] },
  run: async ({ terminal }) => {
    const made = Buffer.from(crypto.getRandomValues(new Uint8Array(TOKEN_BYTES))).toString("base64url");
    terminal.warn(made);
    await terminal.print(`sha256 = "${new Bun.CryptoHasher("sha256").update(made).digest("hex")}"\n`);
    return EXIT_OK;
  },
});

/** `bunsq access`: what the console's access file needs. */
export const accessCommand = commandGroup("access", "Make hashes for the console's access file", [password, token]);
