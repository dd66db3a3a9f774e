import type { FunctionComponent } from 'preact';

import { Go } from './components/go';
import { Layout } from './components/layout';
import { Lines, LoadingText } from './components/parts';
import { AdminProduct } from './pages/admin-product';
import { AdminProducts } from './pages/admin-products';
import { BasketPage } from './pages/basket';
import { Checkout } from './pages/checkout';
import { Invoice } from './pages/invoice';
import { LogIn } from './pages/log-in';
import { Forbidden, Missing, NotStarted } from './pages/messages';
import { OrderPage } from './pages/order';
import { Orders } from './pages/orders';
import { ProductPage } from './pages/product';
import { ProfilePage } from './pages/profile';
import { Shop, ShopSkeleton } from './pages/shop';
import { SignUp } from './pages/sign-up';
import { Welcome } from './pages/welcome';
import { match, pathTo, place, safeNext, type RouteName } from './router';
import { session } from './session';

type PageOf = FunctionComponent<{ params: Readonly<Record<string, string>> }>;

const PAGES: Record<RouteName, PageOf> = {
  shop: Shop,
  product: ProductPage,
  basket: BasketPage,
  checkout: Checkout,
  orders: Orders,
  order: OrderPage,
  invoice: Invoice,
  profile: ProfilePage,
  login: LogIn,
  signup: SignUp,
  admin: AdminProducts,
  adminNew: AdminProduct,
  adminEdit: AdminProduct,
};

/** Pages that anyone may see. The services show products to users only. */
const OPEN: readonly RouteName[] = ['login', 'signup'];
const FOR_ADMINS: readonly RouteName[] = ['admin', 'adminNew', 'adminEdit'];

export function App() {
  return (
    <Layout>
      <CurrentPage />
    </Layout>
  );
}

function CurrentPage() {
  const { path, query } = place.value;
  const { name, params } = match(path);
  const state = session.value;
  if (name === 'missing') return <Missing />;
  if (state.state === 'failed') return <NotStarted error={state.error} />;
  const Shown = PAGES[name];
  if (OPEN.includes(name)) {
    return state.state === 'in' ? (
      <Go key={path} to={safeNext(query.get('next'))} />
    ) : (
      <Shown key={path} params={params} />
    );
  }
  if (state.state === 'starting') {
    if (name === 'shop') return state.likely === 'in' ? <ShopSkeleton /> : <Welcome />;
    return <Waiting />;
  }
  if (state.state !== 'in') {
    if (name === 'shop' && state.state === 'out') return <Welcome />;
    return <Go to={`${pathTo('login')}?next=${encodeURIComponent(path + location.search)}`} />;
  }
  if (FOR_ADMINS.includes(name) && !state.isAdmin) return <Forbidden />;
  // Another user starts with new pages, and so does another path.
  return <Shown key={`${state.uid} ${path}`} params={params} />;
}

/** The place of a page until it is known who is logged in. */
function Waiting() {
  return (
    <div class="page waiting">
      <LoadingText />
      <span class="skeleton heading" aria-hidden="true" />
      <div class="card">
        <Lines count={5} />
      </div>
    </div>
  );
}
