import { setQuery } from "../state/location.ts";

/** What a list is limited to, each with a button that lifts the limit. */
export function Scope({ of }: { of: Record<string, string> }) {
  const limits = Object.entries(of).filter(([, value]) => value !== "");
  if (limits.length === 0) return null;
  return (
    <p class="scope">
      Only{" "}
      {limits.map(([name, value]) => (
        <span key={name} class="tag">
          {name} {value}
          <button
            type="button"
            class="plain"
            aria-label={`Do not limit to ${name} ${value}`}
            onClick={() => setQuery({ [name]: undefined })}
          >
            ✕
          </button>
        </span>
      ))}
    </p>
  );
}
