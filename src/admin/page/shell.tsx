import { useEffect, useState } from "preact/hooks";
import { DialogHost } from "./dialogs/dialog.tsx";
import { showShortcuts, useShortcuts } from "./shortcuts.tsx";
import { errorText } from "./state/api.ts";
import { live } from "./state/event-stream.ts";
import { href, route } from "./state/location.ts";
import { dismiss, notices, notify } from "./state/notices.ts";
import { now } from "./state/now.ts";
import { THEMES, theme } from "./state/preferences.ts";
import type { ViewName } from "./state/routes.ts";
import { logOut, session, sessionError } from "./state/session.ts";
import { LoginView } from "./views/login.tsx";
import { TITLES, View } from "./views/view.tsx";

interface Place {
  path: string;
  text: string;
  views: readonly ViewName[];
  /** Only where the brokers are those of a replicated cluster. */
  needsCluster?: true;
}

const PLACES: readonly Place[] = [
  { path: "/", text: "Overview", views: ["overview"] },
  { path: "/topics", text: "Topics", views: ["topics", "topic", "channel"] },
  { path: "/nodes", text: "Brokers", views: ["brokers", "broker"] },
  { path: "/clients", text: "Clients", views: ["clients"] },
  { path: "/producers", text: "Producers", views: ["producers"] },
  { path: "/lookup", text: "Lookups", views: ["lookups"] },
  { path: "/cluster", text: "Cluster", views: ["cluster"], needsCluster: true },
  { path: "/messages", text: "Messages", views: ["messages"] },
  { path: "/activity", text: "Activity", views: ["activity"] },
  { path: "/counter", text: "Counter", views: ["counter"] },
];

/** All that is around a view. */
export function Shell() {
  const { view, path } = route.value;
  const [isOpen, setOpen] = useState(false);
  const { value } = session;
  const needsLogin = value?.needs_login === true && value.user === "";
  const isLogin = needsLogin || view === "login";
  useShortcuts();
  useEffect(() => {
    setOpen(false);
    document.title = `${titleOf()} · bunsq`;
  }, [route.value, isLogin]);
  if (value === undefined) return <Starting />;
  return (
    <>
      <a class="skip" href="#content">
        Skip to the content
      </a>
      <header class="side">
        <div class="brand">
          <a href={href("/")}>bunsq</a>
          <span class="version">{value.version}</span>
          <button type="button" class="menu" aria-expanded={isOpen} aria-controls="places" onClick={() => setOpen(!isOpen)}>
            Menu
          </button>
        </div>
        <div id="places" class={isOpen ? "places open" : "places"}>
          {!isLogin && <Places view={view} />}
          <div class="foot">
            {!isLogin && <LiveState />}
            <ThemeSwitch />
            <button type="button" class="plain" onClick={showShortcuts}>
              Keyboard shortcuts
            </button>
            {value.user !== "" && <User name={value.user} canLogOut={value.can_login} />}
          </div>
        </div>
      </header>
      <main id="content" tabIndex={-1}>
        {!isLogin && <LostBanner />}
        {isLogin ? <LoginView /> : <View key={path} />}
      </main>
      <Notices />
      <DialogHost />
    </>
  );
}

function titleOf(): string {
  const { view, topic, channel, broker } = route.value;
  if (view === "topic") return topic;
  if (view === "channel") return `${topic} / ${channel}`;
  return view === "broker" ? broker : TITLES[view];
}

function Starting() {
  return (
    <main class="starting">
      {sessionError.value === "" ? <p class="muted">Loading …</p> : <p class="failure">{sessionError.value}. Trying again …</p>}
    </main>
  );
}

function Places({ view }: { view: ViewName }) {
  return (
    <nav aria-label="Views">
      <ul>
        {PLACES.filter(({ needsCluster }) => needsCluster !== true || session.value?.cluster === true).map((place) => (
          <li key={place.path}>
            <a href={href(place.path)} {...(place.views.includes(view) ? { "aria-current": "page" as const } : {})}>
              {place.text}
            </a>
          </li>
        ))}
      </ul>
    </nav>
  );
}

const STATES = { idle: "", connecting: "connecting …", live: "live", lost: "not live" };

function LiveState() {
  const { state } = live.status.value;
  if (state === "idle") return null;
  return (
    <p class={`live-state ${state}`}>
      <span class="dot" aria-hidden="true" /> {STATES[state]}
    </p>
  );
}

/** Says that the figures are old, and when the next try is made. */
function LostBanner() {
  const { state, retryAt } = live.status.value;
  if (state !== "lost") return null;
  const seconds = Math.max(0, Math.ceil((retryAt - now.value) / 1000));
  return (
    <p class="lost">
      <span role="status">The live connection to the console is lost: figures may be old.</span>{" "}
      {seconds > 0 ? `Next try in ${seconds} s. ` : "Trying … "}
      <button type="button" class="small" onClick={() => live.reconnect()}>
        Try now
      </button>
    </p>
  );
}

function ThemeSwitch() {
  return (
    <label class="theme">
      <span>Colours</span>
      <select
        value={theme.value}
        onChange={(event) => (theme.value = THEMES.find((known) => known === event.currentTarget.value) ?? "system")}
      >
        {THEMES.map((name) => (
          <option key={name} value={name}>
            {name === "system" ? "as the system" : name}
          </option>
        ))}
      </select>
    </label>
  );
}

function User({ name, canLogOut }: { name: string; canLogOut: boolean }) {
  const leave = () => logOut().catch((error) => notify("failed", errorText(error)));
  return (
    <p class="user">
      <span title={name}>{name}</span>
      {canLogOut && (
        <button type="button" class="plain" onClick={leave}>
          Log out
        </button>
      )}
    </p>
  );
}

function Notices() {
  return (
    <div class="notices" role="status">
      {notices.value.map(({ id, kind, text }) => (
        <p key={id} class={`notice ${kind}`}>
          {text}
          <button type="button" class="plain" aria-label="Close" onClick={() => dismiss(id)}>
            ✕
          </button>
        </p>
      ))}
    </div>
  );
}
