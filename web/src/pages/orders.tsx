import { ask, type Bill } from '../api';
import { Page } from '../components/page';
import { Lines, LoadingText, More, Price, Trouble } from '../components/parts';
import { Picture } from '../components/picture';
import { PAGE_SIZE, useList } from '../list';
import { pathTo } from '../router';
import { session } from '../session';

const dates = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'long', year: 'numeric' });
const times = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });

/** Return the day of a time of the API: "26 November 2026". */
export function dateText(time: string): string {
  return dates.format(new Date(time));
}

export function Orders() {
  const isAdmin = session.value.state === 'in' && session.value.isAdmin;
  const { items, hasMore, busy, error, more, reload } = useList<Bill>('bills', (cursor, signal) =>
    ask('billing', (client) =>
      client.GET('/bills', { params: { query: { limit: PAGE_SIZE, ...(cursor ? { cursor } : {}) } }, signal }),
    ),
  );
  return (
    <Page title={isAdmin ? 'Orders of all customers' : 'Your orders'}>
      {error !== undefined && <Trouble error={error} again={items && hasMore ? more : reload} />}
      {items === undefined && error === undefined && <OrdersSkeleton />}
      {items?.length === 0 && (
        <>
          <p>There are no orders yet.</p>
          <p>
            <a class="button" href={pathTo('shop')}>
              Go to the shop
            </a>
          </p>
        </>
      )}
      {items !== undefined && items.length > 0 && (
        <ul role="list" class="orders" aria-label="Orders">
          {items.map((bill) => (
            <OrderRow key={bill.id} bill={bill} />
          ))}
        </ul>
      )}
      {hasMore && (
        <More busy={busy} onClick={more}>
          Show more orders
        </More>
      )}
    </Page>
  );
}

/** How many pictures a row has place for. */
const PICTURES = 3;

function OrderRow({ bill }: { bill: Bill }) {
  const [first, ...others] = bill.lines;
  return (
    <li>
      <a class="card order-row" href={pathTo('order', { id: bill.id })}>
        <span class="order-pictures" aria-hidden="true">
          {bill.lines.slice(0, PICTURES).map((line) => (
            <Picture
              key={line.product_id}
              product={{ id: line.product_id, name: line.name }}
              class="thumb"
              decorative
            />
          ))}
        </span>
        <span class="line-name">
          <span>
            {first?.name}
            {others.length > 0 && ` and ${others.length} more`}
          </span>
          <time class="muted small-text" dateTime={bill.created_at}>
            {dateText(bill.created_at)}, {times.format(new Date(bill.created_at))}
          </time>
        </span>
        <Price value={bill.total} />
      </a>
    </li>
  );
}

function OrdersSkeleton() {
  return (
    <>
      <LoadingText />
      <ul role="list" class="orders" aria-hidden="true">
        {Array.from({ length: 4 }, (_, index) => (
          <li key={index}>
            <span class="card order-row">
              <span class="skeleton picture thumb" />
              <Lines count={2} class="line-name" />
            </span>
          </li>
        ))}
      </ul>
    </>
  );
}
