import type { Call } from "../server/call.ts";
import { get, type RouteEntry } from "../server/router.ts";
import type { PathTable } from "./document.ts";
import type { ApiDescription } from "./operation.ts";

/** A page of this kind asks for nothing, and nothing in it runs. */
const PAGE_HEADERS = {
  "Content-Type": "text/html; charset=utf-8",
  "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "X-Content-Type-Options": "nosniff",
};
const DOCUMENT_HEADERS = { "Content-Type": "application/json; charset=utf-8" };

/**
 * GET /openapi.json and GET /docs: what a server's calls are, for programs and for people. Nothing of it is in memory until somebody asks;
 * then each answer is made once.
 *
 * @param table the server's other calls
 * @param load imports the description
 * @param basePath in front of all paths; empty for none
 */
export function descriptionRoutes<OwnCall extends Call>(
  table: PathTable,
  load: () => Promise<ApiDescription>,
  basePath = "",
): RouteEntry<OwnCall>[] {
  let own: RouteEntry<OwnCall>[] = [];
  let document: Promise<Uint8Array<ArrayBuffer>> | undefined;
  let page: Promise<Uint8Array<ArrayBuffer>> | undefined;
  const makeDocument = async () => {
    const { openApiDocument } = await import("./document.ts");
    return Buffer.from(JSON.stringify(openApiDocument(await load(), [...table, ...own], basePath)));
  };
  const makePage = async () => {
    const { htmlPage } = await import("./html-page.ts");
    return Buffer.from(htmlPage(await load(), [...table, ...own], basePath));
  };
  own = [
    [
      "/openapi.json",
      get(async () => {
        document ??= makeDocument();
        return new Response(await document, { headers: DOCUMENT_HEADERS });
      }),
    ],
    [
      "/docs",
      get(async () => {
        page ??= makePage();
        return new Response(await page, { headers: PAGE_HEADERS });
      }),
    ],
  ];
  return own;
}
