import { type ComponentType, createElement } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Failure } from "./failure.tsx";

/** A part of the page that is loaded when it is shown, so that those who never see it do not wait for it. */
export function later<P extends object>(load: () => Promise<ComponentType<P>>): ComponentType<P> {
  let known: ComponentType<P> | undefined;
  return (props) => {
    const [part, setPart] = useState({ component: known });
    const [error, setError] = useState<unknown>();
    useEffect(() => {
      if (part.component !== undefined) return;
      let isGone = false;
      load().then(
        (component) => {
          known = component;
          if (!isGone) setPart({ component });
        },
        // The broker was upgraded since this page was loaded, or cannot be reached.
        (failure: unknown) => !isGone && setError(failure),
      );
      return () => {
        isGone = true;
      };
    }, []);
    return part.component === undefined ? <Failure error={error} what="load the page again" /> : createElement(part.component, props);
  };
}
