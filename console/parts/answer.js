// An answer: classes with probabilities, the set, novelty, the decision, and the examples that are nearest.

import { h, percent } from './dom.js';
import { ofInput } from './picture.js';

const SHOWN = 5;

/** Bars of the most probable classes; `before` has the shares of an earlier answer, which are drawn thin. */
export function bars(scores, before) {
  const rows = Object.entries(scores).sort(([, one], [, other]) => other - one);
  const rest = rows.length - SHOWN;
  return h('dl', { class: 'bars' }, rows.slice(0, SHOWN).map(([label, share], at) => {
    const bar = h('span', { class: 'bar-of' }, h('span', { class: at ? 'fill' : 'fill best' }), before && h('span', { class: 'before' }));
    bar.firstChild.style.width = percent(share, 2);
    if (before) bar.lastChild.style.left = percent(before[label] ?? 0, 2);
    return h('div', {}, h('dt', { title: label }, label), h('dd', {}, bar, h('span', { class: 'share' }, percent(share))));
  }), rest > 0 && h('div', { class: 'soft small' }, `and ${rest} less probable`));
}

/** All of an answer's row. */
export function answerOf(row, before) {
  if (row.error) return h('p', { class: 'note bad' }, row.error.message);
  const parts = [];
  if (row.novel) parts.push(h('span', { class: 'tag two', title: `distance ${row.novelty?.toFixed(2)} of the threshold` }, 'like nothing it knows'));
  if (row.decision) parts.push(h('span', { class: `tag ${row.decision.endsWith('ACCEPT') ? 'good' : 'two'}` }, row.decision.endsWith('ACCEPT') ? 'accept' : 'for review'));
  if (row.set) parts.push(h('span', { class: 'tag', title: 'Holds the right class with 90 % probability' }, `90%: ${row.set.join(', ') || 'none of them'}`));
  if (row.live) parts.push(h('span', { class: 'tag one', title: 'Feedback since this version was made is part of the answer' }, 'live copy'));
  if (row.truncated) parts.push(h('span', { class: 'tag two', title: 'It is longer than the window of the backbone' }, 'only its beginning was read'));
  return h('div', { class: 'answer' }, row.abstained ? h('p', {}, 'No answer: it is like nothing that was taught.') : bars(row.scores, before),
    h('div', { class: 'tags' }, parts), row.neighbours?.length > 0 && neighbours(row.neighbours));
}

/** The nearest labelled examples, as the reason beside an answer. */
export function neighbours(found) {
  return h('div', { class: 'near' }, h('span', { class: 'soft small' }, 'Nearest examples'), h('ul', {}, found.map((one) => h('li', {},
    ofInput(one.example?.input ?? one.input, one.label), h('span', { class: 'small' }, one.label ?? one.example?.label)))));
}
