// Versions: what each is worth, which one answers, the live copy beside it, and reports side by side.

import { drop, get, post, session } from '../api.js';
import { accuracyOf } from '../parts/accuracy.js';
import { ago, ask, button, counted, div, h, nothing, number, percent, span, toast } from '../parts/dom.js';
import { listed, Page } from '../parts/page.js';
import '../parts/report.js';

const SOURCES = {
  training: 'trained',
  import: 'imported',
  feedback: 'learned from feedback',
  rename: 'renamed a label',
};

class VersionsTab extends Page {
  async draw() {
    this.chosen = [];
    this.live = h('div');
    this.list = h('ul', { class: 'versions' });
    this.reports = div('side-by-side');
    this.append(this.live, this.list, this.reports);
    await this.owner.refresh();
    await this.fill();
  }

  async fill() {
    this.drawLive();
    this.list.replaceChildren();
    const count = await listed(this.list, (token) => this.read(token), this.list);
    if (!count)
      this.list.replaceChildren(
        h(
          'li',
          {},
          nothing('No version yet', 'Each training makes one. Earlier ones stay, so that there is a way back.'),
        ),
      );
    this.drawReports();
  }

  async read(token) {
    const answer = await get(`${this.owner.path}/versions`, { page_size: 20, page_token: token }, this.signal);
    return [answer.versions.map((version) => this.row(version)), answer.next_page_token];
  }

  row(version) {
    const may = session.may('TRAIN');
    const at = version.version;
    const path = `${this.owner.path}/versions/${at}`;
    const report = h('input', {
      type: 'checkbox',
      checked: this.chosen.includes(at),
      'aria-label': `Report of version ${at}`,
    });
    report.addEventListener('change', () => this.choose(at, report.checked));
    return h(
      'li',
      { class: 'panel' },
      div(
        'which',
        h('h3', {}, `Version ${at}`),
        span(
          'tags',
          version.active && span('tag good', 'answers'),
          version.pinned && span('tag', 'pinned'),
          version.tail && span('tag', 'fine-tuned'),
        ),
      ),
      div(
        'soft small',
        `${SOURCES[version.source] ?? version.source} on ${counted(version.example_count, 'example')} of ${counted(version.labels.length, 'class', 'classes')}, `,
        ago(version.create_time),
      ),
      accuracyOf(version.estimate),
      div(
        'actions',
        session.may('LABEL', 'TRAIN') && h('label', { class: 'check small' }, report, 'report'),
        may && !version.active && button('Activate', () => this.activate(at), {}),
        may &&
          button(
            version.pinned ? 'Unpin' : 'Pin',
            () => this.change(post(`${path}:pin`, { pinned: !version.pinned }), ''),
            { class: 'plain' },
          ),
        may && !version.active && !version.pinned && button('Delete', () => this.remove(at), { class: 'plain danger' }),
      ),
    );
  }

  /** Shows the reports of at most two versions, side by side where there is room. */
  choose(version, on) {
    this.chosen = this.chosen.filter((one) => one !== version);
    if (on) this.chosen.push(version);
    if (this.chosen.length > 2) this.chosen.shift();
    for (const box of this.list.querySelectorAll('input[type=checkbox]')) {
      box.checked = this.chosen.includes(Number(box.getAttribute('aria-label').match(/\d+$/)[0]));
    }
    this.drawReports();
  }

  drawReports() {
    this.reports.replaceChildren(
      ...this.chosen.map((version) =>
        h(
          'section',
          { class: 'panel', 'aria-label': `Report of version ${version}` },
          h('report-page', { path: `${this.owner.path}/versions/${version}/report` }),
        ),
      ),
    );
  }

  async activate(version) {
    const back = version < this.owner.head.active_version;
    const words = 'Feedback that it does not know, and that nobody vouched for, goes into quarantine.';
    if (
      !(await ask(
        back ? `Go back to version ${version}?` : `Activate version ${version}?`,
        words,
        back ? 'Go back' : 'Activate',
      ))
    )
      return;
    const answer = await post(`${this.owner.path}/versions/${version}:activate`);
    const lost = answer.labels_lost.length ? ` Answers have no longer: ${answer.labels_lost.join(', ')}.` : '';
    await this.change(null, `Version ${version} answers.${lost}`);
  }

  async remove(version) {
    if (!(await ask(`Delete version ${version}?`, 'It cannot be had back.', 'Delete'))) return;
    this.chosen = this.chosen.filter((one) => one !== version);
    await this.change(drop(`${this.owner.path}/versions/${version}`), `Version ${version} is deleted.`);
  }

  /** Waits for what changes something, says so, and shows what there is then. */
  async change(doing, words) {
    await doing;
    if (words) toast(words);
    await this.owner.refresh();
    await this.fill();
  }

  drawLive() {
    const { head, path } = this.owner;
    const { live } = head;
    if (!head.active_version || !live) return;
    const tiles = [['feedback', number(live.feedback_count), `behind the live copy of version ${live.base_version}`]];
    if (live.scored) {
      tiles.push(
        [
          'live copy',
          percent(live.live_right / live.scored),
          `right of ${number(live.scored)}, each before it was learned`,
        ],
        ['active version', percent(live.active_right / live.scored), 'on the same'],
      );
    }
    if (live.evidence_better > 0)
      tiles.push([
        'evidence',
        live.evidence_better.toPrecision(3),
        `that it is better; decides at ${number(1 / live.error_rate)}`,
      ]);
    if (live.drift?.window)
      tiles.push([
        live.drift.detected ? 'drift' : 'no drift',
        percent(live.drift.accuracy),
        `right of the last ${number(live.drift.window)}`,
      ]);
    if (head.quarantined_count)
      tiles.push(['quarantine', number(head.quarantined_count), 'feedback that does not count']);
    const may = session.may('TRAIN');
    this.live.replaceChildren(
      h(
        'section',
        { class: 'panel live' },
        div(
          'top',
          div(
            '',
            h('h2', {}, 'Live copy'),
            h('p', { class: 'soft' }, live.reason || 'It moves on from the active version with each correction.'),
          ),
          h(
            'div',
            { class: 'actions' },
            may &&
              live.feedback_count > 0 &&
              button(
                'Promote',
                () => this.change(post(`${path}:promote`), 'The live copy is a version now, and answers.'),
                { class: 'main' },
              ),
            may && live.feedback_count > 0 && button('Drop', () => this.dropLive(), { class: 'plain danger' }),
            may &&
              head.quarantined_count > 0 &&
              button(
                'Release the quarantine',
                () =>
                  this.change(post(`${path}/feedback:release`, { all: true }), 'It counts from the next training on.'),
                {},
              ),
          ),
        ),
        h(
          'dl',
          { class: 'tiles' },
          tiles.map(([name, value, words]) => div('', h('dt', {}, name), h('dd', {}, value, h('small', {}, words)))),
        ),
      ),
    );
  }

  async dropLive() {
    if (
      !(await ask(
        'Drop the live copy?',
        'The feedback behind it goes into quarantine, and counts no more until it is released.',
        'Drop it',
      ))
    )
      return;
    const answer = await post(`${this.owner.path}:drop`);
    await this.change(null, `Dropped; ${counted(answer.quarantined, 'item')} of feedback in quarantine.`);
  }
}

customElements.define('versions-tab', VersionsTab);
