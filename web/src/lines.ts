import { ask, type Product } from './api';
import type { BasketItem } from './basket';
import type { Money } from './money';

/** A line of the basket, with what the catalogue says about it now. */
export interface BasketLine {
  item: BasketItem;
  /** undefined if the product is no longer sold. */
  product: Product | undefined;
  /** Why this line cannot be bought, or null. */
  problem: string | null;
}

/** Return the products with these ids. Those that are no longer sold are left out. */
export async function productsOf(ids: readonly string[], signal: AbortSignal): Promise<Map<string, Product>> {
  if (ids.length === 0) return new Map();
  const { items } = await ask('product', (client) =>
    client.GET('/products', { params: { query: { ids: ids.join(','), limit: 100 } }, signal }),
  );
  return new Map(items.map((product) => [product.id, product]));
}

/** Return the lines of a basket. */
export function linesOf(items: readonly BasketItem[], products: ReadonlyMap<string, Product>): BasketLine[] {
  return items.map((item) => {
    const product = products.get(item.productId);
    return { item, product, problem: problemOf(item.quantity, product) };
  });
}

function problemOf(quantity: number, product: Product | undefined): string | null {
  if (!product) return 'This product is no longer sold. Remove it from the basket.';
  if (product.stock === 0) return 'This product is sold out. Remove it from the basket.';
  if (product.stock < quantity) return `Only ${product.stock} are left. Reduce the quantity.`;
  return null;
}

/** Return the prices and quantities of lines whose product is still sold. */
export function pricedLines(lines: readonly BasketLine[]): { price: Money; quantity: number }[] {
  return lines.flatMap(({ item, product }) => (product ? [{ price: product.price, quantity: item.quantity }] : []));
}
