import { useState } from "preact/hooks";
import { Segments } from "../parts/segments.tsx";
import { errorText } from "../state/api.ts";
import { go, route } from "../state/location.ts";
import { logIn, session } from "../state/session.ts";

/** Who has not logged in sees this in place of every view; afterwards the view that was asked for. */
export function LoginView() {
  const [kind, setKind] = useState("password");
  const [user, setUser] = useState("");
  const [secret, setSecret] = useState("");
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState("");
  const canLogIn = session.value?.can_login ?? false;

  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setError("");
    try {
      await logIn(kind === "password" ? { user, password: secret } : { token: secret });
      if (route.value.view === "login") go("/");
    } catch (failure) {
      setError(errorText(failure));
    }
    setSecret("");
    setBusy(false);
  };

  if (!canLogIn)
    return (
      <div class="login panel">
        <h1>Log in</h1>
        <p>This console knows you by a header of the proxy in front of it. Open it by that proxy's address.</p>
      </div>
    );
  return (
    <form class="login panel" onSubmit={submit}>
      <h1>Log in</h1>
      <Segments
        label="Log in by"
        options={[
          { value: "password", label: "Password" },
          { value: "token", label: "Token" },
        ]}
        value={kind}
        onChange={setKind}
      />
      {kind === "password" && (
        <label class="field">
          <span>User</span>
          <input name="user" autocomplete="username" required value={user} onInput={(event) => setUser(event.currentTarget.value)} />
        </label>
      )}
      <label class="field">
        <span>{kind === "password" ? "Password" : "Token"}</span>
        <input
          name="secret"
          type="password"
          autocomplete={kind === "password" ? "current-password" : "off"}
          required
          value={secret}
          onInput={(event) => setSecret(event.currentTarget.value)}
        />
      </label>
      {error !== "" && (
        <p class="failure" role="alert">
          {error}
        </p>
      )}
      <button type="submit" class="primary" disabled={isBusy}>
        {isBusy ? "Working …" : "Log in"}
      </button>
    </form>
  );
}
