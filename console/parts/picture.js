// An input as a person sees it: a picture, or a text's beginning.

import { get } from '../api.js';
import { h, span } from './dom.js';

const KINDS = { '/9j': 'jpeg', iVB: 'png', Ukl: 'webp', R0l: 'gif', Qk0: 'bmp' };

/** Shows a sample that is here. The address of its bytes is given back when the picture is loaded. */
export function ofSample(sample) {
  if (!sample.blob) return ofText(sample.text);
  const address = URL.createObjectURL(sample.blob);
  const done = () => URL.revokeObjectURL(address);
  return h('img', { class: 'picture', src: address, alt: sample.name, onload: done, onerror: done });
}

/** Shows an input of the API's. */
export function ofInput(input, words) {
  if (input?.text != null || input?.text_utf8 != null) {
    return ofText(input.text ?? new TextDecoder().decode(Uint8Array.from(atob(input.text_utf8), (one) => one.charCodeAt(0))));
  }
  if (!input?.image) return span('picture none', 'not kept');
  return h('img', { class: 'picture', src: `data:image/${KINDS[input.image.slice(0, 3)] ?? 'tiff'};base64,${input.image}`, alt: words, loading: 'lazy' });
}

/** What an example is called: its external id, or the beginning of its digest. */
export const nameOf = (example) => example.external_id || example.digest.slice(0, 8);

/** Shows a stored example; one whose input came not along is asked for by itself. */
export function ofExample(path, example, signal) {
  if (example.input && Object.keys(example.input).length) return ofInput(example.input, nameOf(example));
  const shown = span('picture none', example.has_input ? '…' : 'not kept');
  if (example.has_input) {
    get(`${path}/examples`, { digests: example.digest, with_inputs: true }, signal)
      .then((answer) => shown.replaceWith(ofInput(answer.examples[0]?.input, nameOf(example)))).catch(() => {});
  }
  return shown;
}

function ofText(text) {
  return h('blockquote', { class: 'text', title: text.length > 200 ? text.slice(0, 2000) : null }, text.slice(0, 400));
}
