// The page "What if it leaks?": calls, and thefts of these calls.

import { SILENT, fail, find, get, put, ready, send } from './actions.js';

const wire = find('#wire', HTMLElement);
const all = find('#all', HTMLButtonElement);
const result = find('#result', HTMLElement);

/** Show times in the time zone of the browser. */
function showTimes() {
  for (const element of document.querySelectorAll('time[data-at]')) {
    if (element instanceof HTMLTimeElement) element.textContent = clock(Number(element.dataset['at']));
  }
  for (const element of document.querySelectorAll('time[data-until]')) {
    if (!(element instanceof HTMLTimeElement)) continue;
    const until = Number(element.dataset['until']);
    const minutes = Math.ceil((until * 1000 - Date.now()) / 60_000);
    element.textContent =
      minutes > 0 ? `until ${clock(until)}, ${minutes} more minutes` : `it ended at ${clock(until)}`;
  }
}

/** @param {number} seconds since the epoch */
function clock(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString(undefined, { hour12: false });
}

/**
 * Put a new state of a part in place. The button that was pushed keeps the focus.
 *
 * @param {HTMLElement} part
 * @param {{ status: number, text: string }} answer
 * @param {string} selector of the button
 */
function replace(part, answer, selector) {
  const hadFocus = part.contains(document.activeElement);
  if (answer.status === 0) {
    const place = part.querySelector('.failure') ?? part.appendChild(document.createElement('div'));
    place.className = 'failure';
    fail(place, SILENT);
    return;
  }
  put(part, answer.text);
  showTimes();
  const button = part.querySelector(selector);
  if (hadFocus && button instanceof HTMLButtonElement) button.focus();
}

/**
 * @param {HTMLElement} way
 * @param {string} action
 */
async function act(way, action) {
  const selector = `button[data-action="${action}"]`;
  const answer = await send(
    `/leaks/ways/${way.dataset['way'] ?? ''}/${action}`,
    find(selector, HTMLButtonElement, way),
  );
  replace(way, answer, selector);
  return answer.ok;
}

const ways = [...document.querySelectorAll('article.way')].filter((way) => way instanceof HTMLElement);
for (const way of ways) {
  way.addEventListener('click', (event) => {
    const button = event.target instanceof Element ? event.target.closest('button[data-action]') : null;
    if (button instanceof HTMLButtonElement) void act(way, button.dataset['action'] ?? '');
  });
}

all.addEventListener('click', () => {
  all.disabled = true;
  void (async () => {
    for (const way of ways) {
      if (await act(way, 'buy')) await act(way, 'steal');
    }
    const stolen = ways.map((way) => way.querySelector('[data-stolen]')?.textContent ?? '');
    result.textContent = `Bills by the thief, from left to right: ${stolen.join(', ')}.`;
    all.disabled = false;
    all.focus();
  })();
});

wire.addEventListener('click', (event) => {
  const button = event.target instanceof Element ? event.target.closest('button') : null;
  if (!(button instanceof HTMLButtonElement)) return;
  const call = button.dataset['call'] ?? '';
  const selector = call ? `button[data-call="${call}"]` : 'button[data-action="listen"]';
  void (async () => {
    const answer =
      button.dataset['action'] === 'rob'
        ? await send(`/leaks/wire/${call}/steal`, button)
        : await get(`/leaks/wire${call ? `?call=${call}` : ''}`, button);
    replace(wire, answer, button.dataset['action'] === 'rob' ? 'button[data-action="rob"]' : selector);
  })();
});

showTimes();
setInterval(showTimes, 15_000);
ready();
