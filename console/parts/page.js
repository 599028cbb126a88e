// What all pages are: an element that loads when it is shown, and stops what it began when it goes.

import { div, h, wordsOf } from './dom.js';

/** A page. Subclasses have `draw`, which fills it; what it awaits is called off with `this.signal`. */
export class Page extends HTMLElement {
  connectedCallback() {
    this.leaving = new AbortController();
    this.signal = this.leaving.signal;
    this.load();
  }

  disconnectedCallback() {
    this.leaving.abort();
  }

  async load() {
    try {
      await this.draw();
    } catch (error) {
      if (error.name !== 'AbortError' && error.status !== 401) {
        this.append(h('p', { class: 'note bad', role: 'alert' }, wordsOf(error)));
      }
    }
  }
}

/** The head of a page: a title, words below it, and what can be done. */
export function top(title, words, ...actions) {
  return div('top', div('', h('h1', { tabindex: -1 }, title), words && h('p', { class: 'soft' }, words)),
    div('actions', ...actions));
}

/** Lists what comes in pages: `read(token)` gives [elements, next token]; the button below brings more. */
export async function listed(list, read, after = list.parentElement) {
  let token = '';
  const more = h('button', { type: 'button', class: 'more' }, 'Show more');
  const next = async () => {
    more.disabled = true;
    try {
      let rows = [];
      do { // a page of a search may be empty, and not the last
        [rows, token] = await read(token);
      } while (!rows.length && token);
      list.append(...rows);
      token ? after.append(more) : more.remove();
      return rows.length;
    } finally {
      more.disabled = false;
    }
  };
  more.addEventListener('click', next);
  return next();
}
