import { describe, expect, test } from 'vitest';

import { Attempts, MAX_AGE_MS, parseAttempt } from '../src/attempt';
import { FakeStore } from './fakes';

const address = {
  name: 'Ada',
  line1: 'Row 1',
  line2: null,
  city: 'Lisbon',
  postal_code: '1200',
  country: 'PT' as const,
};
const shown = '$25.80';
const items = [{ productId: 'p1', name: 'Enamel mug', quantity: 2 }];

/** Attempts with a clock that the test sets and keys that can be told apart. */
function attemptsOf(store = new FakeStore()) {
  const clock = { now: 1_000_000 };
  let keys = 0;
  const attempts = new Attempts(
    store,
    () => clock.now,
    () => `key-${(keys += 1)}`,
  );
  return { attempts, clock, store };
}

describe('Attempts', () => {
  test('an attempt that has no answer is taken up again with its key and its items', () => {
    const { attempts } = attemptsOf();
    const first = attempts.begin('ada', { items, address, shown });
    const second = attempts.begin('ada', {
      items: [{ productId: 'p2', name: 'Desk lamp', quantity: 1 }],
      address,
      shown,
    });
    expect(second).toEqual(first);
  });

  test('an attempt survives a reload', () => {
    const { attempts, store } = attemptsOf();
    const begun = attempts.begin('ada', { items, address, shown });
    expect(attemptsOf(store).attempts.current('ada')).toEqual(begun);
  });

  test('a new order has a new key', () => {
    const { attempts } = attemptsOf();
    const first = attempts.begin('ada', { items, address, shown });
    attempts.end('ada', first.key);
    expect(attempts.current('ada')).toBeNull();
    expect(attempts.begin('ada', { items, address, shown }).key).not.toBe(first.key);
  });

  test('by default keys are random and different', () => {
    const attempts = new Attempts(new FakeStore());
    const [one, other] = [
      attempts.begin('ada', { items, address, shown }),
      attempts.begin('bob', { items, address, shown }),
    ];
    expect(one.key).toMatch(/^[0-9a-f-]{36}$/);
    expect(one.key).not.toBe(other.key);
  });

  test('each user has an attempt of their own', () => {
    const { attempts } = attemptsOf();
    attempts.begin('ada', { items, address, shown });
    expect(attempts.current('bob')).toBeNull();
  });

  test('the end of an earlier attempt does not end a later one', () => {
    const { attempts } = attemptsOf();
    const first = attempts.begin('ada', { items, address, shown });
    attempts.end('ada', first.key);
    const second = attempts.begin('ada', { items, address, shown });
    attempts.end('ada', first.key);
    expect(attempts.current('ada')).toEqual(second);
  });

  test('a key that Billing has forgotten is not sent again', () => {
    const { attempts, clock } = attemptsOf();
    attempts.begin('ada', { items, address, shown });
    clock.now += MAX_AGE_MS - 1;
    expect(attempts.current('ada')).not.toBeNull();
    clock.now += 1;
    expect(attempts.current('ada')).toBeNull();
  });

  test('an attempt from the future, after the clock was set back, is not sent again', () => {
    const { attempts, clock } = attemptsOf();
    attempts.begin('ada', { items, address, shown });
    clock.now -= 1;
    expect(attempts.current('ada')).toBeNull();
  });

  test('the bill of an attempt is noted, and that of another attempt is not', () => {
    const { attempts } = attemptsOf();
    const { key } = attempts.begin('ada', { items, address, shown });
    attempts.billed('ada', 'another', 'b0');
    expect(attempts.current('ada')?.billId).toBeNull();
    attempts.billed('ada', key, 'b1');
    expect(attempts.current('ada')?.billId).toBe('b1');
  });
});

describe('parseAttempt', () => {
  const valid = { key: 'key-1', items, address, shown, startedAt: 1, billId: null };

  test('what was stored is read', () => {
    expect(parseAttempt(JSON.stringify(valid))).toEqual(valid);
  });

  test.each([
    ['nothing', null],
    ['no JSON', '{'],
    ['a list', '[]'],
    ['no key', JSON.stringify({ ...valid, key: undefined })],
    ['a key that no header takes', JSON.stringify({ ...valid, key: 'a\nb' })],
    ['no items', JSON.stringify({ ...valid, items: [] })],
    ['an item that is not valid', JSON.stringify({ ...valid, items: [...items, { productId: 'p2' }] })],
    ['no time', JSON.stringify({ ...valid, startedAt: 'yesterday' })],
    ['an address without a city', JSON.stringify({ ...valid, address: { ...address, city: undefined } })],
  ])('%s is no attempt', (_, text) => {
    expect(parseAttempt(text)).toBeNull();
  });
});
