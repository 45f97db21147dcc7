// Preact and htm, bound once. Text put into a template is always text, never markup: nothing in
// this page sets inner HTML.
import { Component, createRef, h, render } from "./lib/preact.mjs";
import htm from "./lib/htm.module.js";

export const html = htm.bind(h);
export { Component, createRef, render };

// Where the form lies above its results (see style.css), what comes would be out of sight.
const STACKED = "(max-width: 56rem)";

/** Bring the results into view where they lie below the form; the focus stays. */
export function revealResults(results) {
  if (matchMedia(STACKED).matches) setTimeout(() => results?.scrollIntoView({ block: "start" }), 50);
}
