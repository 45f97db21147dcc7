// The exploration as it comes: one card a turn.
import { plural } from "../format.js";
import { Component, html } from "../html.js";

const SHOWN = 8; // retrieved items before "show all"
const SHOWN_SEEN = 3; // of a turn that brought nothing new

/** Props: turns [{ number, thought, preference, retrieved }], running. */
export function Turns({ turns, running }) {
  let pool = 0;
  const cards = turns.map((turn) => {
    pool += (turn.retrieved ?? []).filter((item) => item.new).length;
    return html`<${Turn} key=${turn.number} turn=${turn} pool=${pool} />`;
  });
  return html`<ol class="turns" aria-label="Turns">
    ${cards} ${running && html`<li class="turn turn-next" key="next"><p class="loading"><span class="dots" aria-hidden="true"><i /><i /><i /></span>Exploring</p></li>`}
  </ol>`;
}

class Turn extends Component {
  state = { all: false };

  render({ turn, pool }, { all }) {
    const { number, thought, preference, retrieved } = turn;
    return html`<li class="turn">
      <h3>Turn ${number}</h3>
      ${thought && html`<p class="thought"><span class="tag">Thought</span> ${thought}</p>`}
      ${preference !== undefined && preference !== null && html`<p class="preference"><span class="tag">Asks for</span> <q>${preference || "(nothing)"}</q></p>`}
      ${retrieved && this.renderRetrieved(number, retrieved, pool, all)}
    </li>`;
  }

  renderRetrieved(number, retrieved, pool, all) {
    if (!retrieved.length) return html`<p class="hint">Nothing came back.</p>`;
    const fresh = retrieved.filter((item) => item.new).length;
    const limit = fresh ? SHOWN : SHOWN_SEEN;
    const hidden = retrieved.length - limit;
    return html`<div class="retrieved">
      <p class="retrieved-head">
        <span><b>${plural(retrieved.length, "item")}</b> came back, <b>${fresh} new</b></span>
        <span class="hint">pool ${pool}</span>
      </p>
      <div class="ticks" aria-hidden="true">
        ${retrieved.map((item) => html`<i class=${item.new ? "tick tick-new" : "tick"} />`)}
      </div>
      <ol class="found" aria-label=${`Items of turn ${number}`}>
        ${retrieved.map(
          (item, place) => html`<li
            key=${item.item_id}
            id=${placeId(number, place + 1)}
            tabindex="-1"
            class=${item.new ? "is-new" : ""}
            hidden=${!all && place >= limit}
          >
            <span class="found-title">${item.title}</span>
            ${item.new ? html`<span class="badge">new</span>` : html`<span class="badge badge-quiet">seen</span>`}
          </li>`,
        )}
      </ol>
      ${hidden > 0 &&
      html`<button type="button" class="quiet" aria-expanded=${String(all)} data-turn=${number}
        onClick=${() => this.setState({ all: !all })}>
        ${all ? "Show fewer" : `Show ${hidden} more`}
      </button>`}
    </div>`;
  }
}

function placeId(turn, place) {
  return `turn-${turn}-place-${place}`;
}

/** Go to where an item was found; its turn is unfolded if need be. */
export function showPlace({ turn, place }) {
  const row = document.getElementById(placeId(turn, place));
  if (!row) return;
  if (row.hidden) document.querySelector(`[data-turn="${turn}"][aria-expanded=false]`)?.click();
  setTimeout(() => {
    row.focus();
    row.scrollIntoView({ block: "center" });
  });
}
