import { useRef, useState } from 'preact/hooks';

import { addressLines, checkAddress, toAddress, toDraft, type AddressDraft, type AddressField } from '../address';
import { announce } from '../announce';
import { ask, type Bill, type Delivery } from '../api';
import { AddressFields } from '../components/address-fields';
import { Form } from '../components/fields';
import { Page } from '../components/page';
import { Action, Lines, LoadingText, Notice, Price, Trouble } from '../components/parts';
import { Picture } from '../components/picture';
import { deliveryText, Tracker } from '../components/tracker';
import { forgetDraft, useDraft, useLoad, usePolling } from '../hooks';
import { formatMoney } from '../money';
import { ApiError, describe, fieldMessages, type FieldMessages } from '../problems';
import { pathTo, place } from '../router';
import { requestDelivery } from '../shop';
import { NotLoaded } from './messages';
import { dateText } from './orders';

/** How long to wait before asking where the parcel is, in seconds. */
const POLLING_SECONDS = [1, 1, 1, 2, 2, 3, 5, 8, 10];

export function OrderPage({ params }: { params: Readonly<Record<string, string>> }) {
  const id = params['id'] ?? '';
  const { value, error, reload } = useLoad(id, (signal) =>
    ask('billing', (client) => client.GET('/bills/{bill_id}', { params: { path: { bill_id: id } }, signal })),
  );
  if (error !== undefined) return <NotLoaded title="Order" error={error} again={reload} />;
  const isNew = place.value.query.has('new');
  const shown = place.value.query.get('shown');
  return (
    <Page
      title={value ? `Order of ${dateText(value.created_at)}` : 'Order'}
      aside={
        <a class="button secondary small" href={pathTo('invoice', { id })}>
          Open the invoice
        </a>
      }
    >
      {isNew && (
        <Notice kind="good">
          <p>Thank you! Your order is placed.</p>
        </Notice>
      )}
      {value && isNew && shown !== null && shown !== formatMoney(value.total) && (
        <Notice kind="warn">
          <p>
            A price changed while you ordered. The total is <Price value={value.total} />; you had seen {shown}.
          </p>
        </Notice>
      )}
      <div class="two-columns">
        {value ? <BillCard bill={value} /> : <BillSkeleton />}
        <DeliveryCard billId={id} />
      </div>
      <p>
        <a href={pathTo('orders')}>All orders</a>
      </p>
    </Page>
  );
}

function BillCard({ bill }: { bill: Bill }) {
  return (
    <section class="card stack" aria-labelledby="bill">
      <h2 id="bill">Bill</h2>
      <ul role="list" class="bill-lines">
        {bill.lines.map((line) => (
          <li key={line.product_id}>
            <Picture product={{ id: line.product_id, name: line.name }} class="thumb" decorative />
            <span class="line-name">
              {line.name}
              <span class="muted small-text">
                {line.quantity} × <Price value={line.unit_price} />
              </span>
            </span>
            <Price value={line.amount} />
          </li>
        ))}
      </ul>
      <dl class="totals">
        <div>
          <dt>Total</dt>
          <dd>
            <Price value={bill.total} />
          </dd>
        </div>
      </dl>
      <p class="muted small-text">
        Bill <span class="bill-id">{bill.id}</span>
      </p>
    </section>
  );
}

function BillSkeleton() {
  return (
    <section class="card stack">
      <LoadingText />
      <Lines count={5} />
    </section>
  );
}

type DeliveryState = Delivery | 'none';

/** Load the delivery of a bill, or "none" if it was not requested. */
async function loadDelivery(billId: string, signal?: AbortSignal): Promise<DeliveryState> {
  try {
    return await ask('billing', (client) =>
      client.GET('/bills/{bill_id}/delivery', {
        params: { path: { bill_id: billId } },
        ...(signal ? { signal } : {}),
      }),
    );
  } catch (error) {
    if (error instanceof ApiError && error.code === 'delivery_not_found') return 'none';
    throw error;
  }
}

function DeliveryCard({ billId }: { billId: string }) {
  const { value, error, set, reload } = useLoad(billId, (signal) => loadDelivery(billId, signal));
  const [pollError, setPollError] = useState<unknown>(null);
  // The polling below goes on for a while, and must not compare with what was there at its start.
  const latest = useRef(value);
  latest.current = value;
  const isMoving = value !== undefined && value !== 'none' && !isEnd(value.status);
  usePolling(
    POLLING_SECONDS,
    async () => {
      try {
        const next = await loadDelivery(billId);
        setPollError(null);
        if (next === 'none') return true;
        if (!isSame(next, latest.current)) announce(`Delivery: ${deliveryText(next.status)}.`);
        set(next);
        return !isEnd(next.status);
      } catch (reason) {
        setPollError(reason);
        return true;
      }
    },
    isMoving,
  );
  return (
    <section class="card stack delivery" aria-labelledby="delivery">
      <h2 id="delivery">Delivery</h2>
      {error !== undefined && <Trouble error={error} again={reload} />}
      {value === undefined && error === undefined && <DeliverySkeleton />}
      {value === 'none' && <DeliveryForm billId={billId} onRequested={set} />}
      {value !== undefined && value !== 'none' && <Whereabouts delivery={value} />}
      {pollError !== null && (
        <Notice kind="warn">
          <p>{describe(pollError)} We keep looking.</p>
        </Notice>
      )}
    </section>
  );
}

function isSame(delivery: Delivery, other: DeliveryState | undefined): boolean {
  return other !== undefined && other !== 'none' && other.status === delivery.status;
}

function isEnd(status: Delivery['status']): boolean {
  return status === 'delivered' || status === 'failed';
}

function Whereabouts({ delivery }: { delivery: Delivery }) {
  return (
    <>
      <Tracker status={delivery.status} />
      {delivery.status === 'failed' && (
        <Notice kind="bad">
          <p>The parcel could not be delivered to this address.</p>
        </Notice>
      )}
      <address>
        {addressLines(delivery.address).map((line, index) => (
          <span key={index}>{line}</span>
        ))}
      </address>
    </>
  );
}

function DeliverySkeleton() {
  return (
    <>
      <span class="skeleton tracker-skeleton" />
      <Lines count={4} />
    </>
  );
}

/** The bill is there, and its delivery could not be requested yet. */
function DeliveryForm({ billId, onRequested }: { billId: string; onRequested: (delivery: Delivery) => void }) {
  const draftName = `delivery.${billId}`;
  const [draft, change] = useDraft<AddressDraft>(draftName, toDraft(null));
  const [errors, setErrors] = useState<FieldMessages<AddressField>>({});
  const [failure, setFailure] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  async function submit(): Promise<void> {
    if (busy) return;
    const found = checkAddress(draft);
    setErrors(found);
    setFailure(null);
    if (Object.keys(found).length > 0) return;
    setBusy(true);
    try {
      const delivery = await requestDelivery(billId, toAddress(draft));
      forgetDraft(draftName);
      onRequested(delivery);
    } catch (reason) {
      setErrors(addressErrors(reason));
      setFailure(reason);
    } finally {
      setBusy(false);
    }
  }
  return (
    <Form label="Delivery" errors={errors} onSubmit={() => void submit()}>
      <p>The delivery is not requested yet. Where may we deliver to?</p>
      <AddressFields legend="Address" draft={draft} errors={errors} onChange={change} />
      {failure !== null && <Trouble error={failure} />}
      <Action type="submit" busy={busy} busyText="Requesting the delivery…">
        Request the delivery
      </Action>
    </Form>
  );
}

/** Return what the API says about each field of an address. */
export function addressErrors(error: unknown): FieldMessages<AddressField> {
  return fieldMessages<AddressField>(error, {
    'address.name': 'name',
    'address.line1': 'line1',
    'address.line2': 'line2',
    'address.city': 'city',
    'address.postal_code': 'postal_code',
    'address.country': 'country',
  });
}
