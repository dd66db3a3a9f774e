import { signal, type ReadonlySignal } from '@preact/signals';

import type { TextStore } from './storage';

/** A product in the basket. Its name is there for the case that the product is deleted. */
export interface BasketItem {
  productId: string;
  name: string;
  quantity: number;
}

/** The limits of a bill. */
export const MAX_QUANTITY = 1000;
export const MAX_LINES = 100;

const KEY = 'shop.basket';
const PRODUCT_ID = /^[A-Za-z0-9_-]{1,32}$/;

/** Return the items in a stored text. What is not valid, because it is old or someone changed it, is left out. */
export function parseItems(text: string | null): BasketItem[] {
  let value: unknown;
  try {
    value = JSON.parse(text ?? '[]');
  } catch {
    return [];
  }
  if (!Array.isArray(value)) return [];
  const items = new Map<string, BasketItem>();
  for (const item of value as unknown[]) {
    if (isItem(item) && !items.has(item.productId) && items.size < MAX_LINES) {
      items.set(item.productId, { productId: item.productId, name: item.name, quantity: item.quantity });
    }
  }
  return [...items.values()];
}

function isItem(value: unknown): value is BasketItem {
  if (typeof value !== 'object' || value === null) return false;
  const { productId, name, quantity } = value as Record<string, unknown>;
  return (
    typeof productId === 'string' &&
    PRODUCT_ID.test(productId) &&
    typeof name === 'string' &&
    name.length <= 200 &&
    Number.isInteger(quantity) &&
    (quantity as number) >= 1 &&
    (quantity as number) <= MAX_QUANTITY
  );
}

/** The basket of this browser. It survives a reload, and other tabs see each change. */
export class Basket {
  readonly items: ReadonlySignal<readonly BasketItem[]>;
  readonly #items;
  readonly #store: TextStore;

  constructor(store: TextStore) {
    this.#store = store;
    this.#items = signal<readonly BasketItem[]>(this.#read());
    this.items = this.#items;
  }

  /** How many units are in the basket. */
  get count(): number {
    return this.items.value.reduce((sum, item) => sum + item.quantity, 0);
  }

  quantityOf(productId: string): number {
    return this.items.value.find((item) => item.productId === productId)?.quantity ?? 0;
  }

  /** Add one or more units of a product. Returns false if the basket has no place for another product. */
  add(productId: string, name: string, quantity = 1): boolean {
    return this.set(productId, name, this.quantityOf(productId) + quantity);
  }

  /** Set how many units of a product the basket has; 0 removes it. Returns false if there is no place for it. */
  set(productId: string, name: string, quantity: number): boolean {
    const items = this.#read();
    const others = items.filter((item) => item.productId !== productId);
    const item = { productId, name, quantity: Math.min(quantity, MAX_QUANTITY) };
    if (quantity <= 0) {
      this.#write(others);
    } else if (others.length < items.length) {
      this.#write(items.map((old) => (old.productId === productId ? item : old)));
    } else if (items.length >= MAX_LINES) {
      return false;
    } else {
      this.#write([...items, item]);
    }
    return true;
  }

  /** Remove what was bought. What another tab added meanwhile stays. */
  take(bought: Iterable<{ productId: string; quantity: number }>): void {
    const quantities = new Map([...bought].map((item) => [item.productId, item.quantity]));
    const left = this.#read().map((item) => ({
      ...item,
      quantity: item.quantity - (quantities.get(item.productId) ?? 0),
    }));
    this.#write(left.filter((item) => item.quantity > 0));
  }

  /** Read the basket again if another tab changed it. `key` is that of the storage event; null means everything. */
  onStorage(key: string | null): void {
    if (key === null || key === KEY) this.#items.value = this.#read();
  }

  // Reads each time, so that two tabs do not overwrite each other's changes.
  #read(): BasketItem[] {
    return parseItems(this.#store.read(KEY));
  }

  #write(items: readonly BasketItem[]): void {
    this.#items.value = items;
    this.#store.write(KEY, JSON.stringify(items));
  }
}
