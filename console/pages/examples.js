// Examples: a grid of what the head is taught, with filters; what is selected gets another label, or goes.

import { get, post, reviews, session } from '../api.js';
import { ask, button, counted, div, h, nothing, percent, select, span, toast } from '../parts/dom.js';
import { listed, Page } from '../parts/page.js';
import { nameOf, ofExample } from '../parts/picture.js';

const PAGE = 48;
const MOST_DIGESTS = 200;
const VIEWS = [
  ['all', 'All'],
  ['suspects', 'Perhaps mislabelled'],
  ['copies', 'Nearly the same'],
  ['suggested', 'Most worth a label'],
];

class ExamplesTab extends Page {
  async draw() {
    this.selected = new Map();
    const { labels } = await get(`${this.owner.path}/labels`, {}, this.signal);
    this.labels = labels.map((one) => one.label);
    this.view = select(VIEWS, 'all', { 'aria-label': 'Which examples', onchange: () => this.fill() });
    this.label = select([['', 'every class'], ...this.labels.map((one) => [one, one])], '', {
      'aria-label': 'Class',
      onchange: () => this.fill(),
    });
    const text = this.owner.backbone?.modality === 'text';
    this.search = h('input', {
      type: 'search',
      'aria-label': 'Search',
      placeholder: text ? 'words, or key=value' : 'name, or key=value',
      hidden: !reviews(this.owner.head),
      onchange: () => this.fill(),
    });
    this.count = h('span', { class: 'soft', role: 'status' });
    this.grid = h('ul', { class: 'grid' });
    this.bar = h('div', { class: 'dock selection', hidden: true });
    this.append(
      div('filters', this.view, this.label, this.search, this.count),
      (this.below = div('', this.grid)),
      this.bar,
    );
    await this.fill();
  }

  /** Fills the grid anew, as the filters say; with what is like one example, if that is asked for. */
  async fill(like = null) {
    this.like = like;
    this.selected.clear();
    this.drawBar();
    this.grid.replaceChildren();
    this.below.replaceChildren(this.grid);
    this.label.hidden = this.view.value !== 'all';
    const count = await listed(this.grid, (token) => this.read(token), this.below);
    const all = this.view.value === 'all' && !this.label.value && !this.search.value && !like;
    this.count.textContent = all ? counted(this.owner.head.example_count, 'example') : '';
    if (!count)
      this.below.replaceChildren(
        nothing(
          all ? 'No examples yet' : 'None of these',
          all ? 'What is taught is shown here.' : 'Nothing that is stored fits.',
        ),
      );
  }

  async read(token) {
    const { path } = this.owner;
    const found = this.like
      ? await this.similar(path)
      : await { all: this.all, suspects: this.suspects, copies: this.copies, suggested: this.suggested }[
          this.view.value
        ].call(this, path, token);
    return [found.rows.map(([example, words]) => this.cell(example, words)), found.token];
  }

  async all(path, token) {
    const query = {
      page_size: PAGE,
      page_token: token,
      with_inputs: true,
      ...(this.label.value ? { label: this.label.value } : {}),
    };
    const answer = this.search.value.trim()
      ? await post(`${path}/examples:search`, { ...query, ...this.sought() }, this.signal)
      : await get(`${path}/examples`, query, this.signal);
    return { rows: answer.examples.map((example) => [example, '']), token: answer.next_page_token };
  }

  /** What the field of the search means: a pair of metadata, words of texts, or the name of a picture. */
  sought() {
    const sought = this.search.value.trim();
    const [, key, value] = sought.match(/^([A-Za-z0-9._-]+)=(.*)$/) ?? [];
    if (key) return { metadata: { pairs: { [key]: value } } };
    return this.owner.backbone?.modality === 'text' ? { text: sought } : { external_ids: [sought] };
  }

  async similar(path) {
    const asked = { input: { digest: this.like }, count: PAGE, unlabelled: true, with_inputs: true };
    const { similar } = await post(`${path}/examples:similar`, asked, this.signal);
    return { rows: similar.map((one) => [one.example, `like it: ${one.similarity.toFixed(2)}`]) };
  }

  async suggested(path) {
    const { suggestions } = await post(`${path}/examples:suggest`, { count: PAGE }, this.signal);
    return {
      rows: suggestions.map((one) => [
        { ...one.example, input: one.input },
        one.predicted_label && `${one.predicted_label} ${percent(one.probability, 0)}?`,
      ]),
    };
  }

  async suspects(path) {
    const report = await this.report(path);
    return this.named(
      path,
      (report?.likely_mislabelled ?? []).map((one) => [
        one.digest,
        `${one.predicted_label} ${percent(one.predicted_probability, 0)}?`,
      ]),
    );
  }

  async copies(path) {
    const report = await this.report(path);
    return this.named(
      path,
      (report?.near_duplicates ?? []).flatMap((one) => [
        [one.digest, `like one of ${one.other_label}`],
        [one.other_digest, `like one of ${one.label}`],
      ]),
    );
  }

  async report(path) {
    if (!this.owner.head.active_version) return null;
    return (await get(`${path}/versions/active/report`, {}, this.signal)).report;
  }

  /** Reads examples by their digests, in the order given. */
  async named(path, pairs) {
    const some = pairs.slice(0, MOST_DIGESTS);
    if (!some.length) return { rows: [] };
    const found = new Map();
    for (let at = 0; at < some.length; at += PAGE) {
      const digests = [...new Set(some.slice(at, at + PAGE).map(([digest]) => digest))];
      const { examples } = await get(`${path}/examples`, { digests, with_inputs: true, page_size: 1000 }, this.signal);
      for (const example of examples) found.set(example.digest, example);
    }
    return { rows: some.filter(([digest]) => found.has(digest)).map(([digest, words]) => [found.get(digest), words]) };
  }

  cell(example, words) {
    const made = h(
      'button',
      { type: 'button', class: 'cell', 'aria-pressed': 'false' },
      ofExample(this.owner.path, example, this.signal),
      span(
        'under',
        span('label', example.label ?? 'no label'),
        words && span('tag two', words),
        example.source === 'feedback' &&
          h('span', { class: 'tag one', title: 'Its label came by feedback' }, 'feedback'),
        example.held_out && h('span', { class: 'tag', title: 'Kept for testing, never trained on' }, 'held out'),
      ),
    );
    made.title = nameOf(example);
    made.example = example;
    made.addEventListener('click', (event) => this.toggle(made, event.shiftKey));
    return h('li', {}, made);
  }

  /** Selects a cell or lets go of it; with shift, all from the last one on. */
  toggle(cell, range) {
    const cells = [...this.grid.querySelectorAll('.cell')];
    const at = cells.indexOf(cell);
    const from = range && this.last !== undefined ? this.last : at;
    const on = !this.selected.has(cell.example.digest);
    for (const one of cells.slice(Math.min(from, at), Math.max(from, at) + 1)) {
      one.setAttribute('aria-pressed', String(on));
      on ? this.selected.set(one.example.digest, one) : this.selected.delete(one.example.digest);
    }
    this.last = at;
    this.drawBar();
  }

  drawBar() {
    this.bar.hidden = !this.selected.size;
    if (this.bar.hidden) return;
    if (!this.bar.childElementCount) {
      const label = h('input', { 'aria-label': 'New label', placeholder: 'label', list: 'labels', maxlength: 200 });
      const relabel = h(
        'form',
        { class: 'actions' },
        label,
        h(
          'datalist',
          { id: 'labels' },
          this.labels.map((one) => h('option', { value: one })),
        ),
        h('button', { class: 'main' }, 'Relabel'),
      );
      relabel.addEventListener('submit', (event) => {
        event.preventDefault();
        if (label.value.trim()) this.relabel(label.value.trim());
      });
      this.bar.append(
        (this.words = h('strong', {})),
        relabel,
        (this.liker = button('Find similar', () => this.fill([...this.selected.keys()][0]), { class: 'plain' })),
        button('Take the label away', () => this.relabel(null), { class: 'plain' }),
        session.may('TRAIN') && button('Delete', () => this.remove(), { class: 'plain danger' }),
        button('Select none', () => this.clear(), { class: 'plain' }),
      );
    }
    this.words.textContent = `${this.selected.size} selected`;
    this.liker.hidden = this.selected.size !== 1 || !reviews(this.owner.head);
  }

  clear() {
    for (const cell of this.selected.values()) cell.setAttribute('aria-pressed', 'false');
    this.selected.clear();
    this.drawBar();
  }

  async relabel(label) {
    const updates = [...this.selected.keys()].map((digest) => ({ digest, ...(label ? { label } : {}) }));
    const answer = await post(`${this.owner.path}/examples:update`, { updates });
    for (const [digest, cell] of this.selected) {
      if (answer.errors.some((error) => updates[error.row].digest === digest)) continue;
      cell.example.label = label;
      cell.querySelector('.label').textContent = label ?? 'no label';
    }
    toast(`${counted(answer.updated, 'label')} changed. The next training knows.`);
    this.clear();
  }

  async remove() {
    const words = counted(this.selected.size, 'example');
    if (!(await ask(`Delete ${words}?`, 'The next training is without them.', 'Delete'))) return;
    await post(`${this.owner.path}/examples:delete`, { digests: [...this.selected.keys()] });
    await this.owner.refresh();
    await this.fill();
    toast(`${words} deleted.`);
  }
}

customElements.define('examples-tab', ExamplesTab);
