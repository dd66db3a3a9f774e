import { describe, expect, test } from 'vitest';

import { JUST_MS, LastPlaced } from '../src/placed';
import { FakeStore } from './fakes';

const placed = { billId: 'b1', shown: '$25.80' };

function lastPlacedOf(store = new FakeStore()) {
  const clock = { now: 1_000_000 };
  return { lastPlaced: new LastPlaced(store, () => clock.now), clock, store };
}

describe('LastPlaced', () => {
  test('an order has just been placed for a minute, also after a reload', () => {
    const { lastPlaced, clock, store } = lastPlacedOf();
    lastPlaced.note('ada', placed);
    clock.now += JUST_MS - 1;
    expect(lastPlaced.just('ada')).toEqual(placed);
    expect(new LastPlaced(store, () => clock.now).just('ada')).toEqual(placed);
    clock.now += 1;
    expect(lastPlaced.just('ada')).toBeNull();
  });

  test('an order of the future, after the clock was set back, has not just been placed', () => {
    const { lastPlaced, clock } = lastPlacedOf();
    lastPlaced.note('ada', placed);
    clock.now -= 1;
    expect(lastPlaced.just('ada')).toBeNull();
  });

  test('each user has an order of their own, and the last one counts', () => {
    const { lastPlaced } = lastPlacedOf();
    lastPlaced.note('ada', { billId: 'b0', shown: '$1.00' });
    lastPlaced.note('ada', placed);
    expect(lastPlaced.just('ada')).toEqual(placed);
    expect(lastPlaced.just('bob')).toBeNull();
  });

  test.each(['', 'x', 'null', '7', '{}', '{"billId":"b1","shown":1,"at":1000000}', '{"billId":"b1","shown":"$1"}'])(
    'a stored text that is not valid does not count: %s',
    (text) => {
      const { lastPlaced, store } = lastPlacedOf();
      store.write('shop.placed.ada', text);
      expect(lastPlaced.just('ada')).toBeNull();
    },
  );
});
