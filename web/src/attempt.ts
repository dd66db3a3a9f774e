import type { Address, AddressField } from './address';
import { parseItems, type BasketItem } from './basket';
import type { TextStore } from './storage';

/** What a customer wants to buy. */
export interface Order {
  items: BasketItem[];
  address: Address;
  /** The total that the customer had seen, as text. Prices may have changed since. */
  shown: string;
}

/**
 * An order that was sent, or is about to be, and whose answer is not known yet.
 *
 * As long as it is not known, the same key is sent with the same items. So a double click, a reload and a lost answer
 * lead to one bill.
 */
export interface Attempt extends Order {
  /** The Idempotency-Key. */
  key: string;
  startedAt: number;
  /** The bill, once it is known. Then only the delivery remains to be requested. */
  billId: string | null;
}

/** Billing knows a key for 24 hours. After that, a new order with it could make a second bill. */
export const MAX_AGE_MS = 23 * 60 * 60 * 1000;

const KEY = /^[\x21-\x7e]{1,255}$/;
const ADDRESS_FIELDS: readonly AddressField[] = ['name', 'line1', 'city', 'postal_code', 'country'];

/** The open attempts of this browser, one for each user. */
export class Attempts {
  readonly #store: TextStore;
  readonly #now: () => number;
  readonly #newKey: () => string;

  constructor(store: TextStore, now: () => number = Date.now, newKey: () => string = () => crypto.randomUUID()) {
    this.#store = store;
    this.#now = now;
    this.#newKey = newKey;
  }

  /** Return the open attempt of a user, or null. */
  current(uid: string): Attempt | null {
    const attempt = parseAttempt(this.#store.read(storageKey(uid)));
    if (!attempt) return null;
    const age = this.#now() - attempt.startedAt;
    return age >= 0 && age < MAX_AGE_MS ? attempt : null;
  }

  /** Return the open attempt of a user. If there is none, begin one for this order. */
  begin(uid: string, { items, address, shown }: Order): Attempt {
    const open = this.current(uid);
    if (open) return open;
    const attempt = { key: this.#newKey(), items, address, shown, startedAt: this.#now(), billId: null };
    this.#write(uid, attempt);
    return attempt;
  }

  /** Note the bill of an open attempt. */
  billed(uid: string, key: string, billId: string): void {
    const attempt = this.current(uid);
    if (attempt?.key === key) this.#write(uid, { ...attempt, billId });
  }

  /** End the attempt with this key: its answer is known. Returns false if another tab has ended it before. */
  end(uid: string, key: string): boolean {
    if (this.current(uid)?.key !== key) return false;
    this.#store.write(storageKey(uid), null);
    return true;
  }

  #write(uid: string, attempt: Attempt): void {
    this.#store.write(storageKey(uid), JSON.stringify(attempt));
  }
}

function storageKey(uid: string): string {
  return `shop.attempt.${uid}`;
}

/** Return the attempt in a stored text, or null if it is not valid. */
export function parseAttempt(text: string | null): Attempt | null {
  let value: unknown;
  try {
    value = JSON.parse(text ?? 'null');
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null) return null;
  const { key, items, address, shown, startedAt, billId } = value as Record<string, unknown>;
  const parsed = parseItems(JSON.stringify(items ?? null));
  if (typeof key !== 'string' || !KEY.test(key)) return null;
  // Other items under the same key would be refused, so none may be left out.
  if (!Array.isArray(items) || parsed.length === 0 || parsed.length !== items.length) return null;
  if (typeof startedAt !== 'number' || !isAddress(address)) return null;
  if (typeof shown !== 'string') return null;
  return { key, items: parsed, address, shown, startedAt, billId: typeof billId === 'string' ? billId : null };
}

function isAddress(value: unknown): value is Address {
  if (typeof value !== 'object' || value === null) return false;
  const fields = value as Record<string, unknown>;
  return ADDRESS_FIELDS.every((name) => typeof fields[name] === 'string');
}
