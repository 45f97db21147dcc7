// The final list: what is recommended, where each item came from, and what the user thinks of it.
import { call, newKey } from "../api.js";
import { itemDetail } from "../format.js";
import { Component, html } from "../html.js";
import { announce } from "./announce.js";
import { showPlace } from "./turns.js";

const STARS = [1, 2, 3, 4, 5];

/** Where an item of an answer came from, in words. */
export function originOf(item, answer) {
  if (item.found) return `Turn ${item.found.turn}, place ${item.found.place}`;
  if (answer.source === "trm") return "From the TRM's own ranking";
  return item.filled_in ? "Filled in by the TRM" : "Named by the model, not retrieved";
}

/** Props: answer, user (a known user's id, or empty: then nothing is asked), wish (what they had said), linked (turns are on the page). */
export class Ranking extends Component {
  state = { unsent: null };

  componentDidMount() {
    this.sendImpressions();
  }

  componentWillUnmount() {
    this.gone = true;
  }

  // One after the other: a list is one page view, and shall not use up a rate limit at once.
  async sendImpressions() {
    const { answer, user, wish } = this.props;
    if (!user) return;
    try {
      for (const { item_id } of answer.items) {
        if (this.gone) return;
        await sendFeedback(user, answer, wish, item_id, "impression");
      }
    } catch (problem) {
      this.setState({ unsent: problem });
    }
  }

  render({ answer, user, wish, linked }, { unsent }) {
    return html`<ol class="ranking" aria-label="Recommended items">
        ${answer.items.map(
          (item) => html`<li key=${item.item_id} class="pick">
            <span class="rank" aria-hidden="true">${item.rank}</span>
            <div class="pick-body">
              <h3 class="pick-title">${item.title}</h3>
              <p class="origin">${itemDetail(item) && html`<span>${itemDetail(item)}</span>`}${this.renderOrigin(item, answer, linked)}</p>
              ${user && html`<${Opinion} item=${item} answer=${answer} user=${user} wish=${wish} />`}
            </div>
          </li>`,
        )}
      </ol>
      ${!user && html`<p class="hint">Pick a known user to give feedback: it is kept with the user.</p>`}
      ${unsent && html`<p class="hint">That this list was shown could not be stored (${unsent.message}).</p>`}`;
  }

  renderOrigin(item, answer, linked) {
    const text = originOf(item, answer);
    if (!item.found || !linked) return html`<span><span class="origin-mark" aria-hidden="true">◇ </span>${text}</span>`;
    return html`<span><span class="origin-mark" aria-hidden="true">◆ </span><button type="button" class="link" onClick=${() => showPlace(item.found)}>
        <span class="hidden-text">Found in </span>${text}</button></span>`;
  }
}

/** "Interested", and one to five stars. */
class Opinion extends Component {
  state = { clicked: false, stars: 0, said: "" };

  async send(kind, value) {
    const { item, answer, user, wish } = this.props;
    const before = this.state;
    this.setState(kind === "click" ? { clicked: true } : { stars: value });
    try {
      await sendFeedback(user, answer, wish, item.item_id, kind, value);
      const what = kind === "click" ? "interested" : `${value} of 5`;
      this.setState({ said: kind === "click" ? "Noted" : `Noted: ${what}` });
      announce(`Noted: ${what}, ${item.title}.`);
    } catch (problem) {
      const said = `Not stored: ${problem.message}. ${problem.detail ?? ""}`.trim();
      this.setState({ clicked: before.clicked, stars: before.stars, said });
      announce(said);
    }
  }

  render({ item, answer }, { clicked, stars, said }) {
    const group = `stars-${answer.request_id}-${item.rank}`;
    return html`<div class="opinion">
      <button type="button" class="small" aria-pressed=${String(clicked)} aria-label=${`Interested in ${item.title}`}
        onClick=${() => !clicked && this.send("click")}>${clicked ? "✓ Interested" : "Interested"}</button>
      <fieldset class="stars">
        <legend class="hidden-text">Rate ${item.title}</legend>
        ${STARS.map(
          (star) => html`<label class=${star <= stars ? "star is-on" : "star"} title=${`${star} of 5`}>
            <input type="radio" name=${group} value=${star} checked=${star === stars}
              onChange=${() => this.send("rating", star)} />
            <span aria-hidden="true">${star <= stars ? "★" : "☆"}</span>
            <span class="hidden-text">${star} of 5</span>
          </label>`,
        )}
      </fieldset>
      <span class="said">${said}</span>
    </div>`;
  }
}

function sendFeedback(user, answer, wish, item_id, kind, value) {
  const ids = { run: answer.run, request_id: answer.request_id, idempotency_key: newKey() };
  return call("feedback", { method: "POST", body: { user_id: user, item_id, kind, value, wish: wish || undefined, ...ids } });
}
