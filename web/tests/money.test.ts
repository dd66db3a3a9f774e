import { expect, test } from 'vitest';

import { formatMoney } from '../src/money';

test('an amount is shown in the major unit of its currency', () => {
  expect(formatMoney({ amount: 1999, currency: 'USD' })).toBe('$19.99');
});
