// Accuracy with its 95 % interval: the share in figures, and where it lies between 0 and 100 %.

import { h, percent, span, svg } from './dom.js';

/** Draws an interval on a line from 0 to 1. */
function line(estimate) {
  const at = (share) => `${(100 * share).toFixed(2)}%`;
  const { accuracy, accuracy_low: low, accuracy_high: high } = estimate;
  return svg('svg', { class: 'interval', 'aria-hidden': 'true' },
    svg('rect', { class: 'whole', width: '100%', height: 4, y: 4, rx: 2 }),
    svg('rect', { class: 'span', x: at(low), width: at(Math.max(.008, high - low)), height: 4, y: 4, rx: 2 }),
    svg('circle', { class: 'point', cx: at(accuracy), cy: 6, r: 4.5 }));
}

/** Shows an estimate; says so where there is none. */
export function accuracyOf(estimate, none = 'not measured') {
  if (!estimate) return span('soft', none);
  const interval = `${percent(estimate.accuracy_low, 0)} to ${percent(estimate.accuracy_high, 0)}`;
  return h('span', { class: 'accuracy', title: `${estimate.method}; 95 % interval` },
    h('strong', {}, percent(estimate.accuracy)), h('small', {}, interval), line(estimate));
}
