import type { TextStore } from '../src/storage';

/** A store in memory. Two tabs of a browser share one. */
export class FakeStore implements TextStore {
  readonly texts = new Map<string, string>();

  read(key: string): string | null {
    return this.texts.get(key) ?? null;
  }

  write(key: string, text: string | null): void {
    if (text === null) this.texts.delete(key);
    else this.texts.set(key, text);
  }
}
