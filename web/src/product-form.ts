import type { NewProduct, Product, ProductChanges } from './api';
import { formatMoney, majorText, MAX_AMOUNT, minorDigits, parseAmount } from './money';
import type { FieldMessages } from './problems';

/** What is typed into the form of a product. */
export type ProductDraft = Record<ProductField, string>;

export type ProductField = 'name' | 'description' | 'price' | 'currency' | 'stock';

export const MAX_NAME = 200;
export const MAX_DESCRIPTION = 4000;
const MAX_STOCK = 1_000_000;

export const NEW_DRAFT: ProductDraft = { name: '', description: '', price: '', currency: 'USD', stock: '1' };

/** The form's field for each field of the API. */
export const PRODUCT_FIELDS: Readonly<Record<string, ProductField>> = {
  name: 'name',
  description: 'description',
  price: 'price',
  'price.amount': 'price',
  'price.currency': 'currency',
  stock: 'stock',
};

export function draftOf(product: Product): ProductDraft {
  const { name, description, price, stock } = product;
  return { name, description, price: majorText(price), currency: price.currency, stock: String(stock) };
}

/** Return what must be corrected in a draft, for each field. */
export function checkProduct(draft: ProductDraft): FieldMessages<ProductField> {
  const found: FieldMessages<ProductField> = {};
  if (!draft.name.trim()) found.name = 'Enter a name.';
  if (!/^[A-Z]{3}$/.test(draft.currency)) found.currency = 'Choose a currency.';
  else if (parseAmount(draft.price, draft.currency) === null) found.price = priceHelp(draft.currency);
  if (!/^\d{1,7}$/.test(draft.stock.trim()) || Number(draft.stock) > MAX_STOCK) {
    found.stock = 'Enter a whole number from 0 to 1,000,000.';
  }
  return found;
}

function priceHelp(currency: string): string {
  const digits = minorDigits(currency);
  const example = digits === 0 ? '1990' : `19.${'9'.repeat(digits)}`;
  return `Enter an amount such as ${example}, up to ${formatMoney({ amount: MAX_AMOUNT, currency })}.`;
}

/** Return the product that a draft means. `checkProduct` has found nothing in it. */
export function toProduct(draft: ProductDraft): NewProduct {
  return {
    name: draft.name.trim(),
    description: draft.description,
    price: { amount: parseAmount(draft.price, draft.currency) ?? 0, currency: draft.currency },
    stock: Number(draft.stock),
  };
}

type Changeable = keyof NewProduct;

/** Return the fields that the form changes: those that differ from the product as the form showed it first. */
export function changesOf(wanted: NewProduct, shown: Product): ProductChanges {
  const changed = (Object.keys(wanted) as Changeable[]).filter((field) => !isSame(wanted[field], shown[field]));
  return Object.fromEntries(changed.map((field) => [field, wanted[field]]));
}

/**
 * Return the fields that someone else has changed meanwhile to another value than this form would, in words.
 *
 * The API has no versions of products: the last change wins. So the form looks before it saves. A customer who buys
 * changes the stock.
 */
export function conflictsOf(changes: ProductChanges, shown: Product, present: Product): string[] {
  return (Object.keys(changes) as Changeable[])
    .filter((field) => !isSame(present[field], shown[field]) && !isSame(present[field], changes[field]))
    .map((field) => `${NAMES[field]} is now ${valueText(present, field)}; it was ${valueText(shown, field)}.`);
}

const NAMES: Record<Changeable, string> = {
  name: 'The name',
  description: 'The description',
  price: 'The price',
  stock: 'The stock',
};

function valueText(product: Product, field: Changeable): string {
  if (field === 'price') return formatMoney(product.price);
  return field === 'stock' ? String(product.stock) : `“${product[field]}”`;
}

function isSame(a: unknown, b: unknown): boolean {
  if (typeof a !== 'object' || typeof b !== 'object' || !a || !b) return a === b;
  const [left, right] = [a as Record<string, unknown>, b as Record<string, unknown>];
  return left['amount'] === right['amount'] && left['currency'] === right['currency'];
}
