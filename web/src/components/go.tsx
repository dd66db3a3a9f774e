import { useEffect } from 'preact/hooks';

import { navigate } from '../router';

/** Leads to another page, in place of the present one. */
export function Go({ to }: { to: string }) {
  useEffect(() => {
    navigate(to, { replace: true });
  }, [to]);
  return null;
}
