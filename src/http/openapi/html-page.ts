import { boundsOf } from "./bounds.ts";
import { describedCalls, errorsOf, type PathTable } from "./document.ts";
import type { ApiDescription } from "./operation.ts";

/** A page that says what a server's calls are, without scripts and styles. @param basePath in front of all paths; empty for none */
export function htmlPage(api: ApiDescription, table: PathTable, basePath: string): string {
  const calls = describedCalls(api, table);
  const sections = api.groups.flatMap(({ name, description }) => {
    const own = calls.filter(({ group }) => group === name);
    if (own.length === 0) return [];
    const parts = own.map(({ method, path, operation }) => {
      const { summary, details, parameters = [], body, answer } = operation;
      const items = [
        ...parameters.map(({ name, description, required, schema }) => {
          const bounds = boundsOf(schema);
          return `<code>${name}</code>${required ? "" : " (optional)"}: ${marked(description)}${bounds === "" ? "" : ` (${marked(bounds)})`}`;
        }),
        ...(body === undefined ? [] : [`body: ${marked(body.description)}`]),
        `200: ${marked(answer.description)}`,
        ...errorsOf(api, operation).map(
          ([status, codes]) => `${status}: ${codes.map((code) => `<code>${escapeHtml(code)}</code>`).join(", ")}`,
        ),
      ];
      const text = details === undefined ? `${summary}.` : `${summary}. ${details}`;
      return `<h3>${method} ${basePath}${path}</h3><p>${marked(text)}</p><ul>${items.map((item) => `<li>${item}</li>`).join("")}</ul>`;
    });
    return [`<h2>${name}</h2><p>${marked(description)}</p>${parts.join("\n")}`];
  });
  const title = escapeHtml(`${api.title} ${api.version}`);
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${title}</title></head>
<body><h1>${title}</h1><p>${marked(api.description)} For programs: <a href="openapi.json">openapi.json</a>.</p>
${sections.join("\n")}
</body></html>
`;
}

/** What is in backquotes becomes code. */
function marked(text: string): string {
  return escapeHtml(text).replaceAll(/`([^`]*)`/g, "<code>$1</code>");
}

function escapeHtml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
