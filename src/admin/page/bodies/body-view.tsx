import { useEffect, useState } from "preact/hooks";
import { bytes as sizeText } from "../format/numbers.ts";
import { Segments } from "../parts/segments.tsx";
import { errorText } from "../state/api.ts";
import { asJson, asText, type BodyKind, decodeMsgpack, gunzip, hexDump, kindOf } from "./bytes.ts";
import { JsonTree } from "./json-tree.tsx";

type Form = "json" | "text" | "hex" | "msgpack" | "gzip";

const FORMS: readonly { value: Form; label: string }[] = [
  { value: "json", label: "JSON" },
  { value: "text", label: "Text" },
  { value: "msgpack", label: "MessagePack" },
  { value: "gzip", label: "gzip" },
  { value: "hex", label: "Hex" },
];

const FORM_OF_KIND: Record<BodyKind, Form> = { empty: "text", json: "json", text: "text", gzip: "gzip", msgpack: "msgpack", binary: "hex" };

/** Bytes that are shown as hex or text: more makes the page slow. */
const MAX_SHOWN_BYTES = 64 * 1024;

interface BodyViewProps {
  bytes: Uint8Array<ArrayBuffer>;
  /** The message has more than these bytes. */
  isCut: boolean;
  title?: string;
}

/** A body, in the form that its bytes suggest, and in any other that is asked for. */
export function BodyView({ bytes, isCut, title = "Body" }: BodyViewProps) {
  const kind = kindOf(bytes, isCut);
  const [form, setForm] = useState<Form>(FORM_OF_KIND[kind]);
  return (
    <section class="body-view" aria-label={title}>
      <div class="toolbar">
        <h3>{title}</h3>
        <Segments
          label="Show as"
          options={FORMS}
          value={form}
          onChange={(value) => setForm(FORMS.find((known) => known.value === value)?.value ?? "hex")}
        />
        {isCut && <span class="text-warn">only the first {sizeText(bytes.length)} are here</span>}
      </div>
      {bytes.length === 0 ? <p class="empty">It is empty.</p> : <Shown bytes={bytes} isCut={isCut} form={form} />}
    </section>
  );
}

function Shown({ bytes, isCut, form }: { bytes: Uint8Array<ArrayBuffer>; isCut: boolean; form: Form }) {
  switch (form) {
    case "json": {
      const json = asJson(bytes);
      return json === undefined ? <p class="empty">It is no JSON{isCut ? ", or is cut off" : ""}.</p> : <JsonTree value={json.value} />;
    }
    case "text":
      return <Text bytes={bytes} isCut={isCut} />;
    case "msgpack":
      return <Msgpack bytes={bytes} />;
    case "gzip":
      return <Gzip bytes={bytes} />;
    case "hex":
      return <Pre text={hexDump(bytes.subarray(0, MAX_SHOWN_BYTES))} isCut={bytes.length > MAX_SHOWN_BYTES} />;
  }
}

function Text({ bytes, isCut }: { bytes: Uint8Array<ArrayBuffer>; isCut: boolean }) {
  const shown = bytes.subarray(0, MAX_SHOWN_BYTES);
  const text = asText(shown, isCut || shown.length < bytes.length);
  return (
    <>
      {text === undefined && <p class="text-warn">It is not all UTF-8 text.</p>}
      <Pre text={text ?? new TextDecoder().decode(shown)} isCut={bytes.length > MAX_SHOWN_BYTES} />
    </>
  );
}

function Pre({ text, isCut }: { text: string; isCut: boolean }) {
  return (
    <>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a part that scrolls has to be reachable by keyboard. */}
      <pre class="body-text" tabIndex={0}>
        {text}
      </pre>
      {isCut && <p class="muted">Only the first {sizeText(MAX_SHOWN_BYTES)} are shown.</p>}
    </>
  );
}

/** What comes of bytes in a while; undefined until then. */
function useDecoded<T>(
  bytes: Uint8Array<ArrayBuffer>,
  decode: (bytes: Uint8Array<ArrayBuffer>) => Promise<T>,
): { value?: T; error?: string } {
  const [result, setResult] = useState<{ value?: T; error?: string }>({});
  useEffect(() => {
    let isGone = false;
    setResult({});
    decode(bytes).then(
      (value) => {
        if (!isGone) setResult({ value });
      },
      (error) => {
        if (!isGone) setResult({ error: errorText(error) });
      },
    );
    return () => {
      isGone = true;
    };
  }, [bytes]);
  return result;
}

function Msgpack({ bytes }: { bytes: Uint8Array<ArrayBuffer> }) {
  const { value, error } = useDecoded(bytes, async (packed) => ({ tree: await decodeMsgpack(packed) }));
  if (error !== undefined) return <p class="empty">It is no MessagePack: {error}</p>;
  return value === undefined ? <p class="empty">Decoding …</p> : <JsonTree value={value.tree} />;
}

function Gzip({ bytes }: { bytes: Uint8Array<ArrayBuffer> }) {
  const { value, error } = useDecoded(bytes, (packed) => gunzip(packed));
  if (error !== undefined) return <p class="empty">It is no gzip: {error}</p>;
  return value === undefined ? (
    <p class="empty">Unpacking …</p>
  ) : (
    <BodyView bytes={value.bytes} isCut={value.isCut} title={`Unpacked, ${sizeText(value.bytes.length)}`} />
  );
}
