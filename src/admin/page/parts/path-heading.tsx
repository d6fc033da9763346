import type { ComponentChildren } from "preact";
import { href } from "../state/location.ts";

interface PathHeadingProps {
  /** What the thing is in, from the outside in. */
  above: readonly { text: string; path: string }[];
  name: string;
  /** What is said of it: paused, down. */
  children?: ComponentChildren;
}

/** The heading of a thing's page, with the way to it. */
export function PathHeading({ above, name, children }: PathHeadingProps) {
  return (
    <div class="path-heading">
      <nav aria-label="Path">
        {above.map(({ text, path }) => (
          <span key={path}>
            <a href={href(path)}>{text}</a>
            <span aria-hidden="true"> / </span>
          </span>
        ))}
      </nav>
      <h1>{name}</h1>
      {children}
    </div>
  );
}
