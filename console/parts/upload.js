// Uploads: in batches, digests first, so that what the server knows is not sent again. What stops goes on later.

import { post } from '../api.js';
import { digestOf } from './blake3.js';
import { dataOf, inputOf } from './inputs.js';

const BATCH_ROWS = 48;
const BATCH_BYTES = 6_000_000;
const WORKERS = 2;
const MOST_PROBLEMS = 200;

/** Samples on their way to a head; `changed` is called after each batch. */
export class Upload {
  constructor(path, changed, signal) {
    Object.assign(this, { path, changed, signal, queue: [], total: 0, done: 0, known: 0, failed: 0, problems: [], stopped: null, running: 0 });
  }

  get busy() { return this.running > 0; }
  get left() { return this.total - this.done; }

  add(samples) {
    if (!this.left) Object.assign(this, { total: 0, done: 0, known: 0, failed: 0, problems: [] });
    this.queue.push(...samples);
    this.total += samples.length;
    this.go();
  }

  /** Goes on, from the beginning or from where it stopped. */
  go() {
    this.stopped = null;
    while (this.running < WORKERS && this.running < this.queue.length) this.work();
    this.changed(this);
  }

  pause() {
    this.stopped = 'Paused.';
  }

  async work() {
    this.running += 1;
    while (this.queue.length && !this.stopped) {
      const batch = this.next();
      try {
        await this.send(batch);
        this.done += batch.length;
      } catch (error) {
        if (this.signal.aborted) return;
        this.queue.unshift(...batch); // nothing is lost: the same batch is sent when it goes on
        this.stopped = error.message;
      }
      this.changed(this);
    }
    this.running -= 1;
    this.changed(this);
  }

  next() {
    let size = 0;
    let count = 0;
    for (const sample of this.queue) {
      size += sample.blob?.size ?? sample.text.length;
      if (count && (size > BATCH_BYTES || count === BATCH_ROWS)) break;
      count += 1;
    }
    return this.queue.splice(0, count);
  }

  async send(batch) {
    for (const sample of batch) sample.digest ??= digestOf(sample.kind, await dataOf(sample));
    const asked = await post(`${this.path}:findMissingInputs`, { digests: [...new Set(batch.map((sample) => sample.digest))] }, this.signal);
    const missing = new Set(asked.missing);
    const examples = [];
    for (const sample of batch) {
      const input = missing.has(sample.digest) ? await inputOf(sample) : { digest: sample.digest };
      examples.push({ input, ...(sample.label ? { label: sample.label } : {}), ...(fits(sample.name) ? { external_id: sample.name } : {}) });
    }
    const answer = await post(`${this.path}/examples`, { examples }, this.signal);
    this.known += batch.length - asked.missing.length;
    this.failed += answer.failed;
    for (const { row, message } of answer.errors) {
      batch[row].failed = message;
      if (this.problems.length < MOST_PROBLEMS) this.problems.push(`${batch[row].name || 'text'}: ${message}`);
    }
  }
}

const fits = (name) => name && new TextEncoder().encode(name).length <= 256;
