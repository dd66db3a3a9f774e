import { signal, type ReadonlySignal } from '@preact/signals';

import type { Address } from './address';
import type { Bill, Delivery } from './api';
import type { Attempt, Attempts, Order } from './attempt';
import type { Basket, BasketItem } from './basket';
import type { LastPlaced } from './placed';
import { ApiError } from './problems';

/** What became of an order. */
export type Outcome =
  | { kind: 'bought'; bill: Pick<Bill, 'id'>; shown: string; deliveryError: unknown }
  | { kind: 'refused'; error: ApiError }
  | { kind: 'unknown'; error: unknown };

/** What the desk is doing: nothing, sending an order, or waiting because the answer to one is not known. */
export type DeskState =
  | { phase: 'idle' }
  | { phase: 'sending'; attempt: Attempt; error: unknown }
  | { phase: 'unknown'; attempt: Attempt; error: unknown };

interface Calls {
  makeBill: (items: BasketItem[], key: string) => Promise<Pick<Bill, 'id'>>;
  requestDelivery: (billId: string, address: Address) => Promise<Pick<Delivery, 'status'>>;
  pause: (seconds: number) => Promise<void>;
}

/** Billing's refusals after which it is certain that this key has no bill, and never gets one. */
const DECIDED = new Set([
  'idempotency_key_missing',
  'idempotency_key_reused',
  'product_repeated',
  'product_unknown',
  'currencies_mixed',
  'out_of_stock',
  'order_given_up',
  'request_invalid',
  'body_unreadable',
  'body_too_large',
  'caller_not_allowed',
]);

/** Refusals that waiting does not change. */
const NOT_SOON = new Set([
  'product_failed',
  'user_failed',
  'internal_error',
  'user_token_missing',
  'user_token_invalid',
  'user_token_revoked',
]);

const PAUSES_SECONDS = [1, 2, 3, 5, 8];
const MAX_PAUSE_SECONDS = 10;

/** Return whether an error says that the order has no bill. After any other error it may have one. */
export function isDecided(error: unknown): error is ApiError {
  return error instanceof ApiError && error.kind === 'refused' && DECIDED.has(error.code);
}

function mayPass(error: unknown): boolean {
  return error instanceof ApiError && error.kind !== 'broken' && !NOT_SOON.has(error.code);
}

/** Where orders are placed: one at a time, and each of them once. */
export class OrderDesk {
  readonly state: ReadonlySignal<DeskState>;
  readonly #state = signal<DeskState>({ phase: 'idle' });
  readonly #attempts: Attempts;
  readonly #basket: Basket;
  readonly #lastPlaced: LastPlaced;
  readonly #calls: Calls;
  /** Whose orders `state` is about. */
  #uid: string | null = null;
  #running: { uid: string; outcome: Promise<Outcome> } | null = null;

  constructor(attempts: Attempts, basket: Basket, lastPlaced: LastPlaced, calls: Calls) {
    this.#attempts = attempts;
    this.#basket = basket;
    this.#lastPlaced = lastPlaced;
    this.#calls = calls;
    this.state = this.#state;
  }

  /** Serve this user from now on. An order that has no answer yet is found, for example after a reload. */
  serve(uid: string): void {
    this.#uid = uid;
    if (this.#running?.uid === uid) return;
    const attempt = this.#attempts.current(uid);
    this.#state.value = attempt ? { phase: 'unknown', attempt, error: null } : { phase: 'idle' };
  }

  /** Place an order. If an order of this user has no answer yet, that one is sent again, and no other. */
  buy(uid: string, order: Order): Promise<Outcome> {
    if (this.#running?.uid === uid) return this.#running.outcome;
    const running = { uid, outcome: this.#finish(uid, this.#attempts.begin(uid, order)) };
    this.#running = running;
    void running.outcome.finally(() => {
      if (this.#running === running) this.#running = null;
    });
    return running.outcome;
  }

  /** Show a state, unless another user has logged in meanwhile. */
  #show(uid: string, state: DeskState): void {
    if (uid === this.#uid) this.#state.value = state;
  }

  async #finish(uid: string, attempt: Attempt): Promise<Outcome> {
    const outcome = await this.#send(uid, attempt);
    if (outcome.kind === 'unknown') {
      this.#show(uid, { phase: 'unknown', attempt, error: outcome.error });
      return outcome;
    }
    // First, so that a page that finds the attempt ended also finds its bill.
    if (outcome.kind === 'bought') this.#lastPlaced.note(uid, { billId: outcome.bill.id, shown: outcome.shown });
    // Another tab may have sent the same order, and then it has taken the items out of the basket.
    if (this.#attempts.end(uid, attempt.key) && outcome.kind === 'bought') this.#basket.take(attempt.items);
    this.#show(uid, { phase: 'idle' });
    return outcome;
  }

  async #send(uid: string, attempt: Attempt): Promise<Outcome> {
    this.#show(uid, { phase: 'sending', attempt, error: null });
    let billId = attempt.billId;
    try {
      billId ??= (await this.#repeat(uid, attempt, () => this.#calls.makeBill(attempt.items, attempt.key))).id;
    } catch (error) {
      return isDecided(error) ? { kind: 'refused', error } : { kind: 'unknown', error };
    }
    this.#attempts.billed(uid, attempt.key, billId);
    const bought = { kind: 'bought' as const, bill: { id: billId }, shown: attempt.shown };
    try {
      await this.#repeat(uid, attempt, () => this.#calls.requestDelivery(bought.bill.id, attempt.address));
      return { ...bought, deliveryError: null };
    } catch (error) {
      // The bill is there. Its page offers to request the delivery again.
      return { ...bought, deliveryError: error };
    }
  }

  /** Make a call until it is answered, or until several repetitions did not help. */
  async #repeat<T>(uid: string, attempt: Attempt, call: () => Promise<T>): Promise<T> {
    for (const seconds of PAUSES_SECONDS) {
      this.#checkUser(uid);
      try {
        return await call();
      } catch (error) {
        if (isDecided(error) || isDeliveryDecided(error) || !mayPass(error)) throw error;
        this.#show(uid, { phase: 'sending', attempt, error });
        const asked = error instanceof ApiError ? (error.retryAfterSeconds ?? seconds) : seconds;
        await this.#calls.pause(Math.min(Math.max(asked, seconds), MAX_PAUSE_SECONDS));
      }
    }
    this.#checkUser(uid);
    return call();
  }

  /** Send nothing more for a user after another one has logged in: it would be sent in the name of the other. */
  #checkUser(uid: string): void {
    if (uid !== this.#uid) throw new ApiError('refused', 'auth', { code: 'user_token_missing' });
  }
}

function isDeliveryDecided(error: unknown): boolean {
  const codes = ['address_missing', 'address_fixed', 'bill_not_found'];
  return error instanceof ApiError && codes.includes(error.code);
}
