import { useEffect, useRef, useState } from 'preact/hooks';

/** One page of a list, as all services answer it. */
export interface ListPage<T> {
  items: T[];
  next_cursor: string | null;
}

interface Listed<T> {
  items: T[];
  next: string | null;
}

export interface List<T> {
  /** undefined while the first page is being loaded. */
  items: readonly T[] | undefined;
  hasMore: boolean;
  busy: boolean;
  error: unknown;
  more: () => void;
  /** Load the first page again. */
  reload: () => void;
}

// What was loaded before, so that "Back" shows a list as it was left, while it is loaded again.
const kept = new Map<string, Listed<unknown>>();

/** Forget all lists, for example because another user has logged in. */
export function forgetLists(): void {
  kept.clear();
}

/** Load a list page by page. Another `key` is another list. */
export function useList<T extends { id: string }>(
  key: string,
  load: (cursor: string | null, signal: AbortSignal) => Promise<ListPage<T>>,
): List<T> {
  const [state, setState] = useState<{ key: string; listed?: Listed<T>; error?: unknown; busy: boolean }>(() => ({
    ...known<T>(key),
    busy: true,
  }));
  const control = useRef<AbortController | null>(null);

  function fetchPage(cursor: string | null, before: readonly T[]): void {
    control.current?.abort();
    const mine = new AbortController();
    control.current = mine;
    setState((old) => ({ ...(old.key === key ? old : known<T>(key)), busy: true, error: undefined }));
    load(cursor, mine.signal).then(
      (page) => {
        if (mine.signal.aborted) return;
        const ids = new Set(page.items.map(({ id }) => id));
        const listed = { items: [...before.filter(({ id }) => !ids.has(id)), ...page.items], next: page.next_cursor };
        kept.set(key, listed);
        setState({ key, listed, busy: false });
      },
      (error: unknown) => {
        if (!mine.signal.aborted) setState((old) => ({ ...old, error, busy: false }));
      },
    );
  }

  useEffect(() => {
    // A list of several pages stays as it is: to load it again would lose the user's place.
    if ((known<T>(key).listed?.items.length ?? 0) > PAGE_SIZE) setState({ ...known<T>(key), busy: false });
    else fetchPage(null, []);
    return () => control.current?.abort();
  }, [key]);

  const listed = state.key === key ? state.listed : known<T>(key).listed;
  return {
    items: listed?.items,
    hasMore: Boolean(listed?.next),
    busy: state.busy,
    error: state.key === key ? state.error : undefined,
    more: () => {
      if (listed?.next && !state.busy) fetchPage(listed.next, listed.items);
    },
    reload: () => {
      fetchPage(null, []);
    },
  };
}

/** How many items a list asks for at a time. */
export const PAGE_SIZE = 24;

function known<T>(key: string): { key: string; listed?: Listed<T> } {
  const listed = kept.get(key) as Listed<T> | undefined;
  return listed ? { key, listed } : { key };
}
