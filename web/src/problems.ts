import type { Service } from './config';

/** What did not answer: a service, or Firebase Auth. */
export type Source = Service | 'auth';

/** A place in a request that is not valid, as the services name it. */
export interface FieldError {
  in: string;
  field: string;
  message: string;
}

/** What must be corrected, for each field of a form. */
export type FieldMessages<Field extends string> = Partial<Record<Field, string>>;

interface Facts {
  status?: number;
  code?: string;
  title?: string;
  detail?: string | null;
  fields?: FieldError[];
  retryAfterSeconds?: number | null;
}

/**
 * A call that failed.
 *
 * `kind` is "refused" if the service answered with a problem (RFC 9457), "down" if there was no answer in time or only
 * one of a server in between, and "broken" if the answer cannot be read.
 */
export class ApiError extends Error {
  readonly kind: 'refused' | 'down' | 'broken';
  readonly source: Source;
  readonly status: number;
  readonly code: string;
  readonly detail: string | null;
  readonly fields: readonly FieldError[];
  readonly retryAfterSeconds: number | null;

  constructor(kind: ApiError['kind'], source: Source, facts: Facts = {}) {
    super(facts.title ?? `${source}: ${kind}`);
    this.kind = kind;
    this.source = source;
    this.status = facts.status ?? 0;
    this.code = facts.code ?? '';
    this.detail = facts.detail ?? null;
    this.fields = facts.fields ?? [];
    this.retryAfterSeconds = facts.retryAfterSeconds ?? null;
  }
}

/** Return the error that an answer means. `body` is its parsed JSON, or undefined if it has none. */
export function errorOf(source: Source, status: number, body: unknown, retryAfter: string | null): ApiError {
  const problem = typeof body === 'object' && body !== null ? (body as Record<string, unknown>) : {};
  const code = problem['code'];
  const seconds = /^\d{1,5}$/.test(retryAfter ?? '') ? Number(retryAfter) : null;
  if (typeof code !== 'string') {
    return new ApiError(status >= 500 ? 'down' : 'broken', source, { status, retryAfterSeconds: seconds });
  }
  return new ApiError('refused', source, {
    status,
    code,
    title: typeof problem['title'] === 'string' ? problem['title'] : code,
    detail: typeof problem['detail'] === 'string' ? problem['detail'] : null,
    fields: Array.isArray(problem['errors']) ? problem['errors'].filter(isFieldError) : [],
    retryAfterSeconds: seconds,
  });
}

function isFieldError(value: unknown): value is FieldError {
  if (typeof value !== 'object' || value === null) return false;
  const { in: place, field, message } = value as Record<string, unknown>;
  return typeof place === 'string' && typeof field === 'string' && typeof message === 'string';
}

const NAMES: Record<Source, string> = {
  user: 'The account service',
  product: 'The catalogue',
  billing: 'The order service',
  auth: 'The log-in service',
};

/**
 * What a code means to a customer. Every code that a service documents for the storefront's calls is here.
 * "{service}" stands for the name of the service that answered.
 */
export const MESSAGES: Readonly<Record<string, string>> = {
  // Any service.
  request_invalid: 'Something that you entered cannot be used.',
  body_unreadable: 'The shop sent a request that the service could not read. Please reload the page.',
  body_too_large: 'What you entered is too long.',
  body_timeout: 'Your connection was too slow for this request. Try again.',
  database_unavailable: '{service} does not answer at the moment. Try again in a few seconds.',
  overloaded: 'The shop is very busy. Try again in a few seconds.',
  stopping: '{service} is restarting. Try again in a few seconds.',
  deadline_exceeded: '{service} took too long to answer. Try again.',
  internal_error: 'Something in the shop is broken. We cannot repair it from this page; please try again later.',
  verifier_unavailable: 'The shop cannot check your log-in at the moment. Try again in a few seconds.',
  caller_not_allowed: 'Your account may not do this.',
  user_token_missing: 'Please log in.',
  user_token_invalid: 'Your session has ended. Please log in again.',
  user_token_revoked: 'Your session has ended. Please log in again.',
  not_found: 'The shop sent a request that the service does not know. Please reload the page.',
  method_not_allowed: 'The shop sent a request that the service does not know. Please reload the page.',
  // User, and Firebase Auth.
  credentials_invalid: 'The e-mail address or the password is wrong.',
  email_taken: 'There is an account with this e-mail address. Log in, or use another address.',
  account_refused: 'The account cannot be created.',
  too_many_attempts: 'There were too many attempts. Wait a little, then try again.',
  firebase_unavailable: 'The log-in service does not answer at the moment. Try again in a few seconds.',
  // Product.
  product_not_found: 'This product is no longer sold.',
  // Billing.
  idempotency_key_missing: 'The order was sent without its key, so nothing was bought. Please reload the page.',
  idempotency_key_reused: 'This order differs from the one that was sent first. Please order again.',
  product_repeated: 'A product is in the order twice, so nothing was bought. Please order again.',
  product_unknown: 'A product in your basket is no longer sold. Nothing was bought.',
  currencies_mixed: 'The products in your basket have prices in different currencies. Buy them in separate orders.',
  out_of_stock: 'There is not enough of a product left. Nothing was bought.',
  order_given_up: 'The order could not be finished in time. Nothing was bought; please order again.',
  bill_in_progress: 'Your order is still being worked on.',
  bill_not_found: 'There is no such order, or it belongs to another account.',
  delivery_not_found: 'No delivery was requested for this order yet.',
  address_missing: 'Enter the address to deliver to.',
  address_fixed: 'The delivery was requested for another address before, and cannot be changed.',
  product_unavailable: 'The catalogue does not answer at the moment. Try again in a few seconds.',
  user_unavailable: 'The account service does not answer at the moment. Try again in a few seconds.',
  product_failed: 'The order service cannot use the catalogue. Please try again later.',
  user_failed: 'The order service cannot use the account service. Please try again later.',
};

/** Return what happened, and what to do, in words for a customer. */
export function describe(error: unknown, isOnline = typeof navigator === 'undefined' || navigator.onLine): string {
  if (!(error instanceof ApiError)) return 'Something in this page is broken. Please reload it.';
  const name = NAMES[error.source];
  if (error.kind === 'down') {
    return isOnline
      ? `${name} does not answer. It may be back in a moment.`
      : 'You are offline. Connect to the internet, then try again.';
  }
  if (error.kind === 'broken') return `${name} gave an answer that this page cannot read. Please try again later.`;
  if (error.code === 'account_refused' && error.detail) return error.detail;
  if (error.code === 'too_many_attempts' && error.retryAfterSeconds) {
    return `There were too many attempts. Try again in ${inWords(error.retryAfterSeconds)}.`;
  }
  return (MESSAGES[error.code] ?? error.message).replace('{service}', name);
}

/** Return a duration in words: "45 seconds", "3 minutes". */
export function inWords(seconds: number): string {
  if (seconds === 1) return '1 second';
  if (seconds < 90) return `${seconds} seconds`;
  return `${Math.ceil(seconds / 60)} minutes`;
}

/**
 * Return what must be corrected for each field of a form. `fields` names the form's field for each field of the API,
 * such as { 'price.amount': 'price' }.
 */
export function fieldMessages<Field extends string>(
  error: unknown,
  fields: Readonly<Record<string, Field>>,
): FieldMessages<Field> {
  const messages: FieldMessages<Field> = {};
  if (!(error instanceof ApiError)) return messages;
  for (const { field: name, message } of error.fields) {
    const field = fields[name];
    if (field && !messages[field]) messages[field] = inPlainWords(message);
  }
  return messages;
}

/** Say what pydantic says in words for a customer. */
function inPlainWords(message: string): string {
  const atLeast = /at least (\d+) (character|item)/.exec(message);
  if (atLeast?.[1] === '1') return 'This must not be empty.';
  if (atLeast) return `Use at least ${atLeast[1]} characters.`;
  const atMost = /at most (\d+) character/.exec(message);
  if (atMost) return `Use at most ${atMost[1]} characters.`;
  if (/match pattern/.test(message)) return 'This has a form that the shop does not accept.';
  if (/valid email/.test(message)) return 'This is not an e-mail address.';
  return `This was not accepted: ${message.replace(/^Value error, /, '')}.`;
}
