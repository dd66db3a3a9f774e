// The page Calls: new calls in the list, and the numbers of the picture, as they happen.
import { element, listen } from './live.js';

const list = /** @type {HTMLTableSectionElement} */ (element('calls'));
const empty = element('empty');
const form = /** @type {HTMLFormElement} */ (element('filters'));
const pause = element('pause');
const maxRows = Number(list.dataset.max);
const PULSE_MS = 700;

let isPaused = false;
let missed = 0;

/** @param {{ html: string, count: number }} news */
function addCalls({ html, count }) {
  if (isPaused) {
    missed += count;
    pause.textContent = `Continue (${missed} new)`;
    return;
  }
  empty.hidden = true;
  list.insertAdjacentHTML('afterbegin', html);
  while (list.rows.length > maxRows) list.deleteRow(-1);
}

/** @param {{ id: number, took: string }[]} answers */
function addAnswers(answers) {
  for (const { id, took } of answers) {
    const cell = list.querySelector(`[data-call="${id}"] .took`);
    if (cell) cell.textContent = took;
  }
}

/** @param {{ hops: string[], refused: string[] }} news */
function pulse({ hops, refused }) {
  for (const hop of hops) {
    for (const group of document.querySelectorAll(`[data-hop="${hop}"]`)) {
      group.classList.add('is-busy');
      group.classList.toggle('is-refusing', refused.includes(hop));
      setTimeout(() => group.classList.remove('is-busy', 'is-refusing'), PULSE_MS);
    }
  }
}

/**
 * @typedef {{ rate: string, took: string, refused: string, state: string }} Hop
 * @param {{ hops: Record<string, Hop>, notes: Record<string, string>, rows: string }} numbers
 */
function showNumbers({ hops, notes, rows }) {
  for (const [id, hop] of Object.entries(hops)) {
    for (const shown of document.querySelectorAll(`[data-hop="${id}"], [data-label="${id}"]`)) {
      shown.classList.remove('idle', 'active', 'refused');
      shown.classList.add(hop.state);
    }
    for (const label of document.querySelectorAll(`[data-label="${id}"]`)) {
      const texts = [hop.rate, hop.took, hop.refused];
      label.querySelectorAll('tspan').forEach((line, index) => (line.textContent = texts[index] ?? ''));
    }
  }
  for (const [part, note] of Object.entries(notes)) {
    for (const shown of document.querySelectorAll(`[data-note="${part}"]`)) shown.textContent = note;
  }
  element('hops').innerHTML = rows;
}

pause.hidden = false;
pause.addEventListener('click', () => {
  isPaused = !isPaused;
  pause.setAttribute('aria-pressed', String(isPaused));
  if (isPaused) pause.textContent = 'Continue';
  else location.reload();
});

// The filters are the query of the URL. A filter that admits all is not in it.
const filters = [...form.querySelectorAll('select')];
element('apply').hidden = true;
form.addEventListener('change', () => form.requestSubmit());
form.addEventListener('submit', () => {
  for (const select of filters) select.disabled = !select.value;
});
// A filter may have been chosen before this script ran.
const isChosen = (/** @type {HTMLSelectElement} */ select) =>
  select.value !== (select.querySelector('option[selected]')?.getAttribute('value') ?? '');
if (filters.some(isChosen)) form.requestSubmit();

listen(`/calls/events${location.search}`, {
  calls: addCalls,
  answers: addAnswers,
  hops: pulse,
  picture: showNumbers,
});
