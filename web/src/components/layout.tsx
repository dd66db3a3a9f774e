import type { ComponentChildren } from 'preact';

import { announcement } from '../announce';
import { match, pathTo, place, type RouteName } from '../router';
import { session } from '../session';
import { basket, desk } from '../shop';
import { chooseTheme, theme, type Theme } from '../theme';
import { SHOP_NAME } from './page';

/** What is around every page. */
export function Layout({ children }: { children: ComponentChildren }) {
  return (
    <>
      <a class="skip-link" href="#main">
        Skip to the content
      </a>
      <Header />
      <main id="main" tabIndex={-1}>
        <OpenOrder />
        {children}
      </main>
      <Footer />
      <div class="visually-hidden" role="status" aria-live="polite">
        {announcement}
      </div>
    </>
  );
}

function Header() {
  const state = session.value;
  const isIn = state.state === 'in' || (state.state === 'starting' && state.likely === 'in');
  const isAdmin = state.state === 'in' && state.isAdmin;
  return (
    <header class="site-head">
      <div class="inner">
        <a class="wordmark" href={pathTo('shop')}>
          <Mark />
          {SHOP_NAME}
        </a>
        <nav aria-label="Shop">
          <ul role="list">
            {isIn && <NavLink to="shop" text="Shop" />}
            {isIn && <NavLink to="orders" text="Orders" />}
            {isIn && <NavLink to="profile" text="Profile" />}
            {isAdmin && <NavLink to="admin" text="Manage" more=" products" />}
            {!isIn && <NavLink to="login" text="Log in" />}
            {!isIn && <NavLink to="signup" text="Sign up" />}
          </ul>
        </nav>
        <BasketLink />
      </div>
    </header>
  );
}

/** A link of the navigation. A narrow window has no place for `more`; a screen reader says it. */
function NavLink({ to, text, more }: { to: RouteName; text: string; more?: string }) {
  const isHere = match(place.value.path).name === to;
  return (
    <li>
      <a href={pathTo(to)} aria-current={isHere ? 'page' : undefined}>
        {text}
        {more && <span class="wide-only">{more}</span>}
      </a>
    </li>
  );
}

function BasketLink() {
  const count = basket.count;
  const isHere = match(place.value.path).name === 'basket';
  return (
    <a class="basket-link" href={pathTo('basket')} aria-current={isHere ? 'page' : undefined}>
      <svg viewBox="0 0 24 24" width="20" height="20" aria-hidden="true" class="line-icon">
        <path d="M4.500 9h15l-1.500 10.500h-12zM8.500 9l2.500-5M15.500 9l-2.500-5" />
      </svg>
      <span>Basket</span>{' '}
      <span class={count === 0 ? 'count zero' : 'count'}>
        {count}
        <span class="visually-hidden"> {count === 1 ? 'item' : 'items'}</span>
      </span>
    </a>
  );
}

/** Leads to an order whose answer is not known, from every page but the one that shows it. */
function OpenOrder() {
  const { phase } = desk.state.value;
  if (phase === 'idle' || session.value.state !== 'in' || match(place.value.path).name === 'checkout') return null;
  return (
    <div class="notice info open-order" role="status">
      <p>{phase === 'sending' ? 'Your order is being placed.' : 'One of your orders has no answer yet.'}</p>
      <a class="button secondary small" href={pathTo('checkout')}>
        Look at it
      </a>
    </div>
  );
}

const THEMES: readonly { value: Theme; text: string }[] = [
  { value: 'system', text: 'as your system' },
  { value: 'light', text: 'light' },
  { value: 'dark', text: 'dark' },
];

function Footer() {
  return (
    <footer class="site-foot">
      <div class="inner">
        <p class="muted">{SHOP_NAME} is a demonstration. Nothing is sold or delivered.</p>
        <label class="row">
          Colours
          <select
            value={theme.value}
            onChange={(event) => {
              chooseTheme(event.currentTarget.value as Theme);
            }}
          >
            {THEMES.map(({ value, text }) => (
              <option key={value} value={value}>
                {text}
              </option>
            ))}
          </select>
        </label>
      </div>
    </footer>
  );
}

function Mark() {
  return (
    <svg viewBox="0 0 32 32" width="28" height="28" aria-hidden="true">
      <rect class="mark-ground" width="32" height="32" rx="9" />
      <path class="mark-bag" d="M9 12h14l-1.200 12H10.200z" />
      <path class="mark-handle" d="M12.500 14v-3a3.500 3.500 0 0 1 7 0v3" />
    </svg>
  );
}
