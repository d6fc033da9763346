import { useEffect, useRef } from "preact/hooks";
import { live } from "./event-stream.ts";

export interface ViewState<T> {
  data: T | undefined;
  /** Why there is no data, or none that is new. */
  error: unknown;
}

/**
 * Watches a view of the API as long as the component is there. When the path changes, as by sorting, the last data stay until the new
 * ones come. The type is what console-api.ts says of the path.
 */
export function useView<T>(path: string): ViewState<T> {
  useEffect(() => live.watch(path), [path]);
  const view = live.view(path);
  const last = useRef<T | undefined>(undefined);
  const data = view.data.value as T | undefined;
  const error = view.error.value;
  if (data !== undefined) last.current = data;
  return { data: data ?? (error === undefined ? last.current : undefined), error };
}
