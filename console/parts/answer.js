// An answer: classes with probabilities, the set, novelty, the decision, and the nearest examples.

import { div, h, percent, span } from './dom.js';
import { ofExample } from './picture.js';

const SHOWN = 5;

/** Bars of the most probable classes; `before` has the shares of an earlier answer, which are drawn thin. */
export function bars(scores, before) {
  const rows = Object.entries(scores).sort(([, one], [, other]) => other - one);
  const rest = rows.length - SHOWN;
  return h('dl', { class: 'bars' }, rows.slice(0, SHOWN).map(([label, share], at) => {
    const bar = span('bar-of', h('span', { class: at ? 'fill' : 'fill best' }), before && span('before'));
    bar.firstChild.style.width = percent(share, 2);
    if (before) bar.lastChild.style.left = percent(before[label] ?? 0, 2);
    return div('', h('dt', { title: label }, label), h('dd', {}, bar, span('share', percent(share))));
  }), rest > 0 && div('soft small', `and ${rest} less probable`));
}

/** All of an answer's row: what it is, and what else is known of it. */
export function answerOf(row, before) {
  if (row.error) return h('p', { class: 'note bad' }, row.error.message);
  const tags = [
    row.novel && ['two', 'like nothing it knows', `distance ${row.novelty?.toFixed(2)} of the threshold`],
    row.decision && [row.decision === 'accept' ? 'good' : 'two', row.decision === 'accept' ? 'accept' : 'for review', 'by the rule of the head'],
    row.set && ['', `90%: ${row.set.join(', ') || 'none of them'}`, 'holds the right class with 90% probability'],
    row.live && ['one', 'live copy', 'feedback since this version was made is part of the answer'],
    row.described && ['two', 'by description', 'it stands on what classes were said to mean: nothing is known of how right it is'],
    row.truncated && ['two', 'only its beginning was read', 'it is longer than the window of the backbone'],
  ].filter(Boolean);
  return h('div', { class: 'answer' },
    row.abstained ? h('p', {}, 'No answer: it is like nothing that was taught.') : bars(row.scores, before),
    div('tags', tags.map(([tone, words, title]) => h('span', { class: `tag ${tone}`, title }, words))));
}

/** The nearest labelled examples, as the reason beside an answer. */
export function nearest(path, found, signal) {
  return div('near', span('soft small', 'Nearest examples'),
    h('ul', {}, found.map((one) => h('li', { title: `similarity ${one.similarity.toFixed(3)}` },
      ofExample(path, { digest: one.digest, has_input: true }, signal), span('small', one.label)))));
}
