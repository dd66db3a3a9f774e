import { useEffect, useState } from 'preact/hooks';

import { addressLines, checkAddress, toAddress, toDraft, type AddressDraft, type AddressField } from '../address';
import { announce } from '../announce';
import type { Order } from '../attempt';
import { AddressFields } from '../components/address-fields';
import { Form } from '../components/fields';
import { Go } from '../components/go';
import { Page } from '../components/page';
import { Action, Lines, LoadingText, Notice, Price, Trouble } from '../components/parts';
import { forgetDraft, useDraft, useKept, useLoad } from '../hooks';
import { linesOf, pricedLines, productsOf, type BasketLine } from '../lines';
import { forgetLists } from '../list';
import { formatMoney, totals } from '../money';
import type { DeskState, Outcome } from '../order';
import type { Placed } from '../placed';
import { ApiError, describe, type FieldMessages } from '../problems';
import { changeProfile, loadProfile } from '../profile';
import { match, navigate, pathTo, place } from '../router';
import { session } from '../session';
import { basket, desk, lastPlaced } from '../shop';
import { basketProblem, Totals } from './basket';

export function Checkout() {
  const [refusal, setRefusal] = useState<ApiError | null>(null);
  const state = desk.state.value;
  if (session.value.state !== 'in') return null;
  const { uid } = session.value;

  async function buy(order: Order): Promise<void> {
    setRefusal(null);
    const outcome = await desk.buy(uid, order);
    if (outcome.kind === 'refused') setRefusal(outcome.error);
    if (outcome.kind === 'bought') {
      forgetDraft(draftName(uid));
      showBill(outcome);
    }
  }

  if (state.phase !== 'idle') {
    const { attempt } = state;
    return <OpenOrder state={state} again={() => void buy(attempt)} />;
  }
  if (basket.items.value.length === 0) {
    const placed = lastPlaced.just(uid);
    return placed ? <Go to={pathToPlaced(placed)} /> : <NothingToBuy />;
  }
  return <OrderForm key={uid} uid={uid} refusal={refusal} buy={buy} />;
}

/** Go to the bill, unless the customer has gone to another page meanwhile. */
function showBill({ bill, shown }: Extract<Outcome, { kind: 'bought' }>): void {
  forgetLists();
  announce('Thank you. Your order is placed.');
  if (match(place.value.path).name === 'checkout')
    navigate(pathToPlaced({ billId: bill.id, shown }), { replace: true });
}

function pathToPlaced({ billId, shown }: Placed): string {
  return `${pathTo('order', { id: billId })}?new&shown=${encodeURIComponent(shown)}`;
}

function NothingToBuy() {
  return (
    <Page title="Checkout" class="narrow">
      <p>Your basket is empty, so there is nothing to buy.</p>
      <p>
        <a class="button" href={pathTo('shop')}>
          Go to the shop
        </a>
      </p>
    </Page>
  );
}

function draftName(uid: string): string {
  return `checkout.${uid}`;
}

interface OrderFormProps {
  uid: string;
  refusal: ApiError | null;
  buy: (order: Order) => Promise<void>;
}

function OrderForm({ uid, refusal, buy }: OrderFormProps) {
  const items = basket.items.value;
  const ids = items.map(({ productId }) => productId);
  // After a refusal this form is new, so the stock is asked for again. It says which product is not there any more.
  const products = useLoad([...ids].sort().join(','), (signal) => productsOf(ids, signal));
  const known = useKept(products.value);
  const profile = useLoad('', loadProfile);
  const [draft, change] = useDraft<AddressDraft & { touched: string; remember: string }>(draftName(uid), {
    ...toDraft(null),
    touched: '',
    remember: 'yes',
  });
  const [errors, setErrors] = useState<FieldMessages<AddressField>>({});

  // The address of the profile, unless the customer has begun to type another one.
  useEffect(() => {
    if (!profile.value || draft.touched) return;
    const { address, display_name: name } = profile.value;
    change(address ? toDraft(address) : { name: name ?? '' });
  }, [profile.value]);

  const lines = known ? linesOf(items, known) : null;
  const sums = lines ? totals(pricedLines(lines)) : [];
  const problem = lines ? basketProblem(lines, sums.length) : null;
  const canBuy = lines !== null && problem === null;

  async function submit(): Promise<void> {
    const found = checkAddress(draft);
    setErrors(found);
    if (Object.keys(found).length > 0 || !canBuy) return;
    const address = toAddress(draft);
    if (draft.remember && !profile.value?.address) {
      // The order does not depend on it, so an error here is not shown.
      changeProfile({ address }).catch(() => undefined);
    }
    await buy({ items: [...items], address, shown: sums.map(formatMoney).join(', ') });
  }

  return (
    <Page title="Checkout">
      <Form label="Checkout" errors={errors} onSubmit={() => void submit()} class="two-columns">
        <section
          class="card stack"
          aria-labelledby="address"
          aria-busy={profile.value === undefined && profile.error === undefined}
        >
          <h2 id="address">Where to deliver</h2>
          {profile.error !== undefined && (
            <Notice kind="warn">
              <p>{describe(profile.error)} You can enter your address here and buy without it.</p>
            </Notice>
          )}
          <AddressFields
            legend="Address"
            draft={draft}
            errors={errors}
            onChange={(changes) => {
              change({ ...changes, touched: 'yes' });
            }}
          />
          {!profile.value?.address && (
            <label class="row check">
              <input
                type="checkbox"
                checked={draft.remember !== ''}
                onChange={(event) => {
                  change({ remember: event.currentTarget.checked ? 'yes' : '' });
                }}
              />
              Remember this address in my profile
            </label>
          )}
        </section>
        <section class="card stack summary" aria-labelledby="order">
          <h2 id="order">Your order</h2>
          {products.error !== undefined && <Trouble error={products.error} again={products.reload} />}
          {lines ? <OrderLines lines={lines} /> : products.error === undefined && <OrderSkeleton />}
          {lines && <Totals sums={sums} />}
          {refusal && (
            <Notice kind="bad">
              <p>{describe(refusal)}</p>
            </Notice>
          )}
          {problem && (
            <Notice kind="warn">
              <p>{problem}</p>
              <a href={pathTo('basket')}>Change the basket</a>
            </Notice>
          )}
          <Action type="submit" disabled={!canBuy}>
            Buy now
          </Action>
        </section>
      </Form>
    </Page>
  );
}

function OrderLines({ lines }: { lines: readonly BasketLine[] }) {
  return (
    <ul role="list" class="order-lines">
      {lines.map(({ item, product, problem }) => (
        <li key={item.productId}>
          <span>
            {item.quantity} × {product?.name ?? item.name}
            {problem && <span class="error-text">{problem}</span>}
          </span>
          {product && <Price value={{ ...product.price, amount: product.price.amount * item.quantity }} />}
        </li>
      ))}
    </ul>
  );
}

function OrderSkeleton() {
  return (
    <>
      <LoadingText />
      <Lines count={Math.min(basket.items.value.length, 6)} />
    </>
  );
}

/** An order that was sent and has no answer yet. It cannot be changed, only sent again, under the same key. */
function OpenOrder({ state, again }: { state: Exclude<DeskState, { phase: 'idle' }>; again: () => void }) {
  const { attempt, phase, error } = state;
  const isFresh = phase === 'unknown' && error === null;
  useEffect(() => {
    // After a reload the order goes on by itself.
    if (isFresh) again();
  }, [isFresh]);
  return (
    <Page title={phase === 'sending' || isFresh ? 'Placing your order' : 'Your order has no answer yet'} class="narrow">
      <section class="card stack" aria-label="Order">
        <ul role="list" class="order-lines">
          {attempt.items.map((item) => (
            <li key={item.productId}>
              {item.quantity} × {item.name}
            </li>
          ))}
        </ul>
        <address class="muted">
          {addressLines(attempt.address).map((line) => (
            <span key={line}>{line}</span>
          ))}
        </address>
        {error !== null && (
          <Notice kind="warn">
            <p>{describe(error)}</p>
            {phase === 'sending' ? (
              <p>We keep trying. Your order is not lost, and it is placed once.</p>
            ) : (
              <p>We do not know yet whether your order was placed. To try again is safe: you get one bill.</p>
            )}
          </Notice>
        )}
        <Action busy={phase === 'sending' || isFresh} busyText="Placing your order…" onClick={again}>
          Try again
        </Action>
      </section>
    </Page>
  );
}
