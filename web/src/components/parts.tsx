import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';

import { formatMoney, type Money } from '../money';
import { describe } from '../problems';

export function Price({ value }: { value: Money }) {
  return <span class="number">{formatMoney(value)}</span>;
}

interface NoticeProps {
  kind: 'good' | 'warn' | 'bad' | 'info';
  children: ComponentChildren;
}

/** A message beside what it is about. A bad one is read out at once. */
export function Notice({ kind, children }: NoticeProps) {
  return (
    <div class={`notice ${kind}`} role={kind === 'bad' ? 'alert' : 'status'}>
      {children}
    </div>
  );
}

/** What went wrong, in words, with a way to try again. */
export function Trouble({ error, again }: { error: unknown; again?: () => void }) {
  return (
    <Notice kind="bad">
      <p>{describe(error)}</p>
      {again && (
        <button type="button" class="button secondary small" onClick={again}>
          Try again
        </button>
      )}
    </Notice>
  );
}

interface ActionProps {
  /** While true, the button keeps its place and its focus, and another press does nothing. */
  busy?: boolean;
  busyText?: string;
  type?: 'button' | 'submit';
  class?: string;
  label?: string | undefined;
  disabled?: boolean;
  onClick?: () => void;
  children: ComponentChildren;
}

/** A button that shows that its work is being done. */
export function Action({ busy = false, busyText, type = 'button', class: kind = '', ...rest }: ActionProps) {
  const { label, disabled = false, onClick, children } = rest;
  return (
    <button
      type={type}
      class={`button ${kind}`}
      aria-label={label}
      aria-busy={busy}
      aria-disabled={busy || disabled}
      onClick={(event) => {
        if (busy || disabled) event.preventDefault();
        else onClick?.();
      }}
    >
      {busy && <span class="spinner" aria-hidden="true" />}
      {busy && busyText ? busyText : children}
    </button>
  );
}

/** The button at the end of a list that has another page. */
export function More({ busy, onClick, children }: { busy: boolean; onClick: () => void; children: string }) {
  return (
    <div class="more">
      <Action class="secondary" busy={busy} busyText="Loading…" onClick={onClick}>
        {children}
      </Action>
    </div>
  );
}

interface ConfirmProps {
  title: string;
  children: ComponentChildren;
  action: string;
  busy?: boolean;
  onConfirm: () => void;
  onClose: () => void;
}

/** A question that must be answered first. Escape and "Cancel" close it. */
export function Confirm({ title, children, action, busy = false, onConfirm, onClose }: ConfirmProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    dialog.current?.showModal();
  }, []);
  return (
    <dialog ref={dialog} aria-labelledby="confirm-title" onClose={onClose}>
      <div class="stack">
        <h2 id="confirm-title">{title}</h2>
        {children}
        <div class="row end">
          <button type="button" class="button secondary" onClick={() => dialog.current?.close()}>
            Cancel
          </button>
          <Action class="danger" busy={busy} onClick={onConfirm}>
            {action}
          </Action>
        </div>
      </div>
    </dialog>
  );
}

/** A placeholder with so many lines of text. */
export function Lines({ count = 1, class: className = '' }: { count?: number; class?: string }) {
  return (
    <span class={`lines ${className}`} aria-hidden="true">
      {Array.from({ length: count }, (_, index) => (
        <span key={index} class="skeleton" />
      ))}
    </span>
  );
}

/** Says to a screen reader that something is being loaded. The skeletons beside it say it to the eye. */
export function LoadingText() {
  return (
    <p class="visually-hidden" role="status">
      Loading…
    </p>
  );
}
