// Heads: what there is, how good it is, and how it learns, at a glance.

import { get, headPath, idsOf, session } from '../api.js';
import { accuracyOf } from '../parts/accuracy.js';
import { ago, counted, h, nothing, number, span } from '../parts/dom.js';
import { listed, Page, top } from '../parts/page.js';

const AT_ONCE = 4;
const LIVE = {
  LIVE_STATE_LEARNING: ['one', 'learning'], LIVE_STATE_SERVING: ['good', 'live copy answers'],
  LIVE_STATE_HELD_BACK: ['two', 'held back'], LIVE_STATE_IDLE: ['', 'no feedback yet'],
  LIVE_STATE_UNAVAILABLE: ['', 'does not learn'],
};

/** What a head's live copy does, in a word. */
export function liveTag(live) {
  const [tone, words] = LIVE[live?.state] ?? ['', ''];
  return words && h('span', { class: `tag ${tone}`, title: live.reason || null }, words);
}

export function driftTag(live) {
  return live?.drift?.detected && h('span', { class: 'tag wrong', title: 'What comes in is answered less well than before.' }, 'drift');
}

class HeadsPage extends Page {
  async draw() {
    const create = session.may('TRAIN') && h('a', { class: 'button main', href: '#/new' }, 'New head');
    const list = h('ul', { class: 'heads' });
    this.append(top('Heads', 'A head is what was learned from one set of labelled examples.', create), list);
    const count = await listed(list, (token) => this.read(token), this);
    if (!count) {
      list.replaceWith(nothing('No head yet', 'Give it a few pictures or texts of each kind, and it tells them apart.',
        session.may('TRAIN') && h('a', { class: 'button main', href: '#/new' }, 'Teach the first one')));
    }
  }

  async read(token) {
    const answer = await get(`v1/tenants/${session.tenant || '-'}/heads`, { page_size: 50, page_token: token }, this.signal);
    const rows = answer.heads.map((head) => [head, row(head)]);
    this.fill(rows.filter(([head]) => head.active_version));
    return [rows.map(([, shown]) => shown), answer.next_page_token];
  }

  /** Adds what only a head by itself says, a few at a time. */
  async fill(rows) {
    const worker = async () => {
      for (let next = rows.shift(); next; next = rows.shift()) {
        const [tenant, id] = idsOf(next[0].name);
        const { head } = await get(headPath(tenant, id), {}, this.signal);
        next[1].querySelector('.tags').append(...[liveTag(head.live), driftTag(head.live)].filter(Boolean));
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker)).catch(() => {}); // the rows stand without it
  }
}

function row(head) {
  const [tenant, id] = idsOf(head.name);
  const labels = head.labels.slice(0, 4).join(', ') + (head.labels.length > 4 ? ` and ${head.labels.length - 4} more` : '');
  return h('li', {}, h('a', { href: `#/head/${tenant}/${id}/${head.active_version ? 'try' : 'teach'}` },
    span('name', h('strong', {}, id), h('small', {}, session.tenant ? head.backbone : `${tenant} · ${head.backbone}`)),
    span('measured', head.active_version ? accuracyOf(head.estimate) : span('soft', 'not trained yet')),
    span('facts', counted(head.example_count, 'example'),
      h('small', {}, labels || `${number(head.labelled_count)} labelled`)),
    span('facts when', head.active_version ? `version ${head.active_version}` : 'no version',
      h('small', {}, ago(head.active_version_time ?? head.create_time))),
    span('tags', head.training && span('tag one', 'training'))));
}

customElements.define('heads-page', HeadsPage);
