import { useEffect, useRef } from 'preact/hooks';

import { ask } from '../api';
import { Page } from '../components/page';
import { LoadingText } from '../components/parts';
import { useLoad } from '../hooks';
import { pathTo } from '../router';
import { NotLoaded } from './messages';

export function Invoice({ params }: { params: Readonly<Record<string, string>> }) {
  const id = params['id'] ?? '';
  const frame = useRef<HTMLIFrameElement>(null);
  const { value, error, reload } = useLoad(id, (signal) =>
    ask<'billing', string>('billing', (client) =>
      client.GET('/bills/{bill_id}/invoice', { params: { path: { bill_id: id } }, parseAs: 'text', signal }),
    ),
  );
  useEffect(() => {
    if (value !== undefined && frame.current) fill(frame.current, value);
  }, [value]);
  if (error !== undefined) return <NotLoaded title="Invoice" error={error} again={reload} />;
  return (
    <Page
      title="Invoice"
      aside={
        <div class="row">
          <a class="button secondary small" href={pathTo('order', { id })}>
            Back to the order
          </a>
          <button
            type="button"
            class="button small"
            aria-disabled={value === undefined}
            onClick={() => {
              if (value !== undefined) frame.current?.contentWindow?.print();
            }}
          >
            Print
          </button>
        </div>
      }
    >
      {value === undefined && <LoadingText />}
      <iframe ref={frame} class="invoice" title="Invoice" sandbox="allow-same-origin allow-modals" tabIndex={0} />
    </Page>
  );
}

const STYLE = /<style>([^<]*)<\/style>/;

/**
 * Show Billing's page in a frame that runs no scripts.
 *
 * The page needs a token, so a link to it does not work. And it has a style sheet inside, which our
 * Content-Security-Policy does not allow, also in a frame. So its content is moved into the frame, and its style sheet
 * is adopted there.
 */
function fill(frame: HTMLIFrameElement, html: string): void {
  const target = frame.contentDocument;
  const view = frame.contentWindow as (Window & typeof globalThis) | null;
  if (!target || !view) return;
  const page = new DOMParser().parseFromString(html.replace(STYLE, ''), 'text/html');
  target.title = page.title;
  target.documentElement.lang = page.documentElement.lang;
  target.body.replaceChildren(...[...page.body.childNodes].map((node) => target.importNode(node, true)));
  const sheet = new view.CSSStyleSheet();
  sheet.replaceSync(STYLE.exec(html)?.[1] ?? '');
  target.adoptedStyleSheets = [sheet];
}
