// What went wrong, and what to do about it.
import { Component, html } from "../html.js";

const HOPELESS = [404, 413, 422]; // the same again would fail the same way
const REMEDIES = {
  401: "Enter the key that the service was started with.",
  429: "Your request was not worked on; nothing is lost.",
  500: "Try again; if it happens again, whoever runs the service finds the reason in its log.",
  503: "Wait a little, then try again.",
};

/** An alert with the problem's title, its fields with their remedies, and a way to try again. */
export class ProblemNote extends Component {
  state = { left: null };

  componentDidMount() {
    this.count(this.props.problem.retryAfter);
  }

  componentDidUpdate(before) {
    if (before.problem !== this.props.problem) this.count(this.props.problem.retryAfter);
  }

  componentWillUnmount() {
    clearInterval(this.timer);
  }

  count(seconds) {
    clearInterval(this.timer);
    this.setState({ left: seconds });
    if (!seconds) return;
    this.timer = setInterval(() => {
      const left = this.state.left - 1;
      this.setState({ left: left > 0 ? left : null });
      if (left <= 0) clearInterval(this.timer);
    }, 1000);
  }

  render({ problem, onRetry }, { left }) {
    const { title, detail, errors, status } = problem;
    const remedy = errors.length ? null : REMEDIES[status];
    return html`<div class="note note-bad" role="alert">
      <p class="note-title">${title}</p>
      ${detail && !errors.length && html`<p>${sentence(detail)}</p>`}
      ${errors.length > 0 &&
      html`<ul class="plain-list">
        ${errors.map((error) => html`<li><b>${error.field}</b>${shown(error.value)} ${sentence(error.remedy)}</li>`)}
      </ul>`}
      ${remedy && html`<p>${remedy}</p>`}
      ${onRetry &&
      !HOPELESS.includes(status) &&
      html`<button type="button" class="button" disabled=${left !== null} onClick=${onRetry}>
        ${left === null ? "Try again" : `Try again in ${left} s`}
      </button>`}
    </div>`;
  }
}

function sentence(text) {
  const start = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(start) ? start : `${start}.`;
}

function shown(value) {
  if (value === null || value === undefined) return ":";
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return ` (${text.length > 60 ? `${text.slice(0, 60)}…` : text}):`;
}

export function Loading({ what }) {
  return html`<p class="loading" role="status"><span class="dots" aria-hidden="true"><i /><i /><i /></span>${what}</p>`;
}

export function Empty({ title, children }) {
  return html`<div class="empty">
    <p class="empty-title">${title}</p>
    <p>${children}</p>
  </div>`;
}
