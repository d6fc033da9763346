/** The brokers whose messages are not in a list, and why. */
export function Unavailable({ brokers }: { brokers: readonly { broker: string; message: string }[] }) {
  if (brokers.length === 0) return null;
  return (
    <ul class="findings" aria-label="Not shown">
      {brokers.map(({ broker, message }) => (
        <li key={broker} class="warn">
          Without the messages of {broker}: {message}
        </li>
      ))}
    </ul>
  );
}
