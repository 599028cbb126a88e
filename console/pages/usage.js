// Usage: what tenants used by the hour, and what they may use.

import { get, idsOf, session } from '../api.js';
import { bytes, counted, div, h, nothing, number, select, span, svg, table } from '../parts/dom.js';
import { Page, top } from '../parts/page.js';

const DAYS = [
  ['1', 'the last day'],
  ['7', 'the last 7 days'],
  ['30', 'the last 30 days'],
];
const MOST_HOURS = 20_000;

class UsagePage extends Page {
  async draw() {
    this.days = select(DAYS, '7', { 'aria-label': 'Time', onchange: () => this.fill() });
    this.append(
      top(
        'Usage',
        'Rows that were computed or known, and what they cost. A unit is what a picture of 224 × 224 takes.',
        this.days,
      ),
      (this.body = div('stack')),
    );
    await this.fill();
  }

  async fill() {
    const hours = Number(this.days.value) * 24;
    const end = new Date();
    const start = new Date(Math.floor(end / 3_600_000 - hours + 1) * 3_600_000);
    const usage = [];
    let token = '';
    do {
      const query = { page_size: 1000, page_token: token, start_time: start.toISOString() };
      const answer = await get(`v1/tenants/${session.tenant || '-'}/usage`, query, this.signal);
      usage.push(...answer.usage);
      token = answer.next_page_token;
    } while (token && usage.length < MOST_HOURS);
    const tenants = session.tenant
      ? [(await get(`v1/tenants/${session.tenant}`, {}, this.signal)).tenant]
      : (await get('v1/tenants', { page_size: 1000 }, this.signal)).tenants;
    this.body.replaceChildren(
      h('section', { class: 'panel' }, h('h2', {}, 'Rows'), this.chart(usage, start, hours)),
      tenants.length
        ? h('section', { class: 'panel' }, h('h2', {}, 'Tenants'), this.tenants(tenants, usage))
        : nothing('No tenants', 'One is there with its first head or key.'),
    );
  }

  /** A bar for each hour, or for each day of many. */
  chart(usage, start, hours) {
    const step = hours > 48 ? 24 : 1;
    const count = hours / step;
    const sums = Array(count).fill(0);
    for (const one of usage) {
      const at = Math.floor((new Date(one.hour) - start) / 3_600_000 / step);
      if (at >= 0 && at < count) sums[at] += Number(one.rows) + Number(one.cached_rows);
    }
    const most = Math.max(1, ...sums);
    const width = 100 / count;
    const day = (at) =>
      new Date(+start + at * step * 3_600_000).toLocaleString(
        'en',
        step > 1 ? { day: 'numeric', month: 'short' } : { hour: 'numeric' },
      );
    const drawn = svg(
      'svg',
      {
        class: 'hours',
        role: 'img',
        'aria-label': `${counted(
          sums.reduce((one, other) => one + other, 0),
          'row',
        )}, at most ${number(most)} at a time`,
      },
      ...sums.map((sum, at) => {
        const bar = svg('rect', {
          x: `${at * width + width * 0.2}%`,
          width: `${width * 0.6}%`,
          y: `${100 - (100 * sum) / most}%`,
          height: `${(100 * sum) / most}%`,
          rx: 2,
        });
        const title = svg('title');
        title.textContent = `${day(at)}: ${number(sum)}`;
        bar.append(title);
        return bar;
      }),
    );
    return h(
      'figure',
      { class: 'chart' },
      drawn,
      h('figcaption', { class: 'soft small' }, span('', day(0)), span('', `at most ${number(most)}`), span('', 'now')),
    );
  }

  tenants(tenants, usage) {
    const sum = (name, field) =>
      usage.filter((one) => one.tenant === name).reduce((total, one) => total + Number(one[field]), 0);
    const of = (value, quota, written = number) =>
      Number(quota) ? `${written(value)} of ${written(quota)}` : written(value);
    const rows = tenants.map((one) => [
      idsOf(one.name)[0],
      number(sum(one.name, 'rows')),
      number(sum(one.name, 'cached_rows')),
      number(Math.round(sum(one.name, 'cost'))),
      number(one.heads),
      of(one.examples, one.quotas?.examples),
      of(one.stored_bytes, one.quotas?.stored_bytes, bytes),
    ]);
    return table(['Tenant', '#computed', '#from memory', '#cost', '#heads', '#examples', '#stored'], rows, 'Tenants');
  }
}

customElements.define('usage-page', UsagePage);
