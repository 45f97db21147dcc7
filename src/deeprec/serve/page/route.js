// The place in the page is in the hash, `#/view?name=value`, so that every state can be linked to.

export const VIEWS = ["explore", "compare", "trajectories", "curves"];

export function readRoute() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { view: VIEWS.includes(path) ? path : VIEWS[0], params: new URLSearchParams(query) };
}

/** The link to a view; empty values are left out, a list gives one pair for each entry. */
export function linkTo(view, values = {}) {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") params.append(name, one);
    }
  }
  const query = params.toString();
  return `#/${view}${query ? `?${query}` : ""}`;
}

/** Change the address without a new entry in the browser's history, and tell the page. */
export function replaceRoute(view, values) {
  history.replaceState(null, "", linkTo(view, values));
  dispatchEvent(new HashChangeEvent("hashchange"));
}

export function go(view, values) {
  location.hash = linkTo(view, values);
}

/** A whole number from the address, or null. */
export function numberFrom(params, name) {
  const value = params.get(name);
  return value !== null && Number.isFinite(Number(value)) && value !== "" ? Number(value) : null;
}
