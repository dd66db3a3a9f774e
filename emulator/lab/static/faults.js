// The page Faults: the load, the faults, and what customers notice, live.

import { SILENT, fail, find, put, ready, send } from './actions.js';
import { listen } from './live.js';

/**
 * @typedef {{ state: string, error: string | null, left: number | null }} Fault
 * @typedef {{ running: boolean, waiting: number, faults: Record<string, Fault>,
 *   numbers: { bills: number, failed: number, median: number | null, slowest: number | null },
 *   strip: string, notices: string }} News
 */

const load = find('#load', HTMLButtonElement);
const loadFailure = find('#load-failure', HTMLElement);
const strip = find('#strip', HTMLElement);
const notices = find('#notices', HTMLElement);
const cards = [...document.querySelectorAll('article.fault')].filter((card) => card instanceof HTMLElement);

let drawn = '';
let told = '';

/** @param {News} news */
function show(news) {
  load.dataset['running'] = String(news.running);
  load.textContent = news.running ? 'Stop buying' : 'Start buying';
  load.classList.toggle('secondary', news.running);
  const { bills, failed, median, slowest } = news.numbers;
  const ms = (/** @type {number | null} */ value) => (value === null ? '–' : `${value} ms`);
  const numbers = { bills, failed, median: ms(median), slowest: ms(slowest), waiting: news.waiting };
  for (const [name, value] of Object.entries(numbers)) {
    find(`[data-number="${name}"]`, HTMLElement).textContent = String(value);
  }
  if (drawn !== news.strip) put(strip, news.strip);
  if (told !== news.notices) put(notices, news.notices);
  drawn = news.strip;
  told = news.notices;
  for (const card of cards) {
    const fault = news.faults[card.dataset['fault'] ?? ''];
    if (fault) showFault(card, fault);
  }
}

/**
 * @param {HTMLElement} card
 * @param {Fault} fault
 */
function showFault(card, fault) {
  card.dataset['state'] = fault.state;
  const badge = find('[data-badge]', HTMLElement, card);
  const words = { off: '', beginning: 'beginning …', on: 'on', ending: 'ending …' };
  const text = words[/** @type {keyof typeof words} */ (fault.state)] ?? '';
  const left = fault.left === null ? '' : `, ends by itself in ${fault.left} s`;
  badge.textContent = text + left;
  badge.className = fault.state === 'off' ? 'badge' : 'badge warn';
  const error = find('[data-error]', HTMLElement, card);
  error.hidden = !fault.error;
  error.textContent = fault.error ?? '';
  find('[data-action="begin"]', HTMLButtonElement, card).disabled = fault.state !== 'off';
  const end = card.querySelector('[data-action="end"]');
  if (end instanceof HTMLButtonElement) end.disabled = fault.state !== 'on';
}

/** @param {{ ok: boolean, status: number, text: string }} answer */
function reason(answer) {
  if (answer.ok) return '';
  if (answer.status === 0) return SILENT;
  try {
    return String(JSON.parse(answer.text).error);
  } catch {
    return `The lab answered ${answer.status}.`;
  }
}

load.addEventListener('click', () => {
  const action = load.dataset['running'] === 'true' ? 'stop' : 'start';
  load.disabled = true;
  void send(`/faults/load/${action}`, load).then((answer) => {
    load.disabled = false;
    fail(loadFailure, reason(answer));
  });
});

for (const card of cards) {
  card.addEventListener('click', (event) => {
    const button = event.target instanceof Element ? event.target.closest('button[data-action]') : null;
    if (!(button instanceof HTMLButtonElement)) return;
    void send(`/faults/${card.dataset['fault'] ?? ''}/${button.dataset['action'] ?? ''}`, button).then((answer) => {
      const error = find('[data-error]', HTMLElement, card);
      error.textContent = reason(answer);
      error.hidden = answer.ok;
    });
  });
}

listen('/faults/events', { news: show });
ready();
