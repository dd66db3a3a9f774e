// The parts of the storefront that live as long as the page: the basket, the order desk, and the calls they make.
import { effect } from '@preact/signals';

import type { Address } from './address';
import { ask, type Bill, type Delivery } from './api';
import { Attempts } from './attempt';
import { Basket } from './basket';
import { forgetLists } from './list';
import { OrderDesk } from './order';
import { LastPlaced } from './placed';
import { session } from './session';
import { browserStore, tabStore } from './storage';

export const basket = new Basket(browserStore);
export const attempts = new Attempts(browserStore);
export const lastPlaced = new LastPlaced(tabStore);

export function requestDelivery(billId: string, address: Address): Promise<Delivery> {
  return ask('billing', (client) =>
    client.POST('/bills/{bill_id}/delivery', { params: { path: { bill_id: billId } }, body: { address } }),
  );
}

export const desk = new OrderDesk(attempts, basket, lastPlaced, {
  makeBill: (items, key): Promise<Bill> =>
    ask('billing', (client) =>
      client.POST('/bills', {
        params: { header: { 'Idempotency-Key': key } },
        body: { items: items.map(({ productId, quantity }) => ({ product_id: productId, quantity })) },
      }),
    ),
  requestDelivery,
  pause: (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000)),
});

let lastUid: string | null = null;
effect(() => {
  if (session.value.state !== 'in' || session.value.uid === lastUid) return;
  lastUid = session.value.uid;
  forgetLists();
  desk.serve(lastUid);
});

addEventListener('storage', (event) => {
  basket.onStorage(event.key);
});
