// The page Attacks: send an attack and show its outcome, or send all and count.

import { SILENT, fail, find, get, put, ready, send } from './actions.js';
import { listen } from './live.js';

/**
 * @typedef {{ right: boolean, answer: string, check: number | null, by: string }} Row
 * @typedef {{ running: boolean, done: number, planned: number, failure: string | null, attacks: number,
 *   refused: number, controls: number, kept: number, complete: boolean, checks: Record<string, number>,
 *   rows: Record<string, Row> }} Board
 */

const panel = find('#panel', HTMLElement);
const run = find('#run', HTMLButtonElement);
const score = find('#score', HTMLElement);
const kept = find('#kept', HTMLElement);
const progress = find('#progress', HTMLProgressElement);
const failure = find('#run-failure', HTMLElement);
const filter = find('#filter', HTMLInputElement);
const buttons = [...document.querySelectorAll('button.attack')].filter((one) => one instanceof HTMLButtonElement);

/** @type {Board | null} */
let board = null;

/** @param {Board} news */
function show(news) {
  board = news;
  run.disabled = news.running;
  run.textContent = news.running ? 'Running …' : 'Run all';
  progress.max = news.planned;
  progress.value = news.running || Object.keys(news.rows).length > 2 ? news.done : 0;
  const wasRun = news.done > 0;
  if (wasRun) {
    score.textContent = `${news.refused} of ${news.attacks} refused`;
    kept.textContent = `${news.kept} of ${news.controls} calls without a flaw accepted, at the beginning and at the end.`;
  }
  score.classList.toggle('all-good', wasRun && news.complete);
  fail(failure, news.failure ?? '');
  for (const [number, count] of Object.entries(news.checks)) {
    find(`[data-check="${number}"] [data-count]`, HTMLElement).textContent = String(count);
  }
  for (const button of buttons) showRow(button, news.rows[button.dataset['attack'] ?? '']);
}

/**
 * @param {HTMLButtonElement} button
 * @param {Row | undefined} row
 */
function showRow(button, row) {
  const badge = find('[data-verdict]', HTMLElement, button);
  const text = row ? `${row.right ? '✓' : '✗'} ${row.answer}` : (button.dataset['expected'] ?? '');
  if (badge.textContent === text) return;
  badge.textContent = text;
  badge.className = row ? `badge ${row.right ? 'good' : 'bad'}` : 'badge';
}

/** @param {HTMLButtonElement} button */
async function choose(button) {
  for (const other of buttons) other.removeAttribute('aria-current');
  button.setAttribute('aria-current', 'true');
  const id = button.dataset['attack'] ?? '';
  // After a run, the outcome is known already. A second push sends the attack again.
  const isKnown = board?.rows[id] && panel.dataset['shows'] !== id;
  const path = isKnown ? `/attacks/outcome/${id}` : `/attacks/try/${id}`;
  const answer = isKnown ? await get(path, button) : await send(path, button);
  if (answer.status === 0) fail(panel, SILENT);
  else put(panel, answer.text);
  panel.dataset['shows'] = answer.ok ? id : '';
  if (window.matchMedia('(width < 60rem)').matches) panel.scrollIntoView({ block: 'start' });
  panel.focus({ preventScroll: true });
}

function applyFilter() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  let any = false;
  for (const group of document.querySelectorAll('details.group')) {
    if (!(group instanceof HTMLDetailsElement)) continue;
    let shown = 0;
    for (const item of group.querySelectorAll('li')) {
      const text = (item.textContent ?? '').toLowerCase();
      item.hidden = !words.every((word) => text.includes(word));
      if (!item.hidden) shown += 1;
    }
    group.hidden = shown === 0;
    if (words.length > 0 && shown > 0) group.open = true;
    any ||= shown > 0;
  }
  find('#no-match', HTMLElement).hidden = any;
}

for (const button of buttons) button.addEventListener('click', () => void choose(button));
filter.addEventListener('input', applyFilter);
run.addEventListener('click', () => {
  run.disabled = true;
  void send('/attacks/run', run).then((answer) => {
    if (answer.ok) return;
    run.disabled = false;
    fail(failure, SILENT);
  });
});
listen('/attacks/events', { board: show });
ready();
