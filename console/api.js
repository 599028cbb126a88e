// The REST API, as a person's key may use it: the only way from here to the server.

const ROOT = new URL('../', import.meta.url);
const KEY = 'trunkline.key';
const MOST_TRIES = 6;

/** An error that the API answered with: its words name the field, the limit and the value. */
export class ApiError extends Error {
  constructor(problem, status, retryAfter) {
    super(problem.detail || problem.title || `status ${status}`);
    Object.assign(this, { status, code: problem.code, reason: problem.reason, field: problem.field, retryAfter });
  }
}

/** Whose key is shown, and what it may do. The key lives as long as its tab, and is in no address. */
export const session = {
  key: null,
  keysRequired: false,
  get secret() { return sessionStorage.getItem(KEY); },
  set secret(text) { text ? sessionStorage.setItem(KEY, text) : sessionStorage.removeItem(KEY); },
  get tenant() { return this.key?.tenant ? idsOf(this.key.tenant)[0] : ''; },
  /** Whether the caller has one of these roles: 'TRAIN', 'OWN', … */
  may(...roles) {
    const own = this.key?.roles ?? ['ROLE_OPERATE'];
    return own.some((role) => role === 'ROLE_OPERATE' || roles.includes(role.slice(5)));
  },
  async open() {
    const answer = await get('v1/whoami');
    this.key = answer.key ?? null;
    this.keysRequired = answer.keys_required;
  },
};

/** Calls a method; what is asked to come again later does, a bounded number of times. */
export async function call(verb, path, { query, body, signal, accept = 'application/json' } = {}) {
  const url = new URL(path, ROOT);
  for (const [name, value] of Object.entries(query ?? {})) {
    for (const one of [value].flat()) if (one != null) url.searchParams.append(name, one);
  }
  const headers = { accept };
  if (session.secret) headers.authorization = `Bearer ${session.secret}`;
  if (body !== undefined) headers['content-type'] = 'application/json';
  for (let tries = 1; ; tries += 1) {
    try {
      const answer = await fetch(url, { method: verb, headers, body: body && JSON.stringify(body), signal, credentials: 'omit', cache: 'no-store' });
      if (answer.ok) return accept === 'text/html' ? answer.text() : await answer.json();
      throw new ApiError(await answer.json().catch(() => ({})), answer.status, Number(answer.headers.get('retry-after')) || 0);
    } catch (error) {
      if (error.status === 401) window.dispatchEvent(new Event('key-wanted'));
      const later = error instanceof TypeError || (error.retryAfter && [429, 503].includes(error.status));
      if (!later || tries === MOST_TRIES) {
        throw error instanceof TypeError ? new Error('The server cannot be reached.') : error;
      }
      await pause(Math.min(30, error.retryAfter || 2 ** (tries - 2)), signal);
    }
  }
}

export const get = (path, query, signal) => call('GET', path, { query, signal });
export const post = (path, body = {}, signal) => call('POST', path, { body, signal });
export const drop = (path) => call('DELETE', path);

/** Waits; rejects when `signal` says so. */
export function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal?.addEventListener('abort', () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
  });
}

/** The ids in a resource's name: 'tenants/a/heads/b' gives ['a', 'b']. */
export const idsOf = (name) => name.split('/').filter((_, at) => at % 2);
/** The address of a head, or of what is below it. */
export const headPath = (tenant, head) => `v1/tenants/${encodeURIComponent(tenant)}/heads/${encodeURIComponent(head)}`;

/** Follows a training until it ends; `watch` sees each state of it. */
export async function follow(name, watch, signal) {
  for (let seconds = 0.2; ; seconds = Math.min(2, seconds * 1.3)) {
    const { training } = await get(`v1/${name}`, {}, signal);
    watch(training);
    if (training.state === 'TRAINING_STATE_SUCCEEDED') return training;
    if (/FAILED|CANCELLED/.test(training.state)) throw new Error(training.error_message || 'The training was cancelled.');
    await pause(seconds, signal);
  }
}

/** Whether the server keeps traffic for review, searches examples and names neighbours: heads of earlier releases say less. */
export const reviews = (head) => 'capture_count' in head;

/** What a head's policy means for its corrections. */
export const policyWords = {
  FEEDBACK_POLICY_IMMEDIATE: 'learns at once',
  FEEDBACK_POLICY_GATED: 'learns when shown to be better',
  FEEDBACK_POLICY_MANUAL: 'learns when told to',
};
