// Where inputs to be judged come from: stored ones without a label, most worth one first.

import { get, post } from '../api.js';

const AT_ONCE = 12;

/** The queue of a head: words about it, its labels, how to read, judge and undo. */
export async function sourceOf(owner, signal) {
  const { labels } = await get(`${owner.path}/labels`, {}, signal);
  return {
    words: 'Inputs without a label, those first that teach the head most. Press a digit for the class, Enter to confirm.',
    empty: 'Every stored input has a label. Upload some without one, and they are asked for here.',
    labels: labels.map((one) => one.label),
    verdicts: [['s', 'Skip', 'skip']],
    skipped: new Set(),

    async read() {
      const { suggestions } = await post(`${owner.path}/examples:suggest`, { count: AT_ONCE + this.skipped.size }, signal);
      return suggestions.filter((one) => !this.skipped.has(one.example.digest)).map((one) => ({
        key: one.example.digest, example: { ...one.example, input: one.input },
        predicted: one.predicted_label, probability: one.probability, scores: {}, reason: '',
      }));
    },

    async judge(item, label) {
      if (label === null) { this.skipped.add(item.key); return; }
      await this.update(item, { label });
      if (!this.labels.includes(label)) this.labels.push(label);
    },

    async undo(item) {
      if (!this.skipped.delete(item.key)) await this.update(item, {});
    },

    async update(item, given) {
      const { errors } = await post(`${owner.path}/examples:update`, { updates: [{ digest: item.key, ...given }] });
      if (errors.length) throw new Error(errors[0].message);
    },
  };
}
