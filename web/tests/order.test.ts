import { beforeEach, describe, expect, test } from 'vitest';

import type { Address } from '../src/address';
import { Attempts, type Order } from '../src/attempt';
import { Basket, type BasketItem } from '../src/basket';
import { isDecided, OrderDesk } from '../src/order';
import { LastPlaced, type Placed } from '../src/placed';
import { ApiError } from '../src/problems';
import { FakeStore } from './fakes';

const address: Address = { name: 'Ada', line1: 'Row 1', line2: null, city: 'Lisbon', postal_code: '1', country: 'PT' };
const items: BasketItem[] = [{ productId: 'p1', name: 'Enamel mug', quantity: 2 }];
const order: Order = { items, address, shown: '$25.80' };

const down = new ApiError('down', 'billing');
const refused = (code: string, retryAfterSeconds: number | null = null) =>
  new ApiError('refused', 'billing', { code, retryAfterSeconds });

/** Billing and its calls, with the answers that a test has prepared. A key has one bill, as at Billing. */
class FakeBilling {
  readonly bills = new Map<string, string>();
  readonly keys: string[] = [];
  readonly deliveries: string[] = [];
  readonly pauses: number[] = [];
  failures: Error[] = [];
  deliveryFailures: Error[] = [];
  /** Answers that get lost: the bill is made, and the caller sees a failure. */
  lost = 0;

  /** What an answer waits for. */
  gate: Promise<undefined> = Promise.resolve(undefined);

  makeBill = async (_: BasketItem[], key: string) => {
    this.keys.push(key);
    await this.gate;
    const failure = this.failures.shift();
    if (failure) throw failure;
    if (!this.bills.has(key)) this.bills.set(key, `bill-${this.bills.size + 1}`);
    if (this.lost > 0) {
      this.lost -= 1;
      throw down;
    }
    return { id: this.bills.get(key) ?? '' };
  };

  requestDelivery = (billId: string) => {
    const failure = this.deliveryFailures.shift();
    if (failure) return Promise.reject(failure);
    this.deliveries.push(billId);
    return Promise.resolve({ status: 'requested' as const });
  };

  pause = (seconds: number) => {
    this.pauses.push(seconds);
    return Promise.resolve();
  };
}

let store: FakeStore;
let billing: FakeBilling;

/** A desk as a page has it after it was loaded. */
function openDesk() {
  const basket = new Basket(store);
  const desk = new OrderDesk(new Attempts(store), basket, new LastPlaced(store), billing);
  desk.serve('ada');
  return { basket, desk };
}

beforeEach(() => {
  store = new FakeStore();
  billing = new FakeBilling();
  new Basket(store).add('p1', 'Enamel mug', 2);
});

describe('OrderDesk', () => {
  test('an order becomes a bill and a delivery, and leaves the basket', async () => {
    const { desk, basket } = openDesk();
    const outcome = await desk.buy('ada', order);
    expect(outcome).toEqual({ kind: 'bought', bill: { id: 'bill-1' }, shown: '$25.80', deliveryError: null });
    expect(billing.deliveries).toEqual(['bill-1']);
    expect(basket.items.value).toEqual([]);
    expect(desk.state.value.phase).toBe('idle');
  });

  test('a page that finds the order ended, because it was reloaded meanwhile, finds its bill', async () => {
    const found: (Placed | null)[] = [];
    const write = store.write.bind(store);
    store.write = (key, text) => {
      write(key, text);
      if (new Attempts(store).current('ada') === null) found.push(new LastPlaced(store).just('ada'));
    };
    const { desk } = openDesk();
    await desk.buy('ada', order);
    expect(found.length).toBeGreaterThan(0);
    expect(found).toEqual(found.map(() => ({ billId: 'bill-1', shown: '$25.80' })));
  });

  test('a refused order is not placed', async () => {
    billing.failures = [refused('out_of_stock')];
    await openDesk().desk.buy('ada', order);
    expect(new LastPlaced(store).just('ada')).toBeNull();
  });

  test('a double click makes one bill', async () => {
    const { desk } = openDesk();
    await Promise.all([desk.buy('ada', order), desk.buy('ada', order)]);
    expect(billing.keys).toHaveLength(1);
    expect(billing.bills.size).toBe(1);
  });

  test('a lost answer makes one bill: the same key is sent again', async () => {
    billing.lost = 2;
    const { desk } = openDesk();
    const outcome = await desk.buy('ada', order);
    expect(outcome.kind).toBe('bought');
    expect(new Set(billing.keys).size).toBe(1);
    expect(billing.bills.size).toBe(1);
  });

  test('a reload while the answer is lost makes one bill', async () => {
    billing.lost = 100;
    await openDesk().desk.buy('ada', order);
    billing.lost = 0;
    const { desk, basket } = openDesk();
    expect(desk.state.value.phase).toBe('unknown');
    await desk.buy('ada', { ...order, items: [{ productId: 'p9', name: 'Another', quantity: 1 }] });
    expect(billing.bills.size).toBe(1);
    expect(basket.items.value).toEqual([]);
  });

  test('two orders one after the other make two bills', async () => {
    const { desk } = openDesk();
    await desk.buy('ada', order);
    await desk.buy('ada', order);
    expect(billing.bills.size).toBe(2);
  });

  test('two tabs that send the same order take its items out of the basket once', async () => {
    const [one, other] = [openDesk(), openDesk()];
    let answer: (value: undefined) => void = () => undefined;
    billing.gate = new Promise((resolve) => {
      answer = resolve;
    });
    const sent = one.desk.buy('ada', order);
    billing.gate = Promise.resolve(undefined);
    await other.desk.buy('ada', order);
    other.basket.add('p1', 'Enamel mug', 2);
    answer(undefined);
    expect((await sent).kind).toBe('bought');
    expect(billing.bills.size).toBe(1);
    expect(new Basket(store).count).toBe(2);
  });

  test('a refused order keeps the basket, and the next one has a new key', async () => {
    billing.failures = [refused('out_of_stock')];
    const { desk, basket } = openDesk();
    const outcome = await desk.buy('ada', order);
    expect(outcome).toMatchObject({ kind: 'refused', error: { code: 'out_of_stock' } });
    expect(basket.count).toBe(2);
    await desk.buy('ada', order);
    expect(new Set(billing.keys).size).toBe(2);
  });

  test('a service that stays down leaves the order open, with its basket', async () => {
    billing.failures = Array.from({ length: 20 }, () => down);
    const { desk, basket } = openDesk();
    const outcome = await desk.buy('ada', order);
    expect(outcome.kind).toBe('unknown');
    expect(desk.state.value).toMatchObject({ phase: 'unknown', error: down });
    expect(basket.count).toBe(2);
  });

  test('it waits as long as Billing asks, and longer each time', async () => {
    billing.failures = [refused('bill_in_progress', 7), refused('overloaded', 1), refused('overloaded', 900)];
    await openDesk().desk.buy('ada', order);
    expect(billing.pauses).toEqual([7, 2, 10]);
  });

  test('a session that has ended leaves the order open, without repeating it', async () => {
    billing.failures = [refused('user_token_revoked')];
    const { desk } = openDesk();
    expect((await desk.buy('ada', order)).kind).toBe('unknown');
    expect(billing.keys).toHaveLength(1);
  });

  test('after a reload between bill and delivery only the delivery is requested', async () => {
    const attempts = new Attempts(store);
    const { key } = attempts.begin('ada', order);
    attempts.billed('ada', key, 'bill-7');
    const outcome = await openDesk().desk.buy('ada', order);
    expect(outcome).toMatchObject({ kind: 'bought', bill: { id: 'bill-7' } });
    expect(billing.keys).toEqual([]);
    expect(billing.deliveries).toEqual(['bill-7']);
  });

  test('a bill whose delivery is refused is still bought', async () => {
    billing.deliveryFailures = [refused('address_missing')];
    const { desk, basket } = openDesk();
    const outcome = await desk.buy('ada', order);
    expect(outcome).toMatchObject({ kind: 'bought', deliveryError: { code: 'address_missing' } });
    expect(basket.count).toBe(0);
    expect(new Attempts(store).current('ada')).toBeNull();
  });

  test("another user's open order is not shown", async () => {
    billing.failures = Array.from({ length: 20 }, () => down);
    await openDesk().desk.buy('ada', order);
    const { desk } = openDesk();
    desk.serve('bob');
    expect(desk.state.value.phase).toBe('idle');
  });
});

describe('another user in the same tab', () => {
  test('sees nothing of an order that is still being sent', async () => {
    const { desk } = openDesk();
    const sent = desk.buy('ada', order);
    desk.serve('bob');
    expect(desk.state.value.phase).toBe('idle');
    billing.failures = Array.from({ length: 20 }, () => down);
    await sent;
    expect(desk.state.value.phase).toBe('idle');
  });

  test('gets no bill for it', async () => {
    billing.failures = [down, down];
    const { desk } = openDesk();
    const sent = desk.buy('ada', order);
    desk.serve('bob');
    expect((await sent).kind).toBe('unknown');
    expect(billing.keys).toHaveLength(1);
    desk.serve('ada');
    expect((await desk.buy('ada', order)).kind).toBe('bought');
    expect(new Set(billing.keys).size).toBe(1);
  });

  test('buys under a key of their own', async () => {
    const { desk } = openDesk();
    const sent = desk.buy('ada', order);
    desk.serve('bob');
    await Promise.all([sent, desk.buy('bob', order)]);
    expect(new Set(billing.keys).size).toBe(2);
  });
});

describe('isDecided', () => {
  test.each(['out_of_stock', 'product_unknown', 'currencies_mixed', 'order_given_up', 'request_invalid'])(
    'after %s it is certain that there is no bill',
    (code) => {
      expect(isDecided(refused(code))).toBe(true);
    },
  );

  test.each([
    'bill_in_progress',
    'product_unavailable',
    'product_failed',
    'internal_error',
    'something_new',
    'overloaded',
  ])('after %s there may be a bill', (code) => {
    expect(isDecided(refused(code))).toBe(false);
  });

  test('without an answer there may be a bill', () => {
    expect(isDecided(down)).toBe(false);
    expect(isDecided(new ApiError('broken', 'billing', { code: 'out_of_stock' }))).toBe(false);
    expect(isDecided(new TypeError('Failed to fetch'))).toBe(false);
  });
});
