import { render } from "preact";
import { Shell } from "./shell.tsx";
import { followLinks } from "./state/location.ts";
import { applyTheme } from "./state/preferences.ts";
import { loadSession, session } from "./state/session.ts";

const RETRY_MS = 3000;

/** The console may not be there yet, as while it is started anew. */
async function begin(): Promise<void> {
  await loadSession();
  if (session.value === undefined) setTimeout(begin, RETRY_MS);
}

applyTheme();
followLinks();
render(<Shell />, document.body);
void begin();
