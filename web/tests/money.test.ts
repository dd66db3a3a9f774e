import { describe, expect, test } from 'vitest';

import { formatMoney, majorText, minorDigits, parseAmount, totals } from '../src/money';

describe('formatMoney', () => {
  test.each([
    [1999, 'USD', '$19.99'],
    [5, 'USD', '$0.05'],
    [0, 'EUR', '€0.00'],
    [123456789, 'USD', '$1,234,567.89'],
    [1999, 'JPY', '¥1,999'],
    [1999, 'KWD', 'KWD 1.999'],
    [-250, 'USD', '-$2.50'],
  ])('%i minor units of %s are shown as %s', (amount, currency, text) => {
    expect(formatMoney({ amount, currency }).replace(/\s/g, ' ')).toBe(text);
  });

  test('a currency has the digits of ISO 4217, as on the invoice, and not those of cash', () => {
    expect(minorDigits('LBP')).toBe(2);
    expect(formatMoney({ amount: 1999, currency: 'LBP' })).toMatch(/19\.99$/);
  });

  test('an amount that a floating-point number would round is exact', () => {
    expect(formatMoney({ amount: 9007199254740991, currency: 'USD' })).toBe('$90,071,992,547,409.91');
  });
});

describe('parseAmount', () => {
  test.each([
    ['19.99', 'USD', 1999],
    ['19,99', 'USD', 1999],
    ['19', 'USD', 1900],
    ['19.9', 'USD', 1990],
    [' 0.07 ', 'USD', 7],
    ['1999', 'JPY', 1999],
    ['1.999', 'KWD', 1999],
    ['1000000.00', 'USD', 100_000_000],
  ])('%j in %s is %i minor units', (typed, currency, amount) => {
    expect(parseAmount(typed, currency)).toBe(amount);
  });

  test.each([
    ['', 'USD'],
    ['abc', 'USD'],
    ['-1', 'USD'],
    ['19.999', 'USD'],
    ['19.5', 'JPY'],
    ['1e3', 'USD'],
    ['1,000.00', 'USD'],
    ['1000000.01', 'USD'],
  ])('%j in %s is refused', (typed, currency) => {
    expect(parseAmount(typed, currency)).toBeNull();
  });

  test.each(['USD', 'JPY', 'KWD'])('what the form shows of a price in %s is read as the same price', (currency) => {
    for (const amount of [0, 1, 10, 999, 1000, 123_456]) {
      expect(parseAmount(majorText({ amount, currency }), currency)).toBe(amount);
    }
  });
});

describe('totals', () => {
  test('prices are multiplied by quantities and summed for each currency', () => {
    const sums = totals([
      { price: { amount: 1999, currency: 'USD' }, quantity: 3 },
      { price: { amount: 500, currency: 'EUR' }, quantity: 1 },
      { price: { amount: 1, currency: 'USD' }, quantity: 2 },
    ]);
    expect(sums).toEqual([
      { amount: 5999, currency: 'USD' },
      { amount: 500, currency: 'EUR' },
    ]);
  });
});
