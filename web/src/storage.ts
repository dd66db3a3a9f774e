/** Stores texts by name. */
export interface TextStore {
  read(key: string): string | null;
  /** Store a text, or with null forget it. */
  write(key: string, text: string | null): void;
}

/** A store in the browser. What the browser refuses to keep, because it is full or not allowed, is kept until a reload. */
export class BrowserStore implements TextStore {
  readonly #open: () => Storage;
  readonly #kept = new Map<string, string | null>();

  /** `open` returns the browser's storage, and may throw: browsers do if sites may not store anything. */
  constructor(open: () => Storage) {
    this.#open = open;
  }

  read(key: string): string | null {
    if (this.#kept.has(key)) return this.#kept.get(key) ?? null;
    try {
      return this.#open().getItem(key);
    } catch {
      return null;
    }
  }

  write(key: string, text: string | null): void {
    try {
      if (text === null) this.#open().removeItem(key);
      else this.#open().setItem(key, text);
      this.#kept.delete(key);
    } catch {
      this.#kept.set(key, text);
    }
  }
}

/** For this browser: survives a restart, and is the same in all tabs. */
export const browserStore = new BrowserStore(() => localStorage);

/** For this tab: survives a reload. */
export const tabStore = new BrowserStore(() => sessionStorage);
