// A version's report: the server's own page, inside. <report-page> keeps its style to itself.

import { call } from '../api.js';
import { div, h, wordsOf } from './dom.js';

// The server writes this page, and escapes all that is not its own; the policy of ours runs no script in it.
const trusted = window.trustedTypes?.createPolicy('report', { createHTML: (html) => html }) ?? { createHTML: (html) => html };

class ReportPage extends HTMLElement {
  async connectedCallback() {
    const root = this.shadowRoot ?? this.attachShadow({ mode: 'open' });
    this.leaving = new AbortController();
    try {
      const html = await call('GET', this.getAttribute('path'), { accept: 'text/html', signal: this.leaving.signal });
      const page = new DOMParser().parseFromString(trusted.createHTML(html), 'text/html');
      const style = new CSSStyleSheet();
      style.replaceSync(page.querySelector('style').textContent.replaceAll(':root', ':host').replace('body {', ':host {')
        + ':host { display: block; background: none; container-type: inline-size }'
        + 'h1 { font-size: 1.35rem } @container (max-width: 62rem) { .pair { display: block } }');
      root.adoptedStyleSheets = [style];
      root.replaceChildren(div('', [...page.querySelector('main').childNodes]));
      this.dispatchEvent(new Event('shown'));
    } catch (error) {
      if (error.name !== 'AbortError') root.replaceChildren(h('p', {}, error.status === 404 ? 'There is no report of this version.' : wordsOf(error)));
    }
  }

  disconnectedCallback() {
    this.leaving.abort();
  }
}

customElements.define('report-page', ReportPage);
