import { type Signal, signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";

/** What is asked at the moment. One thing at a time. */
const current: Signal<ComponentChildren> = signal(null);

/** Shows a dialog, in place of the one before. */
export function showDialog(dialog: ComponentChildren): void {
  current.value = dialog;
}

export function closeDialog(): void {
  current.value = null;
}

/** Where dialogs appear. */
export function DialogHost() {
  return <>{current.value}</>;
}

interface DialogProps {
  title: string;
  children: ComponentChildren;
  /** Along the right edge in full height: for what is looked at, not decided. */
  isDrawer?: boolean;
  /** Called by Esc and the cross. Without it the dialog that showDialog() has shown is closed. */
  onClose?: () => void;
}

/**
 * A modal dialog. The browser keeps the focus inside, closes it by Esc, and gives the focus back to where it was. A click beside it
 * closes a drawer only: what was typed into a form must not be lost by a slip.
 */
export function Dialog({ title, children, isDrawer = false, onClose = closeDialog }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null);
  const titleId = useId();
  useEffect(() => {
    const before = document.activeElement;
    const dialog = element.current;
    dialog?.showModal();
    // Else the cross would have the focus.
    dialog?.querySelector<HTMLElement>("form input, form select, form textarea")?.focus();
    return () => {
      dialog?.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Esc closes it, by onCancel.
    <dialog
      ref={element}
      class={isDrawer ? "drawer" : ""}
      aria-labelledby={titleId}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onClick={(event) => {
        if (isDrawer && event.target === element.current) onClose();
      }}
    >
      <div class="dialog-body">
        <header class="dialog-head">
          <h2 id={titleId}>{title}</h2>
          <button type="button" class="plain" aria-label="Close" onClick={onClose}>
            ✕
          </button>
        </header>
        {children}
      </div>
    </dialog>
  );
}
