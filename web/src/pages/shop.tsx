import { announce } from '../announce';
import { ask, type Product } from '../api';
import { Page } from '../components/page';
import { Action, Lines, LoadingText, More, Notice, Price, Trouble } from '../components/parts';
import { Picture } from '../components/picture';
import { SearchBox, searchedWords } from '../components/search';
import { PAGE_SIZE, useList, type List } from '../list';
import { pathTo } from '../router';
import { basket } from '../shop';
import { stockText } from '../stock';

/** Load products page by page, all of them or those with these words. */
export function useProducts(words: string): List<Product> {
  return useList(`products ${words}`, (cursor, signal) =>
    ask('product', (client) =>
      client.GET('/products', {
        params: { query: { limit: PAGE_SIZE, ...(words ? { q: words } : {}), ...(cursor ? { cursor } : {}) } },
        signal,
      }),
    ),
  );
}

export function Shop() {
  const words = searchedWords();
  const { items, hasMore, busy, error, more, reload } = useProducts(words);
  return (
    <Page title="Shop" aside={<SearchBox path={pathTo('shop')} label="Search products" />}>
      <p class="visually-hidden" role="status">
        {resultText(items?.length, hasMore, words)}
      </p>
      {error !== undefined && <Trouble error={error} again={items && hasMore ? more : reload} />}
      {items === undefined && error === undefined && <CardSkeletons />}
      {items?.length === 0 && (
        <Notice kind="info">
          <p>{words ? `No product has “${words}” in its name or its description.` : 'The shop has no products yet.'}</p>
          {words && <a href={pathTo('shop')}>Show all products</a>}
        </Notice>
      )}
      {items !== undefined && items.length > 0 && (
        <ul role="list" class="cards" aria-label="Products">
          {items.map((product) => (
            <ProductCard key={product.id} product={product} />
          ))}
        </ul>
      )}
      {hasMore && (
        <More busy={busy} onClick={more}>
          Show more products
        </More>
      )}
    </Page>
  );
}

function resultText(count: number | undefined, hasMore: boolean, words: string): string {
  if (count === undefined) return 'Loading…';
  const products = count === 1 ? '1 product' : `${count} products`;
  return `${products}${words ? ` with “${words}”` : ''}${hasMore ? ', and there are more' : ''}`;
}

function ProductCard({ product }: { product: Product }) {
  const inBasket = basket.quantityOf(product.id);
  const isSoldOut = product.stock === 0;
  return (
    <li class="product-card">
      <a class="product-link" href={pathTo('product', { id: product.id })}>
        <Picture product={product} decorative />
        <span class="name">{product.name}</span>
      </a>
      <p class="facts">
        <Price value={product.price} />
        <span class="muted small-text">
          {stockText(product.stock)}
          {inBasket > 0 && `, ${inBasket} in your basket`}
        </span>
      </p>
      <Action
        class="secondary small"
        label={`Add to basket: ${product.name}`}
        disabled={isSoldOut || inBasket >= product.stock}
        onClick={() => {
          addToBasket(product, 1);
        }}
      >
        Add to basket
      </Action>
    </li>
  );
}

/** Add units of a product to the basket, and say so. */
export function addToBasket(product: Product, quantity: number): void {
  const isAdded = basket.add(product.id, product.name, quantity);
  announce(isAdded ? `Added to the basket: ${product.name}.` : 'The basket is full: it has 100 different products.');
}

function CardSkeletons() {
  return (
    <>
      <LoadingText />
      <ul role="list" class="cards" aria-hidden="true">
        {Array.from({ length: 8 }, (_, index) => (
          <li class="product-card" key={index}>
            <span class="product-link">
              <span class="skeleton picture" />
              <Lines class="name" />
            </span>
            <Lines class="facts" />
            <span class="skeleton pill" />
          </li>
        ))}
      </ul>
    </>
  );
}

/** The shop before it is known who is logged in. */
export function ShopSkeleton() {
  return (
    <Page title="Shop" aside={<span class="search skeleton" aria-hidden="true" />}>
      <CardSkeletons />
    </Page>
  );
}
