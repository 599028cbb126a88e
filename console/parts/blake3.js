// BLAKE3 in `derive_key` mode, as the server names inputs: what it knows already is not sent again.
// https://github.com/BLAKE3-team/BLAKE3-specs, sections 2.2 to 2.5; `v` is the state, `m` the block's words.

const IV = Uint32Array.of(0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19);
const PERMUTATION = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
const [START, END, PARENT, ROOT, CONTEXT, MATERIAL] = [1, 2, 4, 8, 32, 64];
const [BLOCK, CHUNK] = [64, 1024];

// Which word of the message each step of each of the seven rounds takes.
const ORDER = [[...Array(16).keys()]];
while (ORDER.length < 7) ORDER.push(PERMUTATION.map((at) => ORDER.at(-1)[at]));

const v = new Uint32Array(16);
const m = new Uint32Array(16);

function mix(a, b, c, d, x, y) {
  let t;
  v[a] = v[a] + v[b] + x;
  t = v[d] ^ v[a]; v[d] = (t >>> 16) | (t << 16);
  v[c] += v[d];
  t = v[b] ^ v[c]; v[b] = (t >>> 12) | (t << 20);
  v[a] = v[a] + v[b] + y;
  t = v[d] ^ v[a]; v[d] = (t >>> 8) | (t << 24);
  v[c] += v[d];
  t = v[b] ^ v[c]; v[b] = (t >>> 7) | (t << 25);
}

/** Compresses the block in `m` into a new chaining value. */
function compress(chaining, counter, length, flags) {
  v.set(chaining);
  v.set(IV.subarray(0, 4), 8);
  v[12] = counter; v[13] = Math.floor(counter / 2 ** 32); v[14] = length; v[15] = flags;
  for (const o of ORDER) {
    mix(0, 4, 8, 12, m[o[0]], m[o[1]]); mix(1, 5, 9, 13, m[o[2]], m[o[3]]);
    mix(2, 6, 10, 14, m[o[4]], m[o[5]]); mix(3, 7, 11, 15, m[o[6]], m[o[7]]);
    mix(0, 5, 10, 15, m[o[8]], m[o[9]]); mix(1, 6, 11, 12, m[o[10]], m[o[11]]);
    mix(2, 7, 8, 13, m[o[12]], m[o[13]]); mix(3, 4, 9, 14, m[o[14]], m[o[15]]);
  }
  const out = new Uint32Array(8);
  for (let at = 0; at < 8; at += 1) out[at] = v[at] ^ v[at + 8];
  return out;
}

function load(data, start, end) {
  m.fill(0);
  for (let at = start; at < end; at += 1) m[(at - start) >> 2] |= data[at] << (8 * ((at - start) & 3));
}

/** The chaining value of the chunk from `start` on; of the root's, if it is the only one. */
function chunk(data, start, key, flags, only) {
  const end = Math.min(start + CHUNK, data.length);
  let chaining = key;
  for (let at = start; at === start || at < end; at += BLOCK) {
    const last = at + BLOCK >= end;
    load(data, at, Math.min(at + BLOCK, end));
    const marks = flags | (at === start ? START : 0) | (last ? END | (only ? ROOT : 0) : 0);
    chaining = compress(chaining, start / CHUNK, last ? end - at : BLOCK, marks);
  }
  return chaining;
}

function parent(left, right, key, flags) {
  m.set(left);
  m.set(right, 8);
  return compress(key, 0, BLOCK, flags | PARENT);
}

function hash(data, key, flags) {
  if (data.length <= CHUNK) return chunk(data, 0, key, flags, true);
  const stack = []; // roots of whole subtrees, the largest first
  const count = Math.ceil(data.length / CHUNK);
  for (let at = 0; at < count - 1; at += 1) {
    let node = chunk(data, at * CHUNK, key, flags, false);
    for (let total = at + 1; total % 2 === 0; total /= 2) node = parent(stack.pop(), node, key, flags);
    stack.push(node);
  }
  let node = chunk(data, (count - 1) * CHUNK, key, flags, false);
  while (stack.length) node = parent(stack.pop(), node, key, flags | (stack.length ? 0 : ROOT));
  return node;
}

const KEYS = Object.fromEntries(['image', 'text'].map((kind) =>
  [kind, hash(new TextEncoder().encode(`trunkline v1 ${kind}`), IV, CONTEXT)]));

/** The digest of an input's bytes, 64 hexadecimal digits; `kind` is 'image' or 'text'. */
export function digestOf(kind, data) {
  const words = hash(data, KEYS[kind], MATERIAL);
  return Array.from(new Uint8Array(words.buffer), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
