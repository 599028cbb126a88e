// Where inputs to be judged come from: what was kept of the traffic, then stored ones without a label.

import { get, post } from '../api.js';
import { accuracyOf } from './accuracy.js';
import { counted, div, span } from './dom.js';

const AT_ONCE = 12;
const NEAREST = 3;
const REASONS = {
  uncertain: 'Kept because the head was not sure.', novel: 'Kept because it is like nothing the head knows.',
  conformal: 'Kept because not exactly one class was likely.', random: 'Kept by chance: it tells how often answers are right.',
  always: 'Kept because the caller asked for it.',
};
const KINDS = { skip: 'SKIP', none: 'NONE_OF_THESE', junk: 'JUNK', undo: 'REOPEN' };
// Tells tabs apart that show the same key, so that no two are given the same.
const REVIEWER = `console-${Math.random().toString(36).slice(2, 12)}`;

/** The queue of a head: words about it, its labels, and how to read, judge and undo. */
export async function sourceOf(owner, signal) {
  const { labels } = await get(`${owner.path}/labels`, {}, signal);
  const names = labels.map((one) => one.label);
  return owner.head.capture || owner.head.capture_count ? new Captured(owner, names, signal) : new Unlabelled(owner, names, signal);
}

/** Answers of the traffic that were kept for this: a judgement is learned before the next ones are asked for. */
class Captured {
  constructor(owner, labels, signal) {
    Object.assign(this, { owner, labels, signal, waiting: 0 });
    this.empty = 'Everything that was kept of the traffic has been judged.';
    this.verdicts = [['s', 'Skip', 'skip'], ['n', 'None of these', 'none'], ['j', 'Junk', 'junk']];
  }

  get words() {
    return `${counted(this.waiting, 'answer')} of the traffic to be judged, the least sure first.`;
  }

  async read(held) {
    const asked = { page_size: AT_ONCE, order: 'REVIEW_ORDER_LEAST_SURE', lease: true, reviewer: REVIEWER, with_inputs: true, neighbours: NEAREST };
    const { reviews, waiting } = await post(`${this.owner.path}/reviews:list`, asked, this.signal);
    this.waiting = waiting;
    return reviews.filter((one) => !held.has(one.id)).map((one) => ({
      key: one.id, example: { ...one, label: null }, predicted: one.answer[0]?.label, probability: one.answer[0]?.probability,
      scores: Object.fromEntries(one.answer.map((row) => [row.label, row.probability])), reason: REASONS[one.reason] ?? '',
      neighbours: one.neighbours ?? [],
    }));
  }

  /** How often what was served was right, as the share that was kept by chance tells. */
  async served() {
    const { accuracy } = await get(`${this.owner.path}:servedAccuracy`, {}, this.signal);
    if (!accuracy?.right && !accuracy?.wrong) return null;
    return div('', span('soft small', 'Right of what was served'), accuracyOf({ ...accuracy, method: 'of what was kept by chance' }));
  }

  async judge(item, label, verdict) {
    const same = label !== null && label === item.predicted;
    await this.send({ id: item.key, kind: `JUDGEMENT_KIND_${same ? 'CONFIRM' : KINDS[verdict] ?? 'CORRECT'}`, ...(label !== null && !same ? { label } : {}) });
    if (label !== null && !this.labels.includes(label)) this.labels.push(label);
    this.waiting -= 1;
  }

  async undo(item) {
    await this.send({ id: item.key, kind: 'JUDGEMENT_KIND_REOPEN' });
    this.waiting += 1;
  }

  async send(judgement) {
    const { errors } = await post(`${this.owner.path}/reviews:judge`, { judgements: [judgement] });
    if (errors.length) throw new Error(errors[0].message);
  }
}

/** Stored inputs without a label, most worth one first. */
class Unlabelled {
  constructor(owner, labels, signal) {
    Object.assign(this, { owner, labels, signal, skipped: new Set() });
    this.words = 'Inputs without a label, those first that teach the head most.';
    this.empty = 'Every stored input has a label. Upload some without one, and they are asked for here.';
    this.verdicts = [['s', 'Skip', 'skip']];
  }

  async read() {
    const count = Math.min(1000, AT_ONCE + this.skipped.size);
    const { suggestions } = await post(`${this.owner.path}/examples:suggest`, { count }, this.signal);
    return suggestions.filter((one) => !this.skipped.has(one.example.digest)).map((one) => ({
      key: one.example.digest, example: { ...one.example, input: one.input },
      predicted: one.predicted_label, probability: one.probability, scores: {}, reason: '',
    }));
  }

  async judge(item, label) {
    if (label === null) {
      this.skipped.add(item.key);
      return;
    }
    await this.update({ digest: item.key, label });
    if (!this.labels.includes(label)) this.labels.push(label);
  }

  async undo(item) {
    if (!this.skipped.delete(item.key)) await this.update({ digest: item.key });
  }

  async update(update) {
    const { errors } = await post(`${this.owner.path}/examples:update`, { updates: [update] });
    if (errors.length) throw new Error(errors[0].message);
  }
}
