import { announce } from '../announce';
import { Page } from '../components/page';
import { Lines, LoadingText, Notice, Price, Trouble } from '../components/parts';
import { Picture } from '../components/picture';
import { Quantity } from '../components/quantity';
import { useKept, useLoad } from '../hooks';
import { linesOf, pricedLines, productsOf, type BasketLine } from '../lines';
import { totals } from '../money';
import { pathTo } from '../router';
import { basket } from '../shop';

export function BasketPage() {
  const items = basket.items.value;
  const ids = items.map(({ productId }) => productId);
  // The lines stay as they are while the products are asked for again.
  const { value: products, error, reload } = useLoad([...ids].sort().join(','), (signal) => productsOf(ids, signal));
  const known = useKept(products);
  if (items.length === 0) return <EmptyBasket />;
  if (error !== undefined && !known) {
    return (
      <Page title="Basket">
        <Trouble error={error} again={reload} />
      </Page>
    );
  }
  const lines = known ? linesOf(items, known) : null;
  return (
    <Page title="Basket">
      <div class="two-columns">
        <ul role="list" class="basket-lines" aria-label="Products in the basket">
          {lines
            ? lines.map((line) => <Line key={line.item.productId} line={line} />)
            : items.map((item) => <LineSkeleton key={item.productId} />)}
        </ul>
        <Summary lines={lines} />
      </div>
    </Page>
  );
}

function EmptyBasket() {
  return (
    <Page title="Basket" class="narrow">
      <p>Your basket is empty.</p>
      <p>
        <a class="button" href={pathTo('shop')}>
          Go to the shop
        </a>
      </p>
    </Page>
  );
}

function Line({ line: { item, product, problem } }: { line: BasketLine }) {
  return (
    <li class="basket-line">
      <Picture product={{ id: item.productId, name: item.name }} class="thumb" decorative />
      <div class="line-name">
        {product ? <a href={pathTo('product', { id: product.id })}>{product.name}</a> : item.name}
        {product && (
          <span class="muted small-text">
            <Price value={product.price} /> each
          </span>
        )}
        {problem && <span class="error-text">{problem}</span>}
      </div>
      <Quantity
        of={item.name}
        value={item.quantity}
        onValue={(quantity) => {
          basket.set(item.productId, item.name, quantity);
          announce(`${item.name}: ${quantity} in the basket.`);
        }}
      />
      <p class="line-amount">
        {product && <Price value={{ ...product.price, amount: product.price.amount * item.quantity }} />}
      </p>
      <button
        type="button"
        class="button quiet small"
        aria-label={`Remove ${item.name}`}
        onClick={() => {
          basket.set(item.productId, item.name, 0);
          announce(`Removed from the basket: ${item.name}.`);
          document.querySelector<HTMLElement>('h1')?.focus();
        }}
      >
        Remove
      </button>
    </li>
  );
}

function Summary({ lines }: { lines: BasketLine[] | null }) {
  const sums = lines ? totals(pricedLines(lines)) : [];
  const problem = lines ? basketProblem(lines, sums.length) : null;
  return (
    <section class="card stack summary" aria-labelledby="summary">
      <h2 id="summary">Summary</h2>
      {lines ? <Totals sums={sums} /> : <Lines />}
      <p class="muted small-text">Delivery is free.</p>
      {problem && (
        <Notice kind="warn">
          <p>{problem}</p>
        </Notice>
      )}
      {problem === null && lines ? (
        <a class="button" href={pathTo('checkout')}>
          Go to the checkout
        </a>
      ) : (
        <span class="button" aria-disabled="true">
          Go to the checkout
        </span>
      )}
      <p class="small-text">
        <a href={pathTo('shop')}>Look for more</a>
      </p>
    </section>
  );
}

/** The sum of an order: one amount, or one for each currency if there are several. */
export function Totals({ sums }: { sums: readonly { amount: number; currency: string }[] }) {
  return (
    <dl class="totals">
      {sums.map((sum) => (
        <div key={sum.currency}>
          <dt>Total</dt>
          <dd>
            <Price value={sum} />
          </dd>
        </div>
      ))}
    </dl>
  );
}

/** Return why the basket cannot be bought as it is, or null. */
export function basketProblem(lines: readonly BasketLine[], currencies: number): string | null {
  if (lines.some(({ problem }) => problem)) return 'Correct the marked products first.';
  if (currencies > 1) return 'The products have prices in different currencies. Buy them in separate orders.';
  return null;
}

function LineSkeleton() {
  return (
    <li class="basket-line">
      <LoadingText />
      <span class="skeleton picture thumb" />
      <Lines count={2} class="line-name" />
    </li>
  );
}
