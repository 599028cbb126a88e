// Audit: what was changed, by whose key, and who was refused.

import { get, session } from '../api.js';
import { ago, div, field, h, nothing, span, table } from '../parts/dom.js';
import { Page, top } from '../parts/page.js';

const PAGE = 100;

class AuditPage extends Page {
  async draw() {
    const method = h('input', { name: 'method', placeholder: 'any, or such as DeleteHead', spellcheck: 'false' });
    const tenant = !session.tenant && h('input', { name: 'tenant', placeholder: 'any', spellcheck: 'false' });
    const form = h('form', { class: 'inline' }, field('Method', method), tenant && field('Tenant', tenant), h('button', {}, 'Filter'));
    form.addEventListener('submit', (event) => { event.preventDefault(); this.fill(new FormData(form)); });
    this.append(top('Audit', 'What was changed, and who was refused; newest first. Nothing that calls carried is kept.'), form, this.body = div('panel'));
    await this.fill(new FormData(form));
  }

  async fill(given) {
    const tenant = session.tenant || (given.get('tenant') ?? '').trim();
    this.query = { page_size: PAGE, method: given.get('method').trim(), tenant: tenant && `tenants/${tenant}` };
    this.rows = [];
    await this.more('');
  }

  async more(token) {
    const answer = await get('v1/audit', { ...this.query, page_token: token }, this.signal);
    this.rows.push(...answer.entries.map((entry) => [ago(entry.time), entry.method,
      span('code', entry.resource.replace('tenants/', '').replace('heads/', '') || '–'),
      span(`tag ${entry.outcome === 'OK' ? 'good' : 'wrong'}`, entry.outcome.toLowerCase().replaceAll('_', ' ')),
      h('code', {}, entry.key.slice(5) || '–'), entry.peer || entry.transport]));
    if (!this.rows.length) { this.body.replaceChildren(nothing('Nothing here', 'No such call is in the log.')); return; }
    this.body.replaceChildren(table(['When', 'Method', 'On what', 'Outcome', 'Key', 'From'], this.rows, 'Audit log'),
      answer.next_page_token ? h('button', { class: 'more', onclick: () => this.more(answer.next_page_token) }, 'Show more') : '');
  }
}

customElements.define('audit-page', AuditPage);
