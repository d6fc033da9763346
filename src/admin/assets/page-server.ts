import { plain } from "../../http/server/reply.ts";
import { compressed } from "./compress.ts";
import { INDEX_NAME, type PageFile } from "./page-file.ts";
import { pageFiles } from "./page-files.ts";

/**
 * What the page may do: load its own files, and talk to its own console. No script and no style in a document, no frame around it.
 * Images may be data, for what uPlot draws on.
 */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'self'",
  "form-action 'self'",
  "frame-ancestors 'none'",
].join("; ");

/** What each answer with a file of the page has. */
const SECURITY_HEADERS: Record<string, string> = {
  "Content-Security-Policy": CONTENT_SECURITY_POLICY,
  "X-Content-Type-Options": "nosniff",
  "X-Frame-Options": "DENY",
  "Referrer-Policy": "no-referrer",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
};

/** Names with a hash never get another content. */
const FOREVER = "public, max-age=31536000, immutable";

/** What the build calls its files, other than the page itself. */
const BUILT_NAME = /^[^/]+-[0-9a-z]{8}\.(?:js|css|svg)$/;

interface ServedFile extends PageFile {
  /** Quoted, as in a header. */
  etag: string;
}

/** Serves the console's page. Only the names that the build made exist; every other path is a view of the page. */
export class PageServer {
  private readonly files: ReadonlyMap<string, ServedFile>;

  private constructor(files: readonly ServedFile[]) {
    this.files = new Map(files.map((file) => [file.name, file]));
  }

  /** @param basePath of --base-path: `/`, or `/nsq` */
  static async open(basePath: string): Promise<PageServer> {
    return new PageServer((await pageFiles()).map((file) => (file.name === INDEX_NAME ? served(withBase(file, basePath)) : served(file))));
  }

  /**
   * @param path below the base, beginning with a slash
   * @returns the file, the page itself for every path that is no file's, or 404 for a file of another build
   */
  respond(request: Request, path: string): Response {
    const name = path.slice(1);
    // A page that is open asks for the files of its own build, which a newer one may not have.
    if (BUILT_NAME.test(name) && !this.files.has(name)) return plain(404, "404 page not found\n");
    const file = this.files.get(name) ?? this.files.get(INDEX_NAME);
    if (file === undefined) throw new Error("the console's page has no index.html");
    const { body, encoding } = encodedFor(request.headers.get("accept-encoding"), file);
    const headers = new Headers(SECURITY_HEADERS);
    const etag = encoding === undefined ? file.etag : `${file.etag.slice(0, -1)}-${encoding}"`;
    headers.set("Content-Type", file.type);
    headers.set("Cache-Control", file.name === INDEX_NAME ? "no-cache" : FOREVER);
    headers.set("ETag", etag);
    headers.set("Vary", "Accept-Encoding");
    if (names(request.headers.get("if-none-match"), etag)) return new Response(null, { status: 304, headers });
    if (encoding !== undefined) headers.set("Content-Encoding", encoding);
    return new Response(request.method === "HEAD" ? null : body, { headers });
  }
}

/** The page below a base path, by which its links and calls go. */
function withBase(file: PageFile, basePath: string): PageFile {
  const base = basePath.endsWith("/") ? basePath : `${basePath}/`;
  const text = new TextDecoder().decode(file.plain).replace("<head>", `<head>\n    <base href="${Bun.escapeHTML(base)}" />`);
  const plain = new TextEncoder().encode(text);
  return { ...file, plain, ...compressed(plain) };
}

function served(file: PageFile): ServedFile {
  return { ...file, etag: `"${Bun.hash.xxHash64(file.plain).toString(16).padStart(16, "0")}"` };
}

/** The body in the best encoding that a client takes. Weights other than 0 are not compared: br is smaller than gzip for everybody. */
function encodedFor(accepted: string | null, file: PageFile): { body: Uint8Array<ArrayBuffer>; encoding: string | undefined } {
  const codings = (accepted ?? "").toLowerCase().split(",");
  const takes = (name: string) =>
    codings.some((coding) => {
      const [token = "", ...parameters] = coding.split(";").map((part) => part.trim());
      return token === name && !parameters.some((parameter) => /^q=0(?:\.0*)?$/.test(parameter));
    });
  if (file.br !== undefined && takes("br")) return { body: file.br, encoding: "br" };
  if (file.gzip !== undefined && takes("gzip")) return { body: file.gzip, encoding: "gzip" };
  return { body: file.plain, encoding: undefined };
}

/** Whether If-None-Match has this ETag. */
function names(header: string | null, etag: string): boolean {
  if (header === null) return false;
  return header.trim() === "*" || header.split(",").some((value) => value.trim().replace(/^W\//, "") === etag);
}

/** Answers every GET that is no call of an API. From source the page is built when the first one comes. */
export function servePage(basePath: string): (call: { request: Request; assetPath: string }) => Promise<Response> {
  let opening: Promise<PageServer> | undefined;
  return async ({ request, assetPath }) => {
    opening ??= PageServer.open(basePath).catch((error) => {
      opening = undefined;
      throw error;
    });
    return (await opening).respond(request, assetPath);
  };
}
