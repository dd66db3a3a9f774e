import { useState } from 'preact/hooks';

import { announce } from '../announce';
import { ask, type NewProduct, type Product } from '../api';
import { Form, SelectField, TextArea, TextField } from '../components/fields';
import { Page } from '../components/page';
import { Action, Confirm, Lines, LoadingText, Notice, Trouble } from '../components/parts';
import { Picture } from '../components/picture';
import { forgetDraft, useDraft, useLoad } from '../hooks';
import { forgetLists } from '../list';
import {
  changesOf,
  checkProduct,
  conflictsOf,
  draftOf,
  MAX_DESCRIPTION,
  MAX_NAME,
  NEW_DRAFT,
  PRODUCT_FIELDS,
  toProduct,
  type ProductField,
} from '../product-form';
import { fieldMessages, type FieldMessages } from '../problems';
import { navigate, pathTo } from '../router';
import { NotLoaded } from './messages';
import { loadProduct } from './product';

export function AdminProduct({ params }: { params: Readonly<Record<string, string>> }) {
  const id = params['id'];
  return id === undefined ? (
    <Page title="Add a product" class="narrow">
      <ProductForm />
    </Page>
  ) : (
    <EditProduct id={id} />
  );
}

function EditProduct({ id }: { id: string }) {
  const { value, error, reload } = useLoad(id, (signal) => loadProduct(id, signal));
  if (error !== undefined) return <NotLoaded title="Edit product" error={error} again={reload} />;
  return (
    <Page title={value ? `Edit ${value.name}` : 'Edit product'} class="narrow">
      {value ? (
        <>
          <ProductForm product={value} />
          <DeleteProduct product={value} />
        </>
      ) : (
        <div class="card stack">
          <LoadingText />
          <Lines count={6} class="tall" />
        </div>
      )}
    </Page>
  );
}

/** The form of a new product, or of one that exists. */
function ProductForm({ product }: { product?: Product }) {
  const draftName = `product.${product?.id ?? 'new'}`;
  const [draft, change] = useDraft(draftName, product ? draftOf(product) : NEW_DRAFT);
  const [seen, setSeen] = useState(product);
  const [errors, setErrors] = useState<FieldMessages<ProductField>>({});
  const [failure, setFailure] = useState<unknown>(null);
  const [conflicts, setConflicts] = useState<string[]>([]);
  const [busy, setBusy] = useState(false);

  async function save(wanted: NewProduct): Promise<Product | null> {
    if (!product || !seen) return ask('product', (client) => client.POST('/products', { body: wanted }));
    const changes = changesOf(wanted, product);
    if (Object.keys(changes).length === 0) return product;
    const present = await loadProduct(product.id);
    const found = conflictsOf(changes, seen, present);
    // "Save" once more means to save over what is there now.
    setSeen(present);
    setConflicts(found);
    if (found.length > 0) return null;
    return ask('product', (client) =>
      client.PATCH('/products/{product_id}', { params: { path: { product_id: product.id } }, body: changes }),
    );
  }

  async function submit(): Promise<void> {
    if (busy) return;
    const found = checkProduct(draft);
    setErrors(found);
    setFailure(null);
    if (Object.keys(found).length > 0) return;
    setBusy(true);
    try {
      const saved = await save(toProduct(draft));
      if (saved) {
        forgetDraft(draftName);
        leave(product ? `Saved: ${saved.name}.` : `Added: ${saved.name}.`);
        return;
      }
    } catch (error) {
      setErrors(fieldMessages(error, PRODUCT_FIELDS));
      setFailure(error);
    }
    setBusy(false);
  }

  const field = (name: ProductField) => ({
    name,
    value: draft[name],
    error: errors[name],
    onValue: (value: string) => {
      change({ [name]: value });
    },
  });
  return (
    <Form
      label={product ? 'Edit product' : 'New product'}
      errors={errors}
      onSubmit={() => void submit()}
      class="card stack"
    >
      <div class="row product-preview">
        <Picture product={{ id: product?.id ?? 'new', name: draft.name }} class="thumb" decorative />
        <p class="muted small-text">The picture is chosen by the name.</p>
      </div>
      <TextField label="Name" maxLength={MAX_NAME} {...field('name')} />
      <TextArea label="Description" optional maxLength={MAX_DESCRIPTION} {...field('description')} />
      <div class="price-grid">
        <TextField label="Price" inputMode="decimal" {...field('price')} />
        <SelectField label="Currency" options={CURRENCIES} {...field('currency')} />
        <TextField label="Stock" inputMode="numeric" {...field('stock')} />
      </div>
      {conflicts.length > 0 && (
        <Notice kind="warn">
          <p>Someone has changed this product since you opened it, so it is not saved yet.</p>
          <ul>
            {conflicts.map((conflict) => (
              <li key={conflict}>{conflict}</li>
            ))}
          </ul>
          <p>Save again to replace this with what you entered.</p>
        </Notice>
      )}
      {failure !== null && <Trouble error={failure} />}
      <div class="row">
        <Action type="submit" busy={busy} busyText="Saving…">
          {product ? 'Save' : 'Add the product'}
        </Action>
        <a class="button secondary" href={pathTo('admin')}>
          Cancel
        </a>
      </div>
    </Form>
  );
}

const CURRENCIES = ['USD', 'EUR', 'GBP', 'CHF', 'JPY', 'CAD', 'AUD', 'SEK', 'NOK', 'DKK', 'PLN', 'KWD'].map((code) => ({
  value: code,
  text: code,
}));

function DeleteProduct({ product }: { product: Product }) {
  const [isAsking, setIsAsking] = useState(false);
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<unknown>(null);
  async function remove(): Promise<void> {
    setBusy(true);
    setFailure(null);
    try {
      await ask('product', (client) =>
        client.DELETE('/products/{product_id}', { params: { path: { product_id: product.id } } }),
      );
      leave(`Deleted: ${product.name}.`);
    } catch (error) {
      setFailure(error);
      setBusy(false);
    }
  }
  return (
    <section class="card stack" aria-labelledby="delete">
      <h2 id="delete">Delete this product</h2>
      <p class="muted">Existing orders keep its name and price.</p>
      <div>
        <button
          type="button"
          class="button danger"
          onClick={() => {
            setFailure(null);
            setIsAsking(true);
          }}
        >
          Delete
        </button>
      </div>
      {isAsking && (
        <Confirm
          title={`Delete ${product.name}?`}
          action="Delete it"
          busy={busy}
          onConfirm={() => void remove()}
          onClose={() => {
            setIsAsking(false);
          }}
        >
          <p>Customers can no longer buy it. This cannot be undone.</p>
          {failure !== null && <Trouble error={failure} />}
        </Confirm>
      )}
    </section>
  );
}

/** Go back to the list, which is loaded again. */
function leave(text: string): void {
  forgetLists();
  navigate(pathTo('admin'));
  announce(text);
}
