// Calls to the service. Whatever goes wrong is thrown as a Problem that says what to do.

// The API lies beside the page, wherever a proxy may have put both.
const BASE = new URL("v1/", import.meta.url);
const KEY = "deeprec.key";
const PATIENCE = 30_000; // milliseconds until an ordinary answer is given up

// Problem documents have the phrases of HTTP as titles; people get these instead.
const TITLES = {
  401: "The service asks for its API key",
  404: "Not found",
  413: "That is too much at once",
  422: "The service can't use this as it is",
  429: "The service is busy",
  500: "The service made a mistake",
  503: "Not available just now",
};
const UNREACHABLE = {
  title: "The service can't be reached",
  detail: "Check that “deeprec serve” still runs and that you are connected, then try again.",
};
const SLOW = {
  title: "The service took too long",
  detail: "It may be busy or loading a run. Wait a moment, then try again.",
};

/** A problem document (RFC 9457), or what the browser says instead of one. */
export class Problem extends Error {
  constructor({ status = 0, title, detail = "", errors = [], retryAfter = null }) {
    super(TITLES[status] ?? title);
    Object.assign(this, { status, title: this.message, detail, errors, retryAfter });
  }
}

let askForKey = null; // async (refused: boolean) => boolean, set by the page
let asking = null; // one question at a time, however many calls wait for the key

export function onKeyNeeded(ask) {
  askForKey = ask;
}

export function storedKey() {
  return sessionStorage.getItem(KEY) ?? "";
}

export function storeKey(key) {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
}

/** Fetch `path` below /v1; returns the response when it is a success. */
export async function request(path, { method = "GET", query, body, signal, patience = PATIENCE } = {}) {
  for (;;) {
    const key = storedKey();
    const response = await send(path, { method, query, body, signal, patience, key });
    if (response.ok) return response;
    const problem = await readProblem(response);
    if (response.status !== 401 || !askForKey) throw problem;
    if (storedKey() === key) {
      asking ??= askForKey(key !== "").finally(() => (asking = null));
      if (!(await asking)) throw problem;
    }
  }
}

/** The JSON answer of `request`; null for an empty one. */
export async function call(path, options) {
  const response = await request(path, options);
  try {
    const text = await response.text();
    return text ? JSON.parse(text) : null;
  } catch (error) {
    throw asProblem(error, options?.signal);
  }
}

async function send(path, { method, query, body, signal, patience, key }) {
  const url = new URL(path, BASE);
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, value);
  }
  const headers = { Accept: "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  // A stream outlives any patience: its caller passes null and stops it by the signal.
  const limits = [signal, patience && AbortSignal.timeout(patience)].filter(Boolean);
  try {
    return await fetch(url, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: limits.length ? AbortSignal.any(limits) : undefined,
    });
  } catch (error) {
    throw asProblem(error, signal);
  }
}

/** A Problem of an error in fetching; an abort by the caller stays what it is. */
export function asProblem(error, signal) {
  if (error instanceof Problem || signal?.aborted) return error;
  return new Problem(error.name === "TimeoutError" ? SLOW : UNREACHABLE);
}

async function readProblem(response) {
  const given = await response.json().catch(() => ({}));
  const seconds = Number(response.headers.get("Retry-After"));
  return new Problem({
    title: given.title ?? `The service answered ${response.status}`,
    detail: typeof given.detail === "string" ? given.detail : "",
    errors: Array.isArray(given.errors) ? given.errors : [],
    status: response.status,
    retryAfter: seconds > 0 ? seconds : null,
  });
}

/** An id that makes sending again harmless. Works without a secure context too. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
