import { Page } from '../components/page';
import { Notice, Trouble } from '../components/parts';
import { ConfigError } from '../config';
import { ApiError, describe } from '../problems';
import { pathTo } from '../router';
import { startSession } from '../session';

export function Missing() {
  return (
    <Page title="Page not found" class="narrow">
      <p>There is no page at this address. It may have moved, or the address has a typing error.</p>
      <p>
        <a class="button" href={pathTo('shop')}>
          Go to the shop
        </a>
      </p>
    </Page>
  );
}

export function Forbidden() {
  return (
    <Page title="For administrators" class="narrow">
      <p>Only administrators may manage products, and your account is not one.</p>
      <p>
        <a class="button" href={pathTo('shop')}>
          Go to the shop
        </a>
      </p>
    </Page>
  );
}

/** The storefront cannot start: its configuration or its scripts did not arrive. */
export function NotStarted({ error }: { error: unknown }) {
  return (
    <Page title="The shop did not start" class="narrow">
      {error instanceof ConfigError ? (
        <Notice kind="bad">
          <p>The shop's configuration is wrong. {error.message}</p>
          <button type="button" class="button secondary small" onClick={() => void startSession()}>
            Try again
          </button>
        </Notice>
      ) : (
        <Notice kind="bad">
          <p>A part of the shop could not be loaded. Your connection may be down.</p>
          <button
            type="button"
            class="button secondary small"
            onClick={() => {
              location.reload();
            }}
          >
            Try again
          </button>
        </Notice>
      )}
    </Page>
  );
}

/** Codes after which another attempt does not help. An address whose id cannot be one is "request_invalid". */
const NOT_THERE = ['request_invalid', 'product_not_found', 'bill_not_found'];

/** What a customer sees in place of something that was not found or could not be loaded. */
export function NotLoaded({ title, error, again }: { title: string; error: unknown; again: () => void }) {
  if (error instanceof ApiError && NOT_THERE.includes(error.code)) {
    return (
      <Page title={title} class="narrow">
        <p>{error.code === 'request_invalid' ? 'There is nothing at this address.' : describe(error)}</p>
        <p>
          <a class="button" href={pathTo('shop')}>
            Go to the shop
          </a>
        </p>
      </Page>
    );
  }
  return (
    <Page title={title} class="narrow">
      <Trouble error={error} again={again} />
    </Page>
  );
}
