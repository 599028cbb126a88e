// A new head: its name, what it looks at, and how it learns from corrections.

import { get, post, session } from '../api.js';
import { div, field, h, select, span, wordsOf } from '../parts/dom.js';
import { Page, top } from '../parts/page.js';

const POLICIES = [
  ['FEEDBACK_POLICY_IMMEDIATE', 'at once: the next answer knows it'],
  ['FEEDBACK_POLICY_GATED', 'when it is shown to be better'],
  ['FEEDBACK_POLICY_MANUAL', 'when somebody says so'],
];
const KINDS = { image: 'Pictures', text: 'Texts' };

class NewHeadPage extends Page {
  async draw() {
    this.append(top('New head', 'It can be taught as soon as it has a name.'));
    const { backbones } = await get('v1/backbones', {}, this.signal);
    const known = session.tenant || !session.may('OPERATE') ? [] : (await get('v1/tenants', { page_size: 1000 }, this.signal)).tenants;
    const tenant = h('input', { name: 'tenant', required: true, value: session.tenant || known[0]?.name.slice(8) || 'mine',
      pattern: '[A-Za-z0-9._\\-]+', list: 'tenants', autocomplete: 'off', spellcheck: 'false' });
    const id = h('input', { name: 'head', required: true, pattern: '[A-Za-z0-9._\\-]+', autocomplete: 'off', spellcheck: 'false', placeholder: 'parts' });
    const wrong = h('p', { class: 'note bad', role: 'alert', hidden: true });
    const form = h('form', { class: 'form' },
      field('Name', id, 'Letters, digits, dots, hyphens and underscores.'),
      !session.tenant && field('Tenant', tenant, 'Whose head it is. What one tenant has, no other sees.'),
      h('datalist', { id: 'tenants' }, known.map((one) => h('option', { value: one.name.slice(8) }))),
      h('fieldset', { class: 'choices' }, h('legend', {}, 'It looks at'), backbones.map((backbone, at) => h('label', { class: 'choice' },
        h('input', { type: 'radio', name: 'backbone', value: backbone.name, checked: at === 0 }),
        span('', KINDS[backbone.modality] ?? backbone.modality, span('hint', backbone.name))))),
      field('It learns from corrections', select(POLICIES, null, { name: 'policy' })),
      h('label', { class: 'check' }, h('input', { type: 'checkbox', name: 'keep', checked: true }),
        span('', 'Keep the inputs', span('hint', 'So that examples can be looked at here, and moved to another backbone.'))),
      h('label', { class: 'check' }, h('input', { type: 'checkbox', name: 'labels', checked: true }),
        span('', 'Corrections may bring new classes')),
      wrong, div('actions', h('button', { class: 'main' }, 'Create'), h('a', { class: 'button plain', href: '#/heads' }, 'Cancel')));
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      const given = new FormData(form);
      const owner = session.tenant || given.get('tenant');
      try {
        await post(`v1/tenants/${encodeURIComponent(owner)}/heads`, {
          head_id: given.get('head'), backbone: given.get('backbone'), policy: given.get('policy'),
          keep_inputs: given.has('keep'), allow_new_labels: given.has('labels'),
        });
        location.hash = `#/head/${owner}/${given.get('head')}/teach`;
      } catch (error) {
        wrong.hidden = false;
        wrong.textContent = wordsOf(error);
      }
    });
    this.append(form);
    id.focus();
  }
}

customElements.define('new-head-page', NewHeadPage);
