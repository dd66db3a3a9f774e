import { signal } from '@preact/signals';

/** The pages, by the paths that lead to them. A part that begins with a colon is a parameter. */
export const ROUTES = {
  shop: '/',
  product: '/products/:id',
  basket: '/basket',
  checkout: '/checkout',
  orders: '/orders',
  order: '/orders/:id',
  invoice: '/orders/:id/invoice',
  profile: '/profile',
  login: '/login',
  signup: '/signup',
  admin: '/admin/products',
  adminNew: '/admin/products/new',
  adminEdit: '/admin/products/:id',
} as const;

export type RouteName = keyof typeof ROUTES;

export interface Match {
  name: RouteName | 'missing';
  params: Readonly<Record<string, string>>;
}

/** Return the page that a path leads to. A fixed part goes before a parameter. */
export function match(path: string): Match {
  const parts = split(path);
  let best: Match = { name: 'missing', params: {} };
  let bestParams = Infinity;
  for (const [name, pattern] of Object.entries(ROUTES) as [RouteName, string][]) {
    const params = matchParts(split(pattern), parts);
    const count = params ? Object.keys(params).length : Infinity;
    if (params && count < bestParams) {
      best = { name, params };
      bestParams = count;
    }
  }
  return best;
}

/** Return the path of a page: `pathTo('order', { id: 'b1' })` is "/orders/b1". */
export function pathTo(name: RouteName, params: Readonly<Record<string, string>> = {}): string {
  return ROUTES[name].replace(/:([a-z]+)/g, (_, key: string) => encodeURIComponent(params[key] ?? ''));
}

/** Return the path to go to after a log-in: a path of this site, and not the log-in itself. */
export function safeNext(next: string | null): string {
  if (!next || !/^\/(?![/\\])/.test(next)) return '/';
  const url = new URL(next, 'http://shop.invalid');
  if (url.host !== 'shop.invalid' || ['login', 'signup'].includes(match(url.pathname).name)) return '/';
  return url.pathname + url.search;
}

function split(path: string): string[] {
  return path.split('/').filter(Boolean);
}

function matchParts(pattern: string[], parts: string[]): Record<string, string> | null {
  if (pattern.length !== parts.length) return null;
  const params: Record<string, string> = {};
  for (const [index, wanted] of pattern.entries()) {
    const part = parts[index] ?? '';
    if (!wanted.startsWith(':')) {
      if (part !== wanted) return null;
      continue;
    }
    try {
      params[wanted.slice(1)] = decodeURIComponent(part);
    } catch {
      return null;
    }
  }
  return params;
}

export interface Place {
  path: string;
  query: URLSearchParams;
}

function here(): Place {
  return { path: location.pathname, query: new URLSearchParams(location.search) };
}

/** Where the user is. */
export const place = signal<Place>(
  typeof location === 'undefined' ? { path: '/', query: new URLSearchParams() } : here(),
);

/** Go to a path of this site. With `replace`, "Back" does not return to the present one. */
export function navigate(to: string, { replace = false } = {}): void {
  const before = location.pathname;
  if (replace) history.replaceState(null, '', to);
  else history.pushState(null, '', to);
  place.value = here();
  if (location.pathname !== before) scrollTo(0, 0);
}

/** Follow the browser's "Back" and "Forward", and links to pages of this site without loading the page again. */
export function startRouter(): void {
  addEventListener('popstate', () => {
    place.value = here();
  });
  document.addEventListener('click', (event) => {
    const link = event.target instanceof Element ? event.target.closest('a') : null;
    if (!link || event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    if (link.target || link.hasAttribute('download') || link.origin !== location.origin) return;
    if (link.hash && link.pathname === location.pathname) return;
    event.preventDefault();
    navigate(link.pathname + link.search);
  });
}
