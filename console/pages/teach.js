// Teach: classes are columns; what is dropped on one is uploaded at once, and a press trains.

import { follow, get, post, session } from '../api.js';
import { button, counted, div, h, number, percent, span, toast, wordsOf } from '../parts/dom.js';
import { accuracyOf } from '../parts/accuracy.js';
import { Page } from '../parts/page.js';
import { ofExample, ofSample } from '../parts/picture.js';
import { Upload } from '../parts/upload.js';
import '../parts/report.js';
import '../parts/take.js';

const SHOWN = 8; // of a class
const MOST_COLUMNS = 60;

class TeachTab extends Page {
  async draw() {
    const { owner } = this;
    this.kind = owner.backbone?.modality ?? 'image';
    this.upload = new Upload(owner.path, () => this.drawUpload(), this.signal);
    const words =
      this.kind === 'image'
        ? 'Drop a folder with a sub-folder of pictures for each class, or single pictures on a class below.'
        : 'Drop a table with the columns text and label (CSV, TSV, JSON lines), or a folder of texts for each class.';
    const take = h('take-inputs', {
      class: 'drop',
      kind: this.kind,
      folders: true,
      words,
      onInputs: (samples) => this.take(samples, null),
    });
    this.progress = h('div', { class: 'uploading', role: 'status', hidden: true });
    this.columns = div('columns');
    this.state = span('soft');
    this.trainer = button('Train', () => this.train(), { class: 'main' });
    this.result = h('section', { class: 'stack result', 'aria-live': 'polite' });
    this.append(take, this.progress, this.columns, div('dock', this.state, this.trainer), this.result);
    await this.fillColumns();
    if (owner.head.training) this.watch(owner.head.training);
  }

  /** Reads what is stored: a column for each label, with the first examples of it. */
  async fillColumns() {
    const { labels } = await get(`${this.owner.path}/labels`, {}, this.signal);
    this.classes = new Map();
    const shown = labels.filter((one) => one.example_count + one.held_out_count > 0);
    for (const one of shown.slice(0, MOST_COLUMNS)) this.column(one.label, one.example_count + one.held_out_count);
    this.beyond = shown.length - Math.min(shown.length, MOST_COLUMNS);
    while (this.classes.size < 2) this.column('');
    this.columns.append(
      (this.adder = button('+ New class', () => this.column('').title.focus(), { class: 'column adder' })),
    );
    this.drawState();
    for (const one of [...this.classes.values()]) {
      if (!one.label) continue;
      const query = { label: one.label, page_size: SHOWN, with_inputs: true };
      const { examples } = await get(`${this.owner.path}/examples`, query, this.signal);
      one.samples.append(...examples.map((example) => ofExample(this.owner.path, example, this.signal)));
    }
  }

  /** Adds a column. One without a label takes nothing until it has a name. */
  column(label, count = 0) {
    const one = { key: Symbol('class'), label, count };
    one.title = h('input', {
      class: 'title',
      value: label,
      placeholder: `Class ${this.classes.size + 1}`,
      'aria-label': 'Name of the class',
      maxlength: 200,
    });
    one.title.addEventListener('change', () => this.rename(one));
    one.counter = span('soft small');
    one.samples = div(`samples ${this.kind}`);
    const onInputs = (samples) => this.take(samples, one);
    one.element = h(
      'section',
      { class: 'column panel' },
      div('heading', one.title, one.counter),
      one.samples,
      this.kind === 'text' && this.writer(onInputs),
      h('take-inputs', {
        kind: this.kind,
        camera: true,
        words: this.kind === 'image' ? 'Drop pictures here' : 'Drop texts here',
        onInputs,
      }),
    );
    this.classes.set(one.key, one);
    if (this.adder) this.adder.before(one.element);
    else this.columns.append(one.element);
    this.drawCount(one);
    return one;
  }

  writer(onInputs) {
    const area = h('textarea', {
      placeholder: 'Write or paste texts, one a line',
      'aria-label': 'Texts of this class, one a line',
    });
    const add = () => {
      const lines = area.value
        .split('\n')
        .map((line) => line.trim())
        .filter(Boolean);
      if (lines.length) onInputs(lines.map((text) => ({ kind: 'text', label: null, text })));
      area.value = '';
    };
    area.addEventListener('keydown', (event) => event.key === 'Enter' && (event.ctrlKey || event.metaKey) && add());
    return div('writer', area, h('button', { type: 'button', onclick: add }, 'Add texts'));
  }

  find(label) {
    return [...this.classes.values()].find((one) => one.label === label);
  }

  /** Takes samples: all of one class if they came to its column, else by their own labels. */
  take(samples, given) {
    if (given && !given.label)
      this.name(
        given,
        samples.find((sample) => sample.label)?.label ?? `class ${[...this.classes.values()].indexOf(given) + 1}`,
      );
    const unlabelled = samples.filter((sample) => !given && !sample.label);
    for (const sample of samples) {
      sample.label = given ? given.label : sample.label;
      if (!sample.label) continue;
      let one = this.find(sample.label);
      if (!one && this.classes.size < MOST_COLUMNS) {
        one = [...this.classes.values()].find((empty) => !empty.label && !empty.count) ?? this.column('');
        this.name(one, sample.label);
      }
      if (!one) continue;
      one.count += 1;
      one.samples.prepend(ofSample(sample));
      while (one.samples.childElementCount > SHOWN) one.samples.lastChild.remove();
    }
    if (unlabelled.length)
      toast(`${counted(unlabelled.length, 'input')} without a class: found under Review and Examples.`);
    this.classes.forEach((one) => this.drawCount(one));
    this.upload.add(samples);
  }

  name(one, label) {
    one.label = label;
    one.title.value = label;
  }

  async rename(one) {
    const label = one.title.value.trim().normalize('NFC');
    const before = one.label;
    const other = this.find(label);
    if (!label || label === before) {
      one.title.value = before;
      return;
    }
    if (other) {
      toast(`There is a class ${label} already.`);
      one.title.value = before;
      return;
    }
    this.name(one, label);
    if (!one.count) return;
    try {
      await post(`${this.owner.path}/labels:rename`, { label: before, new_label: label });
      await this.owner.refresh();
    } catch (error) {
      this.name(one, before);
      toast(wordsOf(error));
    }
  }

  drawCount(one) {
    one.element.setAttribute('aria-label', one.label || 'New class');
    one.counter.textContent = one.count ? counted(one.count, 'example') : '';
    this.drawState();
  }

  drawState() {
    const filled = [...this.classes.values()].filter((one) => one.count);
    const examples = filled.reduce((sum, one) => sum + one.count, 0);
    const more = this.beyond > 0 ? `, and ${counted(this.beyond, 'class', 'classes')} more` : '';
    this.trainer.disabled = this.upload.busy || this.training || filled.length < 2;
    this.state.textContent = this.upload.busy
      ? 'Uploading …'
      : this.training
        ? 'Training …'
        : filled.length < 2
          ? 'Two classes with some examples each are enough to begin.'
          : `${counted(examples, 'example')} of ${counted(filled.length, 'class', 'classes')}${more}`;
  }

  drawUpload() {
    const { upload } = this;
    const { done, total, known, failed, problems, stopped, busy } = upload;
    this.progress.hidden = !busy && !stopped && !failed;
    const words = [
      `${number(done)} of ${number(total)}`,
      known && `${number(known)} known already`,
      failed && `${number(failed)} refused`,
    ].filter(Boolean);
    this.progress.replaceChildren(
      ...[
        div(
          'line',
          span('', stopped ?? (busy ? 'Uploading' : 'Uploaded')),
          span('soft', words.join(' · ')),
          busy && !stopped && button('Pause', () => upload.pause(), { class: 'plain' }),
          stopped && !busy && button('Continue', () => upload.go(), { class: 'main' }),
        ),
        h('progress', { max: Math.max(1, total), value: done, 'aria-label': 'Upload' }),
        problems.length > 0 &&
          h(
            'details',
            {},
            h('summary', {}, 'What was refused, and why'),
            h(
              'ul',
              { class: 'small' },
              problems.map((one) => h('li', {}, one)),
            ),
          ),
      ].filter(Boolean),
    );
    this.drawState();
  }

  /** Trains; with fine-tuning or a look for novelty where that is asked for. */
  async train() {
    if (session.may('TRAIN') === false) return;
    const { training } = await post(`${this.owner.path}:train`);
    await this.watch(training.name);
  }

  async watch(name) {
    this.training = true;
    this.drawState();
    const bar = h('progress', { max: 1, value: 0, 'aria-label': 'Training' });
    const phase = span('', 'Training');
    const cancel = button('Cancel', () => post(`v1/${name}:cancel`), { class: 'plain' });
    this.result.replaceChildren(div('uploading', div('line', phase, cancel), bar));
    try {
      const done = await follow(
        name,
        (now) => {
          bar.value = now.progress;
          phase.textContent = `${now.phase || 'Waiting'} · ${percent(now.progress, 0)}`;
        },
        this.signal,
      );
      await this.owner.refresh();
      this.drawResult(done);
    } catch (error) {
      if (error.name !== 'AbortError')
        this.result.replaceChildren(h('p', { class: 'note bad', role: 'alert' }, wordsOf(error)));
    }
    this.training = false;
    this.drawState();
  }

  drawResult(done) {
    const { ids, head, path } = this.owner;
    const answers = done.activated ? 'It answers from now on.' : done.inactive_reason;
    this.result.replaceChildren(
      div(
        'panel done',
        div('', h('h2', {}, `Version ${done.version} is trained`), h('p', { class: 'soft' }, answers)),
        done.activated && accuracyOf(head.estimate, 'too few examples to measure it'),
        h('a', { class: 'button main', href: `#/head/${ids[0]}/${ids[1]}/try` }, 'Try it'),
      ),
      div('panel', h('report-page', { path: `${path}/versions/${done.version}/report` })),
    );
    this.result.scrollIntoView({ behavior: 'smooth', block: 'start' });
  }
}

customElements.define('teach-tab', TeachTab);
