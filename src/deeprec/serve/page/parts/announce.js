// One polite live region for the whole page: what happens is said there, in short sentences.
import { Component, html } from "../html.js";

let say = () => {};

/** Have a screen reader say `text`; what is said close together is joined, so that nothing is lost. */
export function announce(text) {
  say(text);
}

export class Announcer extends Component {
  state = { text: "" };

  componentDidMount() {
    let pending = [];
    say = (text) => {
      pending.push(text);
      clearTimeout(this.timer);
      this.timer = setTimeout(() => {
        this.setState({ text: pending.join(" ") });
        pending = [];
      }, 120);
    };
  }

  componentWillUnmount() {
    clearTimeout(this.timer);
  }

  render() {
    return html`<p class="hidden-text" role="status" aria-live="polite">${this.state.text}</p>`;
  }
}
