// The page Charts: the drawings and the tables, drawn again by the server every few seconds.
import { element, listen } from './live.js';

/** @param {{ id: string, figure: string, table: string }[]} charts */
function show(charts) {
  for (const { id, figure, table } of charts) {
    element(`figure-${id}`).innerHTML = figure;
    element(`table-${id}`).innerHTML = table;
  }
}

listen('/charts/events', { charts: show });
