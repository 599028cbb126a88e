// Where inputs come in: <take-inputs> is dropped on, pasted into, and chooses files or a folder; <camera-shot> shoots.

import { button, div, h, toast, wordsOf } from './dom.js';
import { chosenFiles, droppedFiles, leftWords, samplesOf } from './inputs.js';

/** Takes files. Attributes: kind ('image' or 'text'), folders, camera; `onInputs` gets the samples. */
class TakeInputs extends HTMLElement {
  connectedCallback() {
    if (this.firstChild) return;
    const kind = this.getAttribute('kind');
    const accept = kind === 'image' ? 'image/*' : '.csv,.tsv,.jsonl,.ndjson,.txt,.md';
    const files = this.chooser({ multiple: !this.hasAttribute('single'), accept, 'aria-label': this.getAttribute('words') });
    const folder = this.hasAttribute('folders') && this.chooser({ webkitdirectory: true, 'aria-label': 'Folder' });
    const camera = kind === 'image' && this.hasAttribute('camera');
    this.append(h('p', { class: 'soft' }, this.getAttribute('words') ?? ''), div('actions', files, folder,
      button(folder ? 'Choose files' : 'Choose', () => files.click()),
      folder && button('Choose a folder', () => folder.click()),
      camera && button('Camera', () => this.append(h('camera-shot', { onshot: (event) => this.onInputs([event.detail]) })))));
    this.addEventListener('dragover', (event) => { event.preventDefault(); this.classList.add('over'); });
    this.addEventListener('dragleave', () => this.classList.remove('over'));
    this.addEventListener('drop', (event) => {
      event.preventDefault();
      event.stopPropagation();
      this.classList.remove('over');
      this.take(droppedFiles(event.dataTransfer));
    });
    // A whole page of them has one that is pasted into: the first that is in sight.
    this.paste = (event) => {
      if (event.target.matches?.('input, textarea') || document.querySelector('take-inputs') !== this) return;
      const pasted = [...event.clipboardData.files].map((file) => ({ file, path: file.name }));
      if (pasted.length) this.take(Promise.resolve(pasted));
    };
    window.addEventListener('paste', this.paste);
  }

  disconnectedCallback() {
    window.removeEventListener('paste', this.paste);
  }

  chooser(given) {
    const input = h('input', { type: 'file', hidden: true, ...given });
    input.addEventListener('change', async () => {
      await this.take(Promise.resolve(chosenFiles(input)));
      input.value = '';
    });
    return input;
  }

  async take(files) {
    try {
      const kind = this.getAttribute('kind');
      const { samples, left } = await samplesOf(await files, kind);
      const words = leftWords(left, kind);
      if (words) toast(words);
      if (samples.length) this.onInputs(samples);
    } catch (error) {
      toast(wordsOf(error));
    }
  }
}

const EVERY_MS = 250;

/** Shows the camera, and shoots a picture with each press, or many while it is held; sends 'shot' with a sample. */
class CameraShot extends HTMLElement {
  async connectedCallback() {
    const video = h('video', { autoplay: true, playsinline: true, 'aria-label': 'What the camera sees' });
    video.muted = true;
    const shoot = h('button', { type: 'button', class: 'main' }, 'Shoot');
    const hold = () => { this.shoot(video); this.timer = setInterval(() => this.shoot(video), EVERY_MS); };
    shoot.addEventListener('pointerdown', hold);
    for (const kind of ['pointerup', 'pointerleave', 'pointercancel']) shoot.addEventListener(kind, () => clearInterval(this.timer));
    shoot.addEventListener('click', (event) => event.detail === 0 && this.shoot(video)); // by the keyboard
    this.append(video, div('actions', shoot, button('Close', () => this.remove(), { class: 'plain' })));
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 } } });
      if (!this.isConnected) return this.disconnectedCallback();
      video.srcObject = this.stream;
      shoot.focus();
    } catch (error) {
      const why = navigator.mediaDevices ? error.message : 'Browsers give it to https and to this machine alone.';
      this.replaceChildren(h('p', { class: 'note bad' }, `No camera. ${why}`));
    }
    return undefined;
  }

  disconnectedCallback() {
    clearInterval(this.timer);
    this.stream?.getTracks().forEach((track) => track.stop());
  }

  async shoot(video) {
    if (!video.videoWidth) return;
    const side = Math.min(video.videoWidth, video.videoHeight);
    const canvas = h('canvas', { width: 384, height: 384 });
    const [left, above] = [(video.videoWidth - side) / 2, (video.videoHeight - side) / 2];
    canvas.getContext('2d').drawImage(video, left, above, side, side, 0, 0, 384, 384);
    const blob = await new Promise((resolve) => { canvas.toBlob(resolve, 'image/jpeg', .9); });
    const name = `camera ${new Date().toISOString().replace('T', ' ').slice(0, 23)}.jpg`;
    this.dispatchEvent(new CustomEvent('shot', { detail: { kind: 'image', label: null, name, blob } }));
  }
}

customElements.define('take-inputs', TakeInputs);
customElements.define('camera-shot', CameraShot);
