import { signal } from '@preact/signals';

import { browserStore } from './storage';

export type Theme = 'system' | 'light' | 'dark';

const KEY = 'shop.theme';
const stored = browserStore.read(KEY);

/** The colours that the user chose. "system" follows the system's setting. */
export const theme = signal<Theme>(stored === 'light' || stored === 'dark' ? stored : 'system');

export function applyTheme(): void {
  if (theme.value === 'system') delete document.documentElement.dataset['theme'];
  else document.documentElement.dataset['theme'] = theme.value;
}

export function chooseTheme(chosen: Theme): void {
  theme.value = chosen;
  browserStore.write(KEY, chosen === 'system' ? null : chosen);
  applyTheme();
}
