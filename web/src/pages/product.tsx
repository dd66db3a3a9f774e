import { useState } from 'preact/hooks';

import { ask, type Product } from '../api';
import { Page } from '../components/page';
import { Action, Lines, LoadingText, Price } from '../components/parts';
import { Picture } from '../components/picture';
import { Quantity } from '../components/quantity';
import { useLoad } from '../hooks';
import { pathTo } from '../router';
import { session } from '../session';
import { basket } from '../shop';
import { stockText } from '../stock';
import { NotLoaded } from './messages';
import { addToBasket } from './shop';

export function loadProduct(id: string, signal?: AbortSignal): Promise<Product> {
  return ask('product', (client) =>
    client.GET('/products/{product_id}', {
      params: { path: { product_id: id } },
      ...(signal ? { signal } : {}),
    }),
  );
}

export function ProductPage({ params }: { params: Readonly<Record<string, string>> }) {
  const id = params['id'] ?? '';
  const { value, error, reload } = useLoad(id, (signal) => loadProduct(id, signal));
  if (error !== undefined) return <NotLoaded title="Product" error={error} again={reload} />;
  return (
    <Page title={value?.name ?? 'Product'} class="product">
      <div class="product-columns">
        {value ? <Picture product={value} class="large" /> : <span class="skeleton picture large" />}
        {value ? <Details product={value} /> : <DetailsSkeleton />}
      </div>
      <p>
        <a href={pathTo('shop')}>Back to the shop</a>
      </p>
    </Page>
  );
}

function Details({ product }: { product: Product }) {
  const [quantity, setQuantity] = useState(1);
  const inBasket = basket.quantityOf(product.id);
  const available = product.stock - inBasket;
  const isAdmin = session.value.state === 'in' && session.value.isAdmin;
  return (
    <div class="stack details">
      <p class="price">
        <Price value={product.price} />
      </p>
      <p class="description">{product.description}</p>
      <p class="muted">{stockText(product.stock)}</p>
      <div class="row">
        <Quantity of={product.name} value={quantity} max={Math.max(available, 1)} onValue={setQuantity} />
        <Action
          disabled={available < quantity}
          onClick={() => {
            addToBasket(product, quantity);
            setQuantity(1);
          }}
        >
          Add to basket
        </Action>
      </div>
      <p class="in-basket">
        {inBasket > 0 && (
          <>
            {inBasket} in your basket. <a href={pathTo('basket')}>Go to the basket</a>
          </>
        )}
      </p>
      {isAdmin && (
        <p>
          <a href={pathTo('adminEdit', { id: product.id })}>Edit this product</a>
        </p>
      )}
    </div>
  );
}

function DetailsSkeleton() {
  return (
    <div class="stack details">
      <LoadingText />
      <Lines class="price" />
      <Lines count={3} />
    </div>
  );
}
