import { useEffect, useRef, useState } from 'preact/hooks';

import { tabStore } from './storage';

export interface Loading<T> {
  value: T | undefined;
  error: unknown;
  /** Load again. The present value stays until the new one is there. */
  reload: () => void;
  set: (value: T) => void;
}

/** Load a value when `key` changes. An answer that comes after the next change is dropped. */
export function useLoad<T>(key: string, load: (signal: AbortSignal) => Promise<T>): Loading<T> {
  const [result, setResult] = useState<{ key: string; value?: T; error?: unknown }>({ key });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const control = new AbortController();
    load(control.signal).then(
      (value) => {
        if (!control.signal.aborted) setResult({ key, value });
      },
      (error: unknown) => {
        if (!control.signal.aborted) setResult({ key, error });
      },
    );
    return () => {
      control.abort();
    };
  }, [key, turn]);
  const present = result.key === key;
  return {
    value: present ? result.value : undefined,
    error: present ? result.error : undefined,
    reload: () => {
      setResult((old) => (old.value === undefined ? { key } : { key, value: old.value }));
      setTurn((old) => old + 1);
    },
    set: (value) => {
      setResult({ key, value });
    },
  };
}

/** Return a value, or while it is undefined the last one that was not. */
export function useKept<T>(value: T | undefined): T | undefined {
  const kept = useRef(value);
  if (value !== undefined) kept.current = value;
  return kept.current;
}

const DRAFT = 'shop.draft.';

/** Forget what was typed into the form of this name. */
export function forgetDraft(name: string): void {
  tabStore.write(DRAFT + name, null);
}

/**
 * Keep what is typed into a form. It survives a reload and a way to another page of the shop, in this tab. Only what was
 * changed is kept, so that the rest is as `initial` says next time. A form with something personal has the user's id in
 * its name. Returns the draft, and a function that changes some of its fields.
 */
export function useDraft<T extends Record<string, string>>(
  name: string,
  initial: T,
): [T, (changes: Partial<T>) => void] {
  const key = DRAFT + name;
  const [changed, setChanged] = useState<Partial<T>>(() => storedDraft(key, initial));
  const first = useRef(initial);
  const latest = useRef(changed);
  function change(changes: Partial<T>): void {
    latest.current = { ...latest.current, ...changes };
    setChanged(latest.current);
    tabStore.write(key, JSON.stringify(latest.current));
  }
  return [{ ...first.current, ...changed }, change];
}

function storedDraft<T extends Record<string, string>>(key: string, initial: T): Partial<T> {
  let stored: unknown;
  try {
    stored = JSON.parse(tabStore.read(key) ?? '{}');
  } catch {
    return {};
  }
  const known = Object.entries(stored ?? {}).filter(([field, text]) => field in initial && typeof text === 'string');
  return Object.fromEntries(known) as Partial<T>;
}

/** Call `tick` again and again while the page is visible, after pauses of so many seconds. It returns false to stop. */
export function usePolling(pausesSeconds: readonly number[], tick: () => Promise<boolean>, active: boolean): void {
  useEffect(() => {
    if (!active) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let turn = 0;
    let stopped = false;
    async function run(): Promise<void> {
      timer = undefined;
      if (document.hidden) return;
      if (!(await tick())) stopped = true;
      plan();
    }
    function plan(): void {
      if (stopped || document.hidden || timer !== undefined) return;
      const seconds = pausesSeconds[Math.min(turn, pausesSeconds.length - 1)] ?? 1;
      turn += 1;
      timer = setTimeout(() => void run(), seconds * 1000);
    }
    function onVisible(): void {
      if (document.hidden) return;
      turn = 0;
      plan();
    }
    plan();
    document.addEventListener('visibilitychange', onVisible);
    return () => {
      stopped = true;
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', onVisible);
    };
  }, [active]);
}
