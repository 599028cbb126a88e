// Review: one input after another, judged with the keys 1 to 9; what is most worth a label comes first.

import { post, reviews, session } from '../api.js';
import { bars, nearest } from '../parts/answer.js';
import { button, counted, div, h, nothing, span, toast, wordsOf } from '../parts/dom.js';
import { Page } from '../parts/page.js';
import { nameOf, ofExample } from '../parts/picture.js';
import { sourceOf } from '../parts/queue.js';

const MOST_KEYS = 9;
const KEPT = { uncertain_share: 1, random_share: 0.05 };

class ReviewTab extends Page {
  async draw() {
    this.queue = [];
    this.done = [];
    this.source = await sourceOf(this.owner, this.signal);
    this.stage = h('div', { class: 'stage', tabindex: -1 });
    this.words = h('p', { class: 'soft' });
    this.append(div('top', this.words, div('actions', await this.source.served?.(), this.keeper())), this.stage);
    this.press = (event) => this.pressed(event);
    window.addEventListener('keydown', this.press);
    await this.next();
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    window.removeEventListener('keydown', this.press);
  }

  /** Keeps some of the traffic for review, or no more; nothing where the server cannot. */
  keeper() {
    const { head, path } = this.owner;
    if (!reviews(head) || !session.may('TRAIN')) return null;
    const capture = head.capture ? { off: true } : KEPT;
    return button(
      head.capture ? 'Keep no more of the traffic' : 'Keep some of the traffic',
      async () => {
        await post(`${path}:update`, { capture });
        await this.owner.refresh();
        this.owner.open('review');
        toast(
          head.capture
            ? 'What is kept stays until it expires.'
            : 'What the head is not sure of is kept, and one in twenty by chance.',
        );
      },
      { class: 'plain' },
    );
  }

  async next() {
    if (!this.queue.length) this.queue = await this.source.read(new Set(this.done.map((one) => one.key)));
    this.item = this.queue.shift();
    this.drawItem();
  }

  drawItem() {
    const { item, done } = this;
    this.words.textContent = `${this.source.words} Keys: a digit for the class, Enter to confirm, U to undo.`;
    const count = h(
      'span',
      { class: 'soft', role: 'status' },
      done.length ? `${counted(done.length, 'judgement')} so far` : '',
    );
    const back = button('Undo', () => this.undo(), { class: 'plain', title: 'U' });
    back.disabled = !done.length;
    if (!item) {
      this.stage.replaceChildren(nothing('Nothing to judge', this.source.empty, done.length > 0 && back));
      return;
    }
    const labels = this.labels();
    const chips = labels.map((label, at) =>
      button([at < MOST_KEYS && h('kbd', {}, at + 1), label], () => this.judge(label), {
        class: label === item.predicted ? 'chip same' : 'chip',
      }),
    );
    const other = h('input', {
      placeholder: 'another class',
      'aria-label': 'Another class',
      maxlength: 200,
      list: 'review-labels',
    });
    const form = h(
      'form',
      {},
      other,
      h(
        'datalist',
        { id: 'review-labels' },
        this.source.labels.map((label) => h('option', { value: label })),
      ),
    );
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      if (other.value.trim()) this.judge(other.value.trim());
    });
    this.stage.replaceChildren(
      h(
        'article',
        { class: 'panel judged' },
        h(
          'figure',
          {},
          ofExample(this.owner.path, item.example, this.signal),
          h('figcaption', { class: 'soft small' }, nameOf(item.example)),
        ),
        div(
          'said',
          item.predicted
            ? bars({ [item.predicted]: item.probability, ...item.scores })
            : h('p', { class: 'soft' }, 'The head has no opinion yet.'),
          item.reason && h('p', { class: 'soft small' }, item.reason),
          item.neighbours?.length ? nearest(this.owner.path, item.neighbours, this.signal) : null,
          div('correct', span('soft small', 'It is'), chips, form),
          div(
            'actions',
            this.source.verdicts.map(([key, words, verdict]) =>
              button([h('kbd', {}, key), words], () => this.judge(null, verdict), { class: 'plain' }),
            ),
            back,
            count,
          ),
        ),
      ),
    );
  }

  /** What the head says first, then the others in their order, so that a key always means the same. */
  labels() {
    return this.source.labels.slice(0, 30);
  }

  pressed(event) {
    if (
      event.target.closest?.('input, textarea, select, dialog') ||
      event.ctrlKey ||
      event.metaKey ||
      event.altKey ||
      this.judging
    )
      return;
    const key = event.key.toLowerCase();
    const label = this.labels()[Number(key) - 1];
    const verdict = this.source.verdicts.find(([one]) => one === key);
    if (key === 'u') this.undo();
    else if (this.item && key === 'enter' && this.item.predicted && !event.target.closest?.('button, a'))
      this.judge(this.item.predicted);
    else if (this.item && /^[1-9]$/.test(key) && label) this.judge(label);
    else if (this.item && verdict) this.judge(null, verdict[2]);
    else return;
    event.preventDefault();
  }

  async judge(label, verdict = null) {
    if (this.judging || !this.item) return;
    this.judging = true;
    const { item } = this;
    try {
      await this.source.judge(item, label, verdict);
      this.done.push(item);
      await this.next();
    } catch (error) {
      toast(wordsOf(error));
    }
    this.judging = false;
  }

  /** Takes the last judgement back, and shows its input again. */
  async undo() {
    const item = this.done.pop();
    if (!item) return;
    try {
      await this.source.undo(item);
      if (this.item) this.queue.unshift(this.item);
      this.item = item;
      this.drawItem();
    } catch (error) {
      this.done.push(item);
      toast(wordsOf(error));
    }
  }
}

customElements.define('review-tab', ReviewTab);
