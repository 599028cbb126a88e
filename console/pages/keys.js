// Keys: who may do what. A key's text is shown once, when it is made.

import { get, idsOf, post, session } from '../api.js';
import { ago, ask, button, div, field, h, nothing, select, span, table, toast, wordsOf } from '../parts/dom.js';
import { Page, top } from '../parts/page.js';

const ROLES = [
  ['ROLE_PREDICT', 'predict', 'ask heads'],
  ['ROLE_FEEDBACK', 'feedback', 'correct answers'],
  ['ROLE_LABEL', 'label', 'see and label examples'],
  ['ROLE_TRAIN', 'train', 'teach heads'],
  ['ROLE_OWN', 'own', 'keys, usage, deletion'],
];
const OF_THE_SERVER = [
  ['ROLE_OPERATE', 'operate', 'everything'],
  ['ROLE_METRICS', 'metrics', 'read metrics'],
];
const LIFETIMES = [
  ['', 'does not expire'],
  ['604800', '7 days'],
  ['2592000', '30 days'],
  ['7776000', '90 days'],
  ['31536000', 'a year'],
];

class KeysPage extends Page {
  async draw() {
    this.append(
      top('Keys', 'Each belongs to somebody, may do what its roles say, and can be taken out of use at once.'),
    );
    this.made = h('div', { 'aria-live': 'polite' });
    this.list = div('panel');
    this.append(this.made, this.list, this.form());
    if (!session.keysRequired)
      this.made.append(
        h(
          'p',
          { class: 'note' },
          'Nobody is asked for a key here. From the first key on, which must be an operator’s, everybody is.',
        ),
      );
    await this.fill();
  }

  async fill() {
    const keys = [];
    let token = '';
    do {
      const answer = await get('v1/keys', { page_size: 1000, page_token: token }, this.signal);
      keys.push(...answer.keys);
      token = answer.next_page_token;
    } while (token && keys.length < 10_000);
    if (!keys.length) {
      this.list.replaceChildren(nothing('No keys', 'None was made yet.'));
      return;
    }
    const now = new Date();
    const good = (key) => !key.revoke_time && !(key.expire_time && new Date(key.expire_time) < now);
    const rows = [...keys.filter(good), ...keys.filter((key) => !good(key))].map((key) => [
      span('', key.note || h('code', {}, key.name.slice(5))),
      key.tenant ? idsOf(key.tenant)[0] : 'the server',
      key.roles.map((role) => role.slice(5).toLowerCase()).join(', ') +
        (key.heads.length ? ` (${key.heads.join(', ')})` : ''),
      key.last_use_time ? ago(key.last_use_time) : 'never',
      key.revoke_time
        ? span('tag wrong', 'revoked')
        : !good(key)
          ? span('tag', 'expired')
          : key.expire_time
            ? `until ${new Date(key.expire_time).toLocaleDateString()}`
            : 'does not expire',
      good(key)
        ? span(
            'actions',
            button('Rotate', () => this.rotate(key), { class: 'plain' }),
            button('Revoke', () => this.revoke(key), { class: 'plain danger' }),
          )
        : '',
    ]);
    this.list.replaceChildren(table(['Key', 'Tenant', 'Roles', 'Last used', 'Good', 'Change'], rows, 'Keys'));
  }

  form() {
    const mine = session.tenant;
    const offered = mine ? ROLES : [...ROLES, ...OF_THE_SERVER];
    const wrong = h('p', { class: 'note bad', role: 'alert', hidden: true });
    const form = h(
      'form',
      { class: 'form panel' },
      h('h2', {}, 'New key'),
      field('What it is for', h('input', { name: 'note', maxlength: 200, placeholder: 'the sorting line' })),
      !mine &&
        field('Tenant', h('input', { name: 'tenant', placeholder: 'none: of the server itself', spellcheck: 'false' })),
      h(
        'fieldset',
        { class: 'choices' },
        h('legend', {}, 'Roles'),
        offered.map(([value, words, hint]) =>
          h(
            'label',
            { class: 'check' },
            h('input', {
              type: 'checkbox',
              name: 'roles',
              value,
              checked: words === (session.keysRequired ? 'predict' : 'operate'),
            }),
            span('', words, span('hint', hint)),
          ),
        ),
      ),
      field('Heads', h('input', { name: 'heads', placeholder: 'all; or names, and beginnings that end with *' })),
      field('It', select(LIFETIMES, '', { name: 'lifetime' })),
      wrong,
      div('actions', h('button', { class: 'main' }, 'Make the key')),
    );
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      const given = new FormData(form);
      const owner = mine || (given.get('tenant') ?? '').trim();
      wrong.hidden = true;
      try {
        const first = !session.keysRequired && !session.key;
        if (
          first &&
          !(await ask(
            'Make the first key?',
            'From then on everybody needs one, you included: keep its text.',
            'Make it',
          ))
        )
          return;
        this.show(
          await post('v1/keys', {
            tenant: owner ? `tenants/${owner}` : '',
            roles: given.getAll('roles'),
            note: given.get('note'),
            heads: given
              .get('heads')
              .split(/[\s,]+/)
              .filter(Boolean),
            ...(given.get('lifetime') ? { lifetime_seconds: Number(given.get('lifetime')) } : {}),
          }),
          first,
        );
        form.reset();
        await this.fill();
      } catch (error) {
        wrong.hidden = false;
        wrong.textContent = wordsOf(error);
      }
    });
    return form;
  }

  /** Shows a key's text, which nobody can read again; whoever made the first one goes on with it. */
  show({ text, key }, first) {
    if (first) session.secret = text;
    this.made.replaceChildren(
      div(
        'note good made',
        h('p', {}, `Copy it now: the text of “${key.note || key.name}” is not shown again.`),
        div(
          'actions',
          h('code', { class: 'secret', tabindex: 0 }, text),
          button('Copy', async () => {
            await navigator.clipboard.writeText(text);
            toast('Copied.');
          }),
        ),
      ),
    );
    this.made.scrollIntoView({ block: 'center' });
  }

  async rotate(key) {
    const given = await ask(
      'Rotate the key?',
      'A new one may do the same; the old one goes on for a while.',
      'Rotate',
      field(
        'The old one goes on for',
        select(
          [
            ['3600', 'an hour'],
            ['86400', 'a day'],
            ['604800', 'a week'],
            ['0', 'no time'],
          ],
          '86400',
          { name: 'overlap' },
        ),
      ),
    );
    if (!given) return;
    this.show(await post(`v1/${key.name}:rotate`, { overlap_seconds: Number(given.overlap) }));
    await this.fill();
  }

  async revoke(key) {
    if (
      !(await ask(`Revoke ${key.note || key.name}?`, 'No request that begins after this is answered for it.', 'Revoke'))
    )
      return;
    await post(`v1/${key.name}:revoke`);
    await this.fill();
  }
}

customElements.define('keys-page', KeysPage);
