import { expect, test } from 'vitest';

import { changesOf, checkProduct, conflictsOf, draftOf, toProduct } from '../src/product-form';

const mug = {
  id: 'p1',
  name: 'Enamel mug',
  description: 'Survives the campfire.',
  price: { amount: 1290, currency: 'USD' },
  stock: 35,
};

test('a product that is shown and saved without a change changes nothing', () => {
  expect(changesOf(toProduct(draftOf(mug)), mug)).toEqual({});
});

test('only the changed fields are sent', () => {
  const wanted = toProduct({ ...draftOf(mug), price: '13.50' });
  expect(changesOf(wanted, mug)).toEqual({ price: { amount: 1350, currency: 'USD' } });
});

test('a sale that changes the stock is no conflict with a new price', () => {
  expect(conflictsOf({ price: { amount: 1350, currency: 'USD' } }, mug, { ...mug, stock: 33 })).toEqual([]);
});

test('a sale that changes the stock is a conflict with a new stock', () => {
  expect(conflictsOf({ stock: 50 }, mug, { ...mug, stock: 33 })).toEqual(['The stock is now 33; it was 35.']);
});

test('someone who has made the same change is no conflict', () => {
  const price = { amount: 1350, currency: 'USD' };
  expect(conflictsOf({ price }, mug, { ...mug, price: { ...price } })).toEqual([]);
});

test.each([
  ['name', ' ', /name/],
  ['price', '12.999', /such as 19\.99/],
  ['price', '', /such as 19\.99/],
  ['stock', '-1', /whole number/],
  ['stock', '1.5', /whole number/],
  ['stock', '1000001', /whole number/],
  ['currency', 'usd', /currency/],
] as const)('a %s of %j is refused beside its field', (field, value, message) => {
  const found = checkProduct({ ...draftOf(mug), [field]: value });
  expect(Object.keys(found)).toEqual([field]);
  expect(found[field]).toMatch(message);
});
