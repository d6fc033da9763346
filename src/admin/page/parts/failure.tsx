import { errorText } from "../state/api.ts";

/** Why something cannot be shown. Nothing if there is no error. */
export function Failure({ error, what }: { error: unknown; what?: string }) {
  if (error === undefined || error === "") return null;
  return (
    <p class="failure" role="alert">
      {what === undefined ? "" : `${what}: `}
      {errorText(error)}
    </p>
  );
}
