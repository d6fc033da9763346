import { useEffect, useRef, useState } from "preact/hooks";
import { exact, rate } from "../format/numbers.ts";
import { Failure } from "../parts/failure.tsx";
import { getLegacy } from "../state/api.ts";

interface CounterAnswer {
  stats: Record<string, { message_count: number }>;
}

/** As nsqadmin's: the second look comes soon, later ones are further apart. */
const FIRST_WAIT_MS = 1000;
const LAST_WAIT_MS = 10_000;

const sum = ({ stats }: CounterAnswer) => Object.values(stats).reduce((total, row) => total + row.message_count, 0);

/** How many messages all channels have got. Between two looks the figure goes on at the last rate. */
export function CounterView() {
  const [shown, setShown] = useState<number | undefined>(undefined);
  const [perSecond, setPerSecond] = useState<number | undefined>(undefined);
  const [error, setError] = useState<unknown>(undefined);
  const last = useRef<{ total: number; time: number } | undefined>(undefined);
  const speed = useRef(0);

  useEffect(() => {
    let isGone = false;
    let waitMs = FIRST_WAIT_MS;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const look = async () => {
      try {
        const total = sum(await getLegacy<CounterAnswer>("/counter"));
        if (isGone) return;
        const time = performance.now();
        const before = last.current;
        if (before !== undefined) {
          // A deleted channel takes its messages with it.
          speed.current = Math.max(0, ((total - before.total) / (time - before.time)) * 1000);
          setPerSecond(speed.current);
        }
        last.current = { total, time };
        setShown(total);
        setError(undefined);
      } catch (failure) {
        if (!isGone) setError(failure);
        speed.current = 0;
      }
      if (isGone) return;
      timer = setTimeout(look, waitMs);
      waitMs = Math.min(waitMs + 1000, LAST_WAIT_MS);
    };
    void look();
    const isCalm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    let frame = 0;
    const move = () => {
      const from = last.current;
      if (from !== undefined && speed.current > 0)
        setShown(Math.floor(from.total + (speed.current * (performance.now() - from.time)) / 1000));
      frame = requestAnimationFrame(move);
    };
    if (!isCalm) frame = requestAnimationFrame(move);
    return () => {
      isGone = true;
      clearTimeout(timer);
      cancelAnimationFrame(frame);
    };
  }, []);

  return (
    <div class="counter">
      <h1>Counter</h1>
      <Failure error={error} />
      <p class="counter-figure">{shown === undefined ? "…" : exact(shown)}</p>
      <p class="muted">messages to all channels{perSecond === undefined ? "" : `, ${rate(perSecond)} per second`}</p>
    </div>
  );
}
