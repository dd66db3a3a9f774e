import type { TextStore } from './storage';

/** An order that has its bill. `shown` is the total that the customer had seen, as text. */
export interface Placed {
  billId: string;
  shown: string;
}

/** For how long an order counts as just placed. */
export const JUST_MS = 60_000;

/**
 * The order that this tab placed last.
 *
 * A page that is being reloaded goes on until the new one is there. If the answer arrives meanwhile, the new page finds
 * no open order and an empty basket, and only this tells it what became of the order.
 */
export class LastPlaced {
  readonly #store: TextStore;
  readonly #now: () => number;

  /** `store` is that of the tab. */
  constructor(store: TextStore, now: () => number = Date.now) {
    this.#store = store;
    this.#now = now;
  }

  note(uid: string, { billId, shown }: Placed): void {
    this.#store.write(storageKey(uid), JSON.stringify({ billId, shown, at: this.#now() }));
  }

  /** Return the order that this user has just placed, or null. */
  just(uid: string): Placed | null {
    let value: unknown;
    try {
      value = JSON.parse(this.#store.read(storageKey(uid)) ?? 'null');
    } catch {
      return null;
    }
    if (typeof value !== 'object' || value === null) return null;
    const { billId, shown, at } = value as Record<string, unknown>;
    if (typeof billId !== 'string' || typeof shown !== 'string' || typeof at !== 'number') return null;
    const age = this.#now() - at;
    return age >= 0 && age < JUST_MS ? { billId, shown } : null;
  }
}

function storageKey(uid: string): string {
  return `shop.placed.${uid}`;
}
