import type { Product } from '../api';
import { Page } from '../components/page';
import { Lines, LoadingText, More, Notice, Price, Trouble } from '../components/parts';
import { Picture } from '../components/picture';
import { SearchBox, searchedWords } from '../components/search';
import { pathTo } from '../router';
import { useProducts } from './shop';

export function AdminProducts() {
  const words = searchedWords();
  const { items, hasMore, busy, error, more, reload } = useProducts(words);
  return (
    <Page
      title="Manage products"
      aside={
        <div class="row admin-tools">
          <SearchBox path={pathTo('admin')} label="Search products" />
          <a class="button" href={pathTo('adminNew')}>
            Add a product
          </a>
        </div>
      }
    >
      {error !== undefined && <Trouble error={error} again={items && hasMore ? more : reload} />}
      {items === undefined && error === undefined && <RowSkeletons />}
      {items?.length === 0 && (
        <Notice kind="info">
          <p>{words ? `No product has “${words}” in its name or its description.` : 'The shop has no products yet.'}</p>
        </Notice>
      )}
      {items !== undefined && items.length > 0 && (
        <ul role="list" class="card admin-list" aria-label="Products">
          {items.map((product) => (
            <Row key={product.id} product={product} />
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

function Row({ product }: { product: Product }) {
  return (
    <li class="admin-row">
      <Picture product={product} class="thumb" decorative />
      <span class="line-name">{product.name}</span>
      <span class={`badge ${product.stock === 0 ? 'bad' : product.stock <= 10 ? 'warn' : ''}`}>
        {product.stock} in stock
      </span>
      <span class="amount">
        <Price value={product.price} />
      </span>
      <a
        class="button secondary small"
        href={pathTo('adminEdit', { id: product.id })}
        aria-label={`Edit ${product.name}`}
      >
        Edit
      </a>
    </li>
  );
}

function RowSkeletons() {
  return (
    <>
      <LoadingText />
      <ul role="list" class="card admin-list" aria-hidden="true">
        {Array.from({ length: 8 }, (_, index) => (
          <li key={index} class="admin-row">
            <span class="skeleton picture thumb" />
            <Lines class="line-name" />
          </li>
        ))}
      </ul>
    </>
  );
}
