// Try: an input in, its answer out; one press corrects it, and the next answer shows what was learned.

import { post, reviews, session } from '../api.js';
import { answerOf, nearest } from '../parts/answer.js';
import { button, div, h, nothing, percent, span, toast, wordsOf } from '../parts/dom.js';
import { inputOf } from '../parts/inputs.js';
import { Page } from '../parts/page.js';
import { ofSample } from '../parts/picture.js';
import '../parts/take.js';

const MOST_SHOWN = 50;
const MOST_CHIPS = 12;
const NEAREST = 5;

class TryTab extends Page {
  draw() {
    const { head, backbone, ids } = this.owner;
    if (!head.active_version) {
      this.append(
        nothing(
          'Nothing to ask yet',
          'It answers as soon as it is trained.',
          session.may('TRAIN') &&
            h('a', { class: 'button main', href: `#/head/${ids[0]}/${ids[1]}/teach` }, 'Teach it'),
        ),
      );
      return;
    }
    const kind = backbone?.modality ?? 'image';
    this.asked = {
      conformal_level: 0.9,
      ...(reviews(head) && session.may('LABEL', 'TRAIN') ? { neighbours: NEAREST } : {}),
    };
    const onInputs = (samples) => samples.slice(0, MOST_SHOWN).forEach((sample) => this.ask(sample));
    this.answers = h('div', { class: 'answers', 'aria-live': 'polite' });
    this.append(
      div(
        'asking',
        kind === 'text' && this.writer(onInputs),
        h('take-inputs', {
          class: 'drop',
          kind,
          camera: true,
          onInputs,
          words: kind === 'image' ? 'Drop, paste or shoot a picture.' : 'Or drop a file of texts.',
        }),
      ),
      this.answers,
    );
  }

  writer(onInputs) {
    const area = h('textarea', { placeholder: 'A text to be told apart', 'aria-label': 'Text' });
    const send = () => area.value.trim() && onInputs([{ kind: 'text', text: area.value.trim(), name: 'text' }]);
    area.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || event.shiftKey) return;
      event.preventDefault();
      send();
    });
    area.addEventListener('input', () => {
      area.classList.toggle('filled', Boolean(area.value));
    });
    return div('writer', area, h('button', { type: 'button', class: 'main', onclick: send }, 'Ask'));
  }

  /** Shows a card for a sample, with its answer as soon as there is one. */
  async ask(sample) {
    const card = h(
      'article',
      { class: 'panel asked' },
      div('shown', ofSample(sample)),
      div('said', h('p', { class: 'soft' }, '…')),
    );
    this.answers.prepend(card);
    while (this.answers.childElementCount > MOST_SHOWN) this.answers.lastChild.remove();
    const said = card.querySelector('.said');
    try {
      const input = await inputOf(sample);
      const row = await this.predict(input);
      this.drawAnswer(said, input, row);
    } catch (error) {
      said.replaceChildren(h('p', { class: 'note bad', role: 'alert' }, wordsOf(error)));
    }
  }

  async predict(input) {
    const ask = () => post(`${this.owner.path}:predict`, { inputs: [input], ...this.asked }, this.signal);
    const { predictions } = await ask().catch((error) => {
      // A version of descriptions, of few examples or from elsewhere has no held-out scores to make sets with.
      if (error.field !== 'conformal_level') throw error;
      delete this.asked.conformal_level;
      return ask();
    });
    return predictions[0];
  }

  drawAnswer(said, input, row, before, words) {
    said.replaceChildren(answerOf(row, before?.scores), ...(words ? [h('p', { class: 'note good' }, words)] : []));
    if (row.neighbours?.length) said.append(nearest(this.owner.path, row.neighbours, this.signal));
    if (!row.error && session.may('FEEDBACK')) said.append(this.corrections(said, input, row));
  }

  /** A press for each class, the answer's own first; a new class where the head may learn one. */
  corrections(said, input, row) {
    const { head } = this.owner;
    const labels = Object.keys(row.scores ?? {}).length ? Object.keys(row.scores) : head.labels;
    const chips = labels
      .slice(0, MOST_CHIPS)
      .map((label) =>
        button(label, () => this.correct(said, input, row, label), {
          class: label === row.label ? 'chip same' : 'chip',
          title: label === row.label ? 'Confirm' : 'Correct',
        }),
      );
    const other = h('input', {
      class: 'other',
      placeholder: head.allow_new_labels ? 'another class' : 'class',
      'aria-label': 'Another class',
      maxlength: 200,
    });
    const form = h('form', {}, other);
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      if (!other.value.trim()) return;
      try {
        await this.correct(said, input, row, other.value.trim());
      } catch (error) {
        toast(wordsOf(error));
      }
    });
    return div(
      'correct',
      span('soft small', 'It is'),
      chips,
      (head.allow_new_labels || labels.length > MOST_CHIPS) && form,
    );
  }

  async correct(said, input, row, label) {
    said.inert = true; // one judgement at a time
    try {
      const feedback = [{ id: crypto.randomUUID?.() ?? '', input, label }];
      const answer = await post(`${this.owner.path}:feedback`, { feedback });
      if (answer.errors.length) throw new Error(answer.errors[0].message);
      const now = await this.predict(input);
      const share = (one) => percent(one.scores?.[label] ?? 0, 0);
      this.drawAnswer(
        said,
        input,
        now,
        row,
        now.live
          ? `Learned: ${label} ${share(row)} before, ${share(now)} now.`
          : `Noted: ${label}. The active version answers until the live copy takes over.`,
      );
    } finally {
      said.inert = false;
    }
    await this.owner.refresh();
  }
}

customElements.define('try-tab', TryTab);
