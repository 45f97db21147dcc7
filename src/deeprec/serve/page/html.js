// Preact and htm, bound once. Text put into a template is always text, never markup: nothing in
// this page sets inner HTML.
import { Component, createRef, h, render } from "./lib/preact.mjs";
import htm from "./lib/htm.module.js";

export const html = htm.bind(h);
export { Component, createRef, render };
