// Tables of texts: CSV, TSV, and lines of JSON, with columns `text` and `label`.

import { ask, field, select } from './dom.js';

/** Reads a table as [{ text, label }]; asks which columns are meant where their names do not say. */
export async function rowsOf(file) {
  const source = (await file.text()).replace(/^\ufeff/, '');
  if (/\.(jsonl|ndjson)$/i.test(file.name)) {
    const rows = source.split('\n').filter((line) => line.trim()).map((line) => JSON.parse(line));
    return pick(file.name, [...new Set(rows.flatMap(Object.keys))], rows);
  }
  const [names = [], ...lines] = parse(source, /\.tsv$/i.test(file.name) ? '\t' : separatorOf(source));
  return pick(file.name, names, lines.map((line) => Object.fromEntries(names.map((name, at) => [name, line[at] ?? '']))));
}

async function pick(title, names, rows) {
  let text = names.find((name) => /^(text|sentence|content|review|message)$/i.test(name.trim()));
  let label = names.find((name) => /^(label|class|category|target)$/i.test(name.trim()));
  if (!text) {
    const given = await ask(`Columns of ${title}`, 'None is called "text".', 'Read it',
      field('Text', select(names.map((name) => [name, name]), names[0], { name: 'text' })),
      field('Label', select([['', 'none'], ...names.map((name) => [name, name])], label ?? '', { name: 'label' })));
    if (!given) return [];
    [text, label] = [given.text, given.label];
  }
  return rows.filter((row) => String(row[text] ?? '').trim())
    .map((row) => ({ text: String(row[text]), label: label && String(row[label] ?? '').trim().normalize('NFC') || null }));
}

function separatorOf(source) {
  const first = source.slice(0, source.indexOf('\n') + 1 || undefined);
  return [',', ';', '\t'].reduce((best, one) => (first.split(one).length > first.split(best).length ? one : best));
}

/** Takes a table apart (RFC 4180): cells may be quoted, and have line breaks and doubled quotes then. */
function parse(source, separator) {
  const rows = [];
  let row = [];
  let cell = '';
  let quoted = false;
  for (let at = 0; at < source.length; at += 1) {
    const one = source[at];
    if (quoted) {
      if (one !== '"') cell += one;
      else if (source[at + 1] === '"') { cell += '"'; at += 1; } else quoted = false;
    } else if (one === '"' && !cell) quoted = true;
    else if (one === separator) { row.push(cell); cell = ''; } else if (one === '\n') {
      row.push(cell.replace(/\r$/, ''));
      if (row.length > 1 || row[0]) rows.push(row);
      [row, cell] = [[], ''];
    } else cell += one;
  }
  row.push(cell.replace(/\r$/, ''));
  if (row.length > 1 || row[0]) rows.push(row);
  return rows;
}
