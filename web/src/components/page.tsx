import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';

export const SHOP_NAME = 'Demo Shop';

let isFirstPage = true;

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
  useEffect(() => {
    document.title = `${title} · ${SHOP_NAME}`;
  }, [title]);
  useEffect(() => {
    if (!isFirstPage) heading.current?.focus({ preventScroll: true });
    isFirstPage = false;
  }, []);
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
