import { signal } from '@preact/signals';

/** What a screen reader says next. The live region in the layout shows it. */
export const announcement = signal('');

let turn = 0;

/** Say something that happened without a change of the page, such as "Added to the basket". */
export function announce(text: string): void {
  // The same text twice is no change, so a screen reader would not say it again.
  turn += 1;
  announcement.value = turn % 2 ? text : `${text}\u00a0`;
}
