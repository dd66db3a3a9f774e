import { describe, expect, test } from 'vitest';

import { Basket, MAX_LINES, parseItems } from '../src/basket';
import { BrowserStore } from '../src/storage';
import { FakeStore } from './fakes';

const mug = { productId: 'p1', name: 'Enamel mug', quantity: 2 };

describe('Basket', () => {
  test('survives a reload', () => {
    const store = new FakeStore();
    new Basket(store).add('p1', 'Enamel mug', 2);
    expect(new Basket(store).items.value).toEqual([mug]);
  });

  test('adds to what is there', () => {
    const basket = new Basket(new FakeStore());
    basket.add('p1', 'Enamel mug');
    basket.add('p1', 'Enamel mug', 2);
    expect(basket.quantityOf('p1')).toBe(3);
    expect(basket.count).toBe(3);
  });

  test('a quantity of 0 removes the product', () => {
    const basket = new Basket(new FakeStore());
    basket.add('p1', 'Enamel mug');
    basket.set('p1', 'Enamel mug', 0);
    expect(basket.items.value).toEqual([]);
  });

  test('a quantity is at most what a bill takes', () => {
    const basket = new Basket(new FakeStore());
    basket.set('p1', 'Enamel mug', 5000);
    expect(basket.quantityOf('p1')).toBe(1000);
  });

  test('has as many lines as a bill, and says that another does not fit', () => {
    const basket = new Basket(new FakeStore());
    for (let index = 0; index < MAX_LINES; index += 1) expect(basket.add(`p${index}`, 'A product')).toBe(true);
    expect(basket.add('one-more', 'A product')).toBe(false);
    expect(basket.add('p0', 'A product')).toBe(true);
    expect(basket.items.value).toHaveLength(MAX_LINES);
  });

  test('changes of two tabs do not overwrite each other', () => {
    const store = new FakeStore();
    const [one, other] = [new Basket(store), new Basket(store)];
    one.add('p1', 'Enamel mug');
    other.add('p2', 'Desk lamp');
    one.onStorage('shop.basket');
    expect(one.items.value.map(({ productId }) => productId)).toEqual(['p1', 'p2']);
  });

  test('ignores changes of other keys', () => {
    const store = new FakeStore();
    const basket = new Basket(store);
    store.write('shop.basket', JSON.stringify([mug]));
    basket.onStorage('shop.theme');
    expect(basket.items.value).toEqual([]);
    basket.onStorage(null);
    expect(basket.items.value).toEqual([mug]);
  });

  test('only what was bought leaves it', () => {
    const basket = new Basket(new FakeStore());
    basket.add('p1', 'Enamel mug', 3);
    basket.add('p2', 'Desk lamp', 1);
    basket.add('p3', 'Chess set', 1);
    basket.take([
      { productId: 'p1', quantity: 2 },
      { productId: 'p2', quantity: 1 },
    ]);
    expect(basket.items.value.map(({ productId, quantity }) => [productId, quantity])).toEqual([
      ['p1', 1],
      ['p3', 1],
    ]);
  });

  test('works until the reload if the browser stores nothing', () => {
    const basket = new Basket(
      new BrowserStore(() => {
        throw new DOMException('Access is denied', 'SecurityError');
      }),
    );
    basket.add('p1', 'Enamel mug');
    basket.add('p2', 'Desk lamp');
    expect(basket.count).toBe(2);
  });
});

describe('parseItems', () => {
  test.each([
    ['nothing', null],
    ['no JSON', '[{'],
    ['no list', '{"productId": "p1"}'],
    ['null', 'null'],
  ])('%s is an empty basket', (_, text) => {
    expect(parseItems(text)).toEqual([]);
  });

  test.each([
    ['a quantity of zero', { quantity: 0 }],
    ['a negative quantity', { quantity: -1 }],
    ['a fraction', { quantity: 1.5 }],
    ['a text as quantity', { quantity: '2' }],
    ['more than a bill takes', { quantity: 1001 }],
    ['an id that is a path', { productId: '../admin' }],
    ['an empty id', { productId: '' }],
    ['no name', { name: undefined }],
    ['an endless name', { name: 'x'.repeat(201) }],
  ])('an item with %s is left out, and the others stay', (_, fault) => {
    const items = [{ ...mug, productId: 'p2', ...fault }, mug];
    expect(parseItems(JSON.stringify(items))).toEqual([mug]);
  });

  test('a product that is there twice counts once', () => {
    expect(parseItems(JSON.stringify([mug, { ...mug, quantity: 9 }]))).toEqual([mug]);
  });

  test('fields that do not belong there are left out', () => {
    expect(parseItems(JSON.stringify([{ ...mug, price: 0 }]))).toEqual([mug]);
  });
});
