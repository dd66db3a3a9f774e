/** How many units are few enough to say so. */
const FEW = 10;

/** Return how many units of a product are left, in words. */
export function stockText(stock: number): string {
  if (stock === 0) return 'Sold out';
  return stock <= FEW ? `Only ${stock} left` : 'In stock';
}
