/** An amount in the minor units of its currency: 19.99 USD is { amount: 1999, currency: 'USD' }. */
export interface Money {
  amount: number;
  currency: string;
}

/** The highest price of a product that the services accept, in minor units. */
export const MAX_AMOUNT = 100_000_000;

// The currencies of ISO 4217 whose minor unit does not have two digits. The table is here because browsers take the
// number from CLDR, which says how cash is paid: 0 for LBP, where ISO 4217 and the shop's invoices have 2.
const DIGITS: Readonly<Record<number, string>> = {
  0: 'BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF',
  3: 'BHD IQD JOD KWD LYD OMR TND',
};

const MINOR_DIGITS = new Map(
  Object.entries(DIGITS).flatMap(([digits, codes]) => codes.split(' ').map((code) => [code, Number(digits)] as const)),
);

const formats = new Map<string, Intl.NumberFormat>();

/** Return how many digits the minor unit of a currency has: 2 for USD, 0 for JPY, 3 for KWD. */
export function minorDigits(currency: string): number {
  return MINOR_DIGITS.get(currency) ?? 2;
}

/** Return an amount as text: { amount: 1999, currency: 'USD' } is "$19.99". */
export function formatMoney({ amount, currency }: Money): string {
  let format = formats.get(currency);
  if (!format) {
    const digits = minorDigits(currency);
    format = new Intl.NumberFormat('en-US', {
      style: 'currency',
      currency,
      minimumFractionDigits: digits,
      maximumFractionDigits: digits,
    });
    formats.set(currency, format);
  }
  // A text, because a division could round.
  return format.format(majorText({ amount, currency }) as `${number}`);
}

/** Return an amount as a plain number for a text field: { amount: 1999, currency: 'USD' } is "19.99". */
export function majorText({ amount, currency }: Money): string {
  const digits = minorDigits(currency);
  const minor = String(Math.abs(amount)).padStart(digits + 1, '0');
  const sign = amount < 0 ? '-' : '';
  return digits === 0 ? sign + minor : `${sign}${minor.slice(0, -digits)}.${minor.slice(-digits)}`;
}

/** Return the minor units that a typed amount means, or null if it is not an amount of the currency. */
export function parseAmount(typed: string, currency: string): number | null {
  const digits = minorDigits(currency);
  const found = /^(\d{1,9})(?:[.,](\d*))?$/.exec(typed.trim());
  if (!found) return null;
  const [, major = '', minor = ''] = found;
  if (minor.length > digits) return null;
  const amount = Number(major + minor.padEnd(digits, '0'));
  return amount <= MAX_AMOUNT ? amount : null;
}

/** Return the sum of prices times quantities for each currency, in the order in which they appear. */
export function totals(lines: Iterable<{ price: Money; quantity: number }>): Money[] {
  const sums = new Map<string, number>();
  for (const { price, quantity } of lines) {
    sums.set(price.currency, (sums.get(price.currency) ?? 0) + price.amount * quantity);
  }
  return [...sums].map(([currency, amount]) => ({ amount, currency }));
}
