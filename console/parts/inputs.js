// What people drop, choose, paste and shoot, read as samples: { kind, label, name, blob or text }.

import { rowsOf } from './table-file.js';
import { counted } from './dom.js';

export const MOST_FILES = 50_000; // of one drop
const PICTURES = /\.(jpe?g|png|webp|gif|bmp|tiff?)$/i;
const TABLES = /\.(csv|tsv|jsonl|ndjson)$/i;
const TEXTS = /\.(txt|md|text)$/i;

/** Reads the files and folders of a drop: [{ file, path }]. */
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].filter((item) => item.kind === 'file').map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  const found = [];
  for (const entry of entries) await walk(entry, found);
  return found;
}

async function walk(entry, found) {
  if (!entry) return;
  if (found.length > MOST_FILES) throw new Error(`At most ${counted(MOST_FILES, 'file')} at once: drop one folder after the other.`);
  if (entry instanceof File) {
    found.push({ file: entry, path: entry.name });
  } else if (entry.isFile) {
    const file = await new Promise((resolve, reject) => { entry.file(resolve, reject); });
    found.push({ file, path: entry.fullPath.replace(/^\//, '') });
  } else {
    const reader = entry.createReader();
    for (;;) { // a reader gives some hundred at a time
      const some = await new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });
      if (!some.length) break;
      for (const one of some) await walk(one, found);
    }
  }
}

export const chosenFiles = (input) => [...input.files].map((file) => ({ file, path: file.webkitRelativePath || file.name }));

/**
 * Reads files as samples of one kind, 'image' or 'text'. Labels are those of a table, else names of folders.
 * Gives the samples, and how many files of other kinds were left out.
 */
export async function samplesOf(files, kind) {
  const samples = [];
  const left = [];
  for (const { file, path } of files) {
    const label = path.includes('/') ? path.split('/').at(-2).normalize('NFC') : null;
    if (file.name.startsWith('.')) continue; // of the system, not a person's
    if (kind === 'image' && (PICTURES.test(file.name) || file.type.startsWith('image/'))) {
      samples.push({ kind, label, name: path, blob: file });
    } else if (kind === 'text' && TABLES.test(file.name)) {
      const rows = await rowsOf(file);
      rows.forEach((row, at) => samples.push({ kind, label: row.label ?? label, name: `${path}:${at + 1}`, text: row.text }));
    } else if (kind === 'text' && TEXTS.test(file.name)) {
      samples.push({ kind, label, name: path, text: await file.text() });
    } else {
      left.push(path);
    }
  }
  return { samples, left };
}

/** The bytes of a sample, as it is hashed. */
export async function dataOf(sample) {
  return sample.blob ? new Uint8Array(await sample.blob.arrayBuffer()) : new TextEncoder().encode(sample.text);
}

/** A sample as the API takes an input. */
export async function inputOf(sample) {
  if (!sample.blob) return { text: sample.text };
  const image = await new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(sample.blob);
  });
  return { image: image.slice(image.indexOf(',') + 1) };
}

/** Words about what was left out; null for nothing. */
export function leftWords(left, kind) {
  if (!left.length) return null;
  const wanted = kind === 'image' ? 'a picture' : 'a text or a table of texts';
  return `${counted(left.length, 'file')} left out, as no name ends like that of ${wanted}: ${left.slice(0, 3).join(', ')}${left.length > 3 ? ', …' : ''}`;
}
