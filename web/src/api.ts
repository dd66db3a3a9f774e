import createClient, { type Client } from 'openapi-fetch';

import type { components as BillingShapes, paths as BillingPaths } from './api/billing';
import type { components as ProductShapes, paths as ProductPaths } from './api/product';
import type { components as UserShapes, paths as UserPaths } from './api/user';
import type { Service } from './config';
import { ApiError, errorOf } from './problems';
import { config, forgetSession, idToken } from './session';

export type Product = ProductShapes['schemas']['ProductShape'];
export type NewProduct = ProductShapes['schemas']['NewProduct'];
export type ProductChanges = ProductShapes['schemas']['ProductChanges'];
export type Bill = BillingShapes['schemas']['BillShape'];
export type Delivery = BillingShapes['schemas']['DeliveryShape'];
export type Profile = UserShapes['schemas']['ProfileShape'];
export type ProfileChanges = UserShapes['schemas']['ProfileChanges'];

/** How long to wait for an answer, in milliseconds. Billing itself waits for Product for some seconds. */
const TIMEOUT_MS = 20_000;

const SESSION_CODES = ['user_token_missing', 'user_token_invalid', 'user_token_revoked'];

interface Clients {
  user: Client<UserPaths>;
  product: Client<ProductPaths>;
  billing: Client<BillingPaths>;
}

let clients: Promise<Clients> | null = null;

async function makeClients(): Promise<Clients> {
  const { apis } = await config();
  const options = (service: Service) => ({
    baseUrl: apis[service],
    fetch: (request: Request) => send(service, request),
  });
  return {
    user: createClient<UserPaths>(options('user')),
    product: createClient<ProductPaths>(options('product')),
    billing: createClient<BillingPaths>(options('billing')),
  };
}

/** Return a client for each service. Its calls carry the ID token of who is logged in. */
export function api(): Promise<Clients> {
  clients ??= makeClients().catch((error: unknown) => {
    clients = null;
    throw error;
  });
  return clients;
}

/** Send a request with an ID token. If the service does not accept the token, send it once more with a new one. */
async function send(service: Service, request: Request): Promise<Response> {
  const answer = await sendOnce(service, request.clone(), await idToken());
  if (answer.status !== 401 || !(await isAboutSession(answer))) return answer;
  let renewed: string | null;
  try {
    renewed = await idToken(true);
  } catch (error) {
    if (error instanceof ApiError && error.kind === 'refused') await forgetSession({ ended: true });
    throw error;
  }
  const second = renewed === null ? answer : await sendOnce(service, request, renewed);
  if (second.status === 401 && (await isAboutSession(second))) await forgetSession({ ended: true });
  return second;
}

async function sendOnce(service: Service, request: Request, token: string | null): Promise<Response> {
  if (token !== null) request.headers.set('Authorization', `Bearer ${token}`);
  try {
    return await fetch(request, { signal: AbortSignal.any([request.signal, AbortSignal.timeout(TIMEOUT_MS)]) });
  } catch (error) {
    if (request.signal.aborted) throw error;
    throw new ApiError('down', service);
  }
}

async function isAboutSession(answer: Response): Promise<boolean> {
  const problem: unknown = await answer
    .clone()
    .json()
    .catch(() => null);
  return SESSION_CODES.includes((problem as { code?: string } | null)?.code ?? '');
}

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** Return what a call of a client was answered with. Throws ApiError. */
export async function ask<S extends Service, T>(
  service: S,
  call: (client: Clients[S]) => Promise<Answer<T>>,
): Promise<T> {
  const client = (await api())[service];
  let answer: Answer<T>;
  try {
    answer = await call(client);
  } catch (error) {
    // The client throws SyntaxError for an answer that is not JSON, such as a page of a server in between.
    if (error instanceof SyntaxError) throw new ApiError('broken', service);
    if (error instanceof TypeError || (error instanceof DOMException && error.name === 'TimeoutError')) {
      throw new ApiError('down', service);
    }
    throw error;
  }
  const { response } = answer;
  if (!response.ok) throw errorOf(service, response.status, answer.error, response.headers.get('Retry-After'));
  return answer.data as T;
}
