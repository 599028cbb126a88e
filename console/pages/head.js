// A head: its name, its tabs, and the tab that the address names.

import { drop, get, headPath, policyWords, session } from '../api.js';
import { ask, button, div, h, span, toast } from '../parts/dom.js';
import { Page } from '../parts/page.js';
import { driftTag, liveTag } from './heads.js';
import './teach.js';
import './try.js';
import './review.js';
import './examples.js';
import './versions.js';

const TABS = [
  ['teach', 'Teach', 'TRAIN'], ['try', 'Try', 'PREDICT'], ['review', 'Review', 'LABEL', 'TRAIN'],
  ['examples', 'Examples', 'LABEL', 'TRAIN'], ['versions', 'Versions', 'PREDICT', 'FEEDBACK', 'LABEL', 'TRAIN', 'OWN'],
];

class HeadPage extends Page {
  async draw() {
    const [tenant, id] = this.ids;
    this.path = headPath(tenant, id);
    this.append(h('h1', { tabindex: -1 }, id));
    [this.head, this.backbone] = await this.read();
    this.replaceChildren(this.heading = div('top'), this.tabs = h('nav', { class: 'tabs', 'aria-label': 'Of this head' }), this.place = h('div'));
    this.drawHeading();
    this.open(this.ids[2]);
  }

  /** Reads the head, and its backbone, which may have been unloaded. */
  async read() {
    const { head } = await get(this.path, {}, this.signal);
    const { backbones } = await get('v1/backbones', {}, this.signal);
    return [head, backbones.find((one) => one.name === head.backbone)];
  }

  /** Reads the head anew, after something that changed it. */
  async refresh() {
    [this.head, this.backbone] = await this.read();
    this.drawHeading();
    return this.head;
  }

  /** Opens another tab of the same head without reading it again. */
  follows(ids) {
    if (!this.head || ids[0] !== this.ids[0] || ids[1] !== this.ids[1]) return false;
    this.open(ids[2]);
    return true;
  }

  open(tab) {
    const open = TABS.filter(([, , ...roles]) => session.may(...roles));
    const [name] = open.find(([name]) => name === tab) ?? open[0];
    const [tenant, id] = this.ids;
    this.tabs.replaceChildren(...open.map(([to, words]) =>
      h('a', { href: `#/head/${tenant}/${id}/${to}`, 'aria-current': to === name ? 'page' : null }, words)));
    const shown = document.createElement(`${name}-tab`);
    shown.owner = this;
    this.place.replaceChildren(shown);
    document.title = `${id}: ${name} · Trunkline`;
  }

  drawHeading() {
    const { head } = this;
    const [tenant, id] = this.ids;
    this.heading.replaceChildren(div('', h('p', { class: 'crumb soft' }, h('a', { href: '#/heads' }, 'Heads'), ` / ${tenant}`), h('h1', { tabindex: -1 }, id)),
      div('actions', div('tags', span('tag', head.backbone),
        head.active_version > 0 && span('tag', `version ${head.active_version}`),
        span('tag', policyWords[head.policy]), head.active_version > 0 && liveTag(head.live), driftTag(head.live)),
      session.may('OWN') && button('Delete', () => this.remove(), { class: 'plain danger' })));
  }

  async remove() {
    const id = this.ids[1];
    const sure = await ask(`Delete ${id}?`, 'Its examples, versions and feedback go with it, and cannot be had back.', 'Delete it');
    if (!sure) return;
    await drop(this.path);
    toast(`${id} is deleted.`);
    location.hash = '#/heads';
  }
}

customElements.define('head-page', HeadPage);
