// The frame: who is asking, the places, and the page that the address names.

import { session, ApiError } from './api.js';
import { button, div, field, h, toast, wordsOf } from './parts/dom.js';
import './pages/heads.js';
import './pages/new-head.js';
import './pages/head.js';
import './pages/keys.js';
import './pages/usage.js';
import './pages/audit.js';

const PLACES = [
  ['#/heads', 'Heads', () => true],
  ['#/keys', 'Keys', () => session.may('OWN')],
  ['#/usage', 'Usage', () => session.may('OWN')],
  ['#/audit', 'Audit', () => session.may('OWN')],
];
const PAGES = { heads: 'heads-page', new: 'new-head-page', head: 'head-page', keys: 'keys-page', usage: 'usage-page', audit: 'audit-page' };

const main = document.getElementById('main');
let asking = false;

/** Shows the page that the address names: `#/head/TENANT/HEAD/TAB` and the like. */
function show() {
  const [name, ...ids] = location.hash.slice(2).split('/').map((part) => {
    try { return decodeURIComponent(part); } catch { return part; }
  });
  const tag = PAGES[name];
  if (!tag) return location.replace('#/heads');
  const current = main.firstElementChild;
  if (current?.localName === tag && current.follows?.(ids)) return undefined;
  const page = h(tag);
  page.ids = ids;
  main.replaceChildren(page);
  for (const link of document.querySelectorAll('#places a')) {
    const here = link.hash === `#/${name}` || (link.hash === '#/heads' && ['new', 'head'].includes(name));
    here ? link.setAttribute('aria-current', 'page') : link.removeAttribute('aria-current');
  }
  const title = page.querySelector('h1');
  document.title = `${title?.textContent ?? 'Trunkline'} · Trunkline`;
  window.scrollTo(0, 0);
  main.focus({ preventScroll: true });
  return undefined;
}

function fill() {
  const places = PLACES.filter(([, , open]) => open());
  document.getElementById('places').replaceChildren(...places.map(([to, words]) => h('a', { href: to }, words)));
  const { key } = session;
  const who = key ? key.note || (session.tenant || 'operator') : '';
  document.getElementById('session').replaceChildren(
    ...(who ? [h('span', { class: 'who', title: key.name }, who)] : []),
    ...(session.secret ? [button('Sign out', signOut, { class: 'plain' })] : []));
}

function signOut() {
  session.secret = null;
  location.hash = '#/heads';
  location.reload();
}

/** Asks for the key, until the server takes one. */
function askForKey(words) {
  if (asking) return;
  asking = true;
  document.getElementById('places').replaceChildren();
  const input = h('input', { type: 'password', name: 'key', required: true, autocomplete: 'off', spellcheck: 'false', placeholder: 'tlk_…' });
  const wrong = h('p', { class: 'note bad', role: 'alert', hidden: !words }, words);
  const form = h('form', { class: 'form panel sign-in' }, div('', h('h1', {}, 'Your key'),
    h('p', { class: 'soft' }, 'This server answers whoever shows a key. Yours stays in this tab, until it is closed.')),
  field('Key', input), wrong, h('button', { class: 'main' }, 'Continue'));
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    session.secret = input.value.trim();
    asking = false;
    await start();
  });
  main.replaceChildren(form);
  document.title = 'Your key · Trunkline';
  input.focus();
}

async function start() {
  try {
    await session.open();
  } catch (error) {
    if (!(error instanceof ApiError)) {
      main.replaceChildren(h('p', { class: 'note bad', role: 'alert' }, wordsOf(error)));
      return;
    }
    const shown = session.secret;
    session.secret = null;
    asking = false;
    askForKey(shown ? 'The server does not know this key, or it is no longer good.' : '');
    return;
  }
  fill();
  show();
}

window.addEventListener('hashchange', () => asking || show());
window.addEventListener('key-wanted', () => {
  if (!session.key && !session.secret) askForKey('');
  else if (session.key) { session.secret = null; session.key = null; askForKey('The key is no longer good.'); }
});
window.addEventListener('unhandledrejection', (event) => {
  if (event.reason?.name !== 'AbortError' && event.reason?.status !== 401) toast(wordsOf(event.reason));
});
// Addresses name pages, so the link past the frame is none of them.
document.querySelector('.skip').addEventListener('click', (event) => { event.preventDefault(); main.focus(); });
// A file that misses its place must not replace the page.
for (const kind of ['dragover', 'drop']) window.addEventListener(kind, (event) => event.preventDefault());
start();
