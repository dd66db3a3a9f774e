import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';

export const SHOP_NAME = 'Demo Shop';

let lastTitle: string | null = null;

/** Note which page is shown. Returns whether it took the place of another one. */
export function notePage(title: string): boolean {
  const isAnother = lastTitle !== null && lastTitle !== title;
  lastTitle = title;
  document.title = title === SHOP_NAME ? title : `${title} · ${SHOP_NAME}`;
  return isAnother;
}

interface PageProps {
  /** The page's name, in the browser's tab and as its heading. */
  title: string;
  /** What stands beside the heading. */
  aside?: ComponentChildren;
  class?: string;
  children: ComponentChildren;
}

/** A page with its title. After a way inside the shop, the heading has the focus, so a screen reader says where we are. */
export function Page({ title, aside, class: className = '', children }: PageProps) {
  const heading = useRef<HTMLHeadingElement>(null);
  const isMounted = useRef(false);
  useEffect(() => {
    // A page that took the place of its own skeleton, or that now knows its name, does not move the focus.
    if (notePage(title) && !isMounted.current) heading.current?.focus({ preventScroll: true });
    isMounted.current = true;
  }, [title]);
  return (
    <div class={`page ${className}`}>
      <div class="page-head">
        <h1 ref={heading} tabIndex={-1}>
          {title}
        </h1>
        {aside}
      </div>
      {children}
    </div>
  );
}
