import { useEffect, useState } from 'preact/hooks';

import { navigate, place } from '../router';

/** How long to wait after a letter before searching, in milliseconds. */
const PAUSE_MS = 250;

/** Return the words to search for, which are part of the address. */
export function searchedWords(): string {
  return (place.value.query.get('q') ?? '').trim().slice(0, 100);
}

/** Search while typing. The words are in the address, so a search can be reloaded and sent to someone. */
export function SearchBox({ path, label }: { path: string; label: string }) {
  const words = searchedWords();
  const [typed, setTyped] = useState(words);
  function search(text: string): void {
    const query = text.trim() ? `?q=${encodeURIComponent(text.trim())}` : '';
    if (text.trim() !== words) navigate(path + query, { replace: words !== '' });
  }
  useEffect(() => {
    const timer = setTimeout(() => {
      search(typed);
    }, PAUSE_MS);
    return () => {
      clearTimeout(timer);
    };
  }, [typed]);
  useEffect(() => {
    // "Back", or a link, has changed the words.
    if (typed.trim() !== words) setTyped(words);
  }, [words]);
  return (
    <form
      class="search"
      role="search"
      onSubmit={(event) => {
        event.preventDefault();
        search(typed);
      }}
    >
      <svg viewBox="0 0 24 24" width="20" height="20" aria-hidden="true" class="line-icon">
        <circle cx="11" cy="11" r="6.500" />
        <path d="M16 16l4 4" />
      </svg>
      <input
        type="search"
        aria-label={label}
        placeholder={label}
        value={typed}
        maxLength={100}
        autocomplete="off"
        onInput={(event) => {
          setTyped(event.currentTarget.value);
        }}
      />
    </form>
  );
}
