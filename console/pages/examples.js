// Examples: a grid of what the head is taught, with filters; what is selected gets another label, or goes.

import { get, post, session } from '../api.js';
import { ask, button, counted, h, nothing, percent, select, toast } from '../parts/dom.js';
import { listed, Page } from '../parts/page.js';
import { nameOf, ofExample } from '../parts/picture.js';

const PAGE = 48;
const MOST_DIGESTS = 200;
const VIEWS = [['all', 'All'], ['suspects', 'Perhaps mislabelled'], ['copies', 'Nearly the same'], ['suggested', 'Most worth a label']];

class ExamplesTab extends Page {
  async draw() {
    this.selected = new Map();
    const { labels } = await get(`${this.owner.path}/labels`, {}, this.signal);
    this.labels = labels.map((one) => one.label);
    this.view = select(VIEWS, 'all', { 'aria-label': 'Which examples', onchange: () => this.fill() });
    this.label = select([['', 'every class'], ...this.labels.map((one) => [one, one])], '', { 'aria-label': 'Class', onchange: () => this.fill() });
    this.count = h('span', { class: 'soft', role: 'status' });
    this.grid = h('ul', { class: 'grid' });
    this.bar = h('div', { class: 'dock selection', hidden: true });
    this.append(h('div', { class: 'filters' }, this.view, this.label, this.count), this.below = h('div', {}, this.grid), this.bar);
    await this.fill();
  }

  /** Fills the grid anew, as the filters say. */
  async fill() {
    this.selected.clear();
    this.drawBar();
    this.grid.replaceChildren();
    this.below.replaceChildren(this.grid);
    this.label.hidden = this.view.value !== 'all';
    const count = await listed(this.grid, (token) => this.read(token), this.below);
    const all = this.view.value === 'all' && !this.label.value;
    this.count.textContent = all ? counted(this.owner.head.example_count, 'example') : '';
    if (!count) this.below.replaceChildren(nothing(all ? 'No examples yet' : 'None of these', all ? 'What is taught is shown here.' : 'Nothing that is stored fits.'));
  }

  async read(token) {
    const { path } = this.owner;
    const found = await { all: this.all, suspects: this.suspects, copies: this.copies, suggested: this.suggested }[this.view.value].call(this, path, token);
    return [found.rows.map(([example, words]) => this.cell(example, words)), found.token];
  }

  async all(path, token) {
    const query = { page_size: PAGE, page_token: token, with_inputs: true, label: this.label.value || null };
    const answer = await get(`${path}/examples`, query, this.signal);
    return { rows: answer.examples.map((example) => [example, '']), token: answer.next_page_token };
  }

  async suggested(path) {
    const { suggestions } = await post(`${path}/examples:suggest`, { count: PAGE }, this.signal);
    return { rows: suggestions.map((one) => [{ ...one.example, input: one.input }, one.predicted_label && `${one.predicted_label} ${percent(one.probability, 0)}?`]) };
  }

  async suspects(path) {
    const report = await this.report(path);
    return this.named(path, (report?.likely_mislabelled ?? []).map((one) => [one.digest, `${one.predicted_label} ${percent(one.predicted_probability, 0)}?`]));
  }

  async copies(path) {
    const report = await this.report(path);
    return this.named(path, (report?.near_duplicates ?? []).flatMap((one) =>
      [[one.digest, `like one of ${one.other_label}`], [one.other_digest, `like one of ${one.label}`]]));
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
    const made = h('button', { type: 'button', class: 'cell', 'aria-pressed': 'false' }, ofExample(this.owner.path, example, this.signal),
      h('span', { class: 'under' }, h('span', { class: 'label' }, example.label ?? 'no label'), words && h('span', { class: 'tag two' }, words),
        example.source === 'feedback' && h('span', { class: 'tag one', title: 'Its label came by feedback' }, 'feedback'),
        example.held_out && h('span', { class: 'tag', title: 'Kept for testing, never trained on' }, 'held out')));
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
      const relabel = h('form', { class: 'actions' }, label, h('datalist', { id: 'labels' }, this.labels.map((one) => h('option', { value: one }))),
        h('button', { class: 'main' }, 'Relabel'));
      relabel.addEventListener('submit', (event) => { event.preventDefault(); if (label.value.trim()) this.relabel(label.value.trim()); });
      this.bar.append(this.words = h('strong', {}), relabel, button('Take the label away', () => this.relabel(null), { class: 'plain' }),
        session.may('TRAIN') && button('Delete', () => this.remove(), { class: 'plain danger' }), button('Select none', () => this.clear(), { class: 'plain' }));
    }
    this.words.textContent = `${this.selected.size} selected`;
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
    if (!await ask(`Delete ${words}?`, 'The next training is without them.', 'Delete')) return;
    await post(`${this.owner.path}/examples:delete`, { digests: [...this.selected.keys()] });
    await this.owner.refresh();
    await this.fill();
    toast(`${words} deleted.`);
  }
}

customElements.define('examples-tab', ExamplesTab);
