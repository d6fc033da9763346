import { join } from "node:path";
import { compressed } from "./compress.ts";
import { INDEX_NAME, type PageFile } from "./page-file.ts";

/** Where the page's source is, below the project's folder. */
const SOURCE = "src/admin/page/index.html";

/**
 * Bundles the page's source and compresses what comes of it. It takes about two seconds, most of it brotli at its best level.
 *
 * @param root the project's folder; its node_modules/ has the page's packages
 * @throws AggregateError with what the bundler found
 */
export async function buildPage(root: string): Promise<PageFile[]> {
  const { outputs } = await Bun.build({
    entrypoints: [join(root, SOURCE)],
    // Relative to <base href>, so that one build serves every --base-path.
    publicPath: "./",
    target: "browser",
    minify: true,
    // The chart and the MessagePack decoder are loaded when they are needed.
    splitting: true,
    naming: { entry: "[name].[ext]", chunk: "[name]-[hash].[ext]", asset: "[name]-[hash].[ext]" },
    define: { "process.env.NODE_ENV": '"production"' },
  });
  return await Promise.all(
    outputs.map(async (output) => pageFile(output.path.replace(/^\.?\//, ""), output.type, new Uint8Array(await output.arrayBuffer()))),
  );
}

function pageFile(name: string, type: string, plain: Uint8Array<ArrayBuffer>): PageFile {
  // Its base is put in when it is served, and then it is compressed.
  if (name === INDEX_NAME) return { name, type, plain, br: undefined, gzip: undefined };
  return { name, type, plain, ...compressed(plain) };
}
