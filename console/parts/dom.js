// Elements, and figures as people read them. Nothing here makes markup of a string.

/** Makes an element. `on…` are listeners, all else but some properties attributes; children that are null are left out. */
export function h(name, given = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(given)) {
    if (value == null || value === false) continue;
    if (key in PROPERTIES) element[key] = value;
    else if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? '' : value);
  }
  element.append(...children.flat(9).filter((child) => child != null && child !== false));
  return element;
}

/** Elements that have classes alone; none where that is empty. */
export const div = (kind, ...children) => h('div', { class: kind || null }, ...children);
export const span = (kind, ...children) => h('span', { class: kind || null }, ...children);

const PROPERTIES = { value: 1, checked: 1, disabled: 1, hidden: 1, onInputs: 1 };

/** Makes an element of SVG, likewise. */
export function svg(name, given = {}, ...children) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(given)) element.setAttribute(key, value);
  element.append(...children.filter(Boolean));
  return element;
}

/** Shows what a press of a button waits for, and says what went wrong with it. */
export function button(words, act, given = {}) {
  const made = h('button', { type: 'button', ...given }, words);
  made.addEventListener('click', async () => {
    made.disabled = true;
    try {
      await act(made);
    } catch (error) {
      toast(wordsOf(error));
    } finally {
      made.disabled = false;
    }
  });
  return made;
}

export function field(words, input, hint) {
  return h('label', {}, words, input, hint && h('span', { class: 'hint' }, hint));
}

export function select(options, value, given = {}) {
  const made = h('select', given, options.map(([key, words]) => h('option', { value: key }, words)));
  if (value != null) made.value = value;
  return made;
}

export function nothing(title, words, ...more) {
  return h('div', { class: 'nothing' }, h('h2', {}, title), h('p', {}, words), ...more);
}

export function table(columns, rows, caption) {
  const cell = (tag, scope) => (value, at) => {
    const numeric = columns[at]?.startsWith('#');
    return h(tag, { scope, class: numeric ? 'number' : null }, value ?? '–');
  };
  const heads = columns.map((name) => name.replace('#', ''));
  return h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': caption },
    h('table', {}, h('thead', {}, h('tr', {}, heads.map(cell('th', 'col')))),
      h('tbody', {}, rows.map((row) => h('tr', {}, row.map((value, at) => cell(at ? 'td' : 'th', at ? null : 'row')(value, at)))))));
}

/** Says something for some seconds; long enough to read it. */
export function toast(words) {
  const shown = h('div', { class: 'toast' }, words);
  document.getElementById('toasts').append(shown);
  setTimeout(() => shown.remove(), 4000 + 40 * words.length);
}

export function wordsOf(error) {
  return error?.message || String(error);
}

/** Asks, in a dialog of the page's own; gives the form's values, or null. */
export function ask(title, words, act, ...fields) {
  return new Promise((resolve) => {
    const form = h('form', { method: 'dialog', class: 'stack' }, h('h2', {}, title), words && h('p', { class: 'soft' }, words), ...fields,
      h('div', { class: 'actions' }, h('button', { value: '', formnovalidate: true }, 'Cancel'),
        h('button', { class: 'main', value: 'yes' }, act)));
    const dialog = h('dialog', { 'aria-label': title }, form);
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(dialog.returnValue === 'yes' ? Object.fromEntries(new FormData(form)) : null);
    });
    document.body.append(dialog);
    dialog.showModal();
    form.querySelector('input, .main').focus();
  });
}

export const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}%`;
export const number = (value) => Number(value ?? 0).toLocaleString('en');
export const counted = (value, one, many = `${one}s`) => `${number(value)} ${Number(value) === 1 ? one : many}`;

export function bytes(value) {
  const step = Math.min(4, Math.floor(Math.log10(Math.max(1, value)) / 3));
  return `${Number((value / 1000 ** step).toPrecision(3))} ${['B', 'kB', 'MB', 'GB', 'TB'][step]}`;
}

export function ago(time) {
  if (!time) return '–';
  const seconds = Math.max(0, (Date.now() - new Date(time)) / 1000);
  const [unit, length] = [['day', 86400], ['hour', 3600], ['min', 60], ['s', 1]].find(([, most]) => seconds >= most) ?? ['s', 1];
  const count = Math.floor(seconds / length);
  const shown = unit === 's' ? 'just now' : unit === 'min' ? `${count} min ago` : `${counted(count, unit)} ago`;
  return h('time', { datetime: time, title: new Date(time).toLocaleString() }, shown);
}
