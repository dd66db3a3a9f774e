export interface Money {
  amount: number;
  currency: string;
}

const formats = new Map<string, Intl.NumberFormat>();

function formatOf(currency: string): Intl.NumberFormat {
  let format = formats.get(currency);
  if (!format) {
    format = new Intl.NumberFormat('en-US', { style: 'currency', currency });
    formats.set(currency, format);
  }
  return format;
}

/** Return how many digits the minor unit of a currency has: 2 for USD, 0 for JPY, 3 for KWD. */
export function minorDigits(currency: string): number {
  return formatOf(currency).resolvedOptions().maximumFractionDigits ?? 2;
}

/** Return an amount as text: { amount: 1999, currency: 'USD' } is "$19.99". */
export function formatMoney({ amount, currency }: Money): string {
  return formatOf(currency).format(amount / 10 ** minorDigits(currency));
}
