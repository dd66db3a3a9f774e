import { describe, expect, test } from 'vitest';

import { match, pathTo, ROUTES, safeNext, type RouteName } from '../src/router';

describe('match', () => {
  test.each([
    ['/', 'shop', {}],
    ['/products/p1', 'product', { id: 'p1' }],
    ['/basket', 'basket', {}],
    ['/orders/b1/invoice', 'invoice', { id: 'b1' }],
    ['/admin/products/new', 'adminNew', {}],
    ['/admin/products/p1', 'adminEdit', { id: 'p1' }],
    ['/orders/', 'orders', {}],
    ['/products/a%20b', 'product', { id: 'a b' }],
  ])('%s leads to %s', (path, name, params) => {
    expect(match(path)).toEqual({ name, params });
  });

  test.each(['/nowhere', '/orders/b1/invoice/more', '/products', '/products/%E0%A4%A', '/Basket'])(
    '%s leads nowhere',
    (path) => {
      expect(match(path).name).toBe('missing');
    },
  );

  test.each(Object.keys(ROUTES) as RouteName[])('the path to %s leads to it', (name) => {
    expect(match(pathTo(name, { id: 'x/y?z' })).name).toBe(name);
  });
});

describe('safeNext', () => {
  test.each(['/orders', '/orders/b1', '/?q=tea', '/checkout'])('%s is a page to go on with', (next) => {
    expect(safeNext(next)).toBe(next);
  });

  test.each([
    null,
    '',
    'orders',
    'https://evil.example',
    '//evil.example',
    '/\\evil.example',
    '/\t/evil.example',
    '/login',
    '/signup?next=/login',
  ])('%j is not, so the shop is shown', (next) => {
    expect(safeNext(next)).toBe('/');
  });
});
