// One trajectory of training: what it earned, part by part, and what was said in it.
import { plural, short, stopText } from "../format.js";
import { html } from "../html.js";

/** Props: trajectory, a record of `trajectories.jsonl` with the titles of its items. */
export function TrajectoryDetail({ trajectory }) {
  const { turns, ranking, reward, parts, stop_reason, format_errors, prompt, response, stage } = trajectory;
  const seen = new Set();
  const facts = [stage.replaceAll("_", " "), plural(turns.length, "turn"), stopText(stop_reason)];
  return html`<p class="hint">${facts.join(" · ")}</p>
    ${format_errors?.length > 0 && html`<p class="note note-care"><b>Format errors:</b> ${format_errors.join("; ")}</p>`}
    <h3>Reward</h3>
    <${Parts} parts=${parts} reward=${reward} />
    <h3>Turns</h3>
    <ol class="turns">${turns.map((turn, place) => renderTurn(turn, place, seen))}</ol>
    <h3>List</h3>
    ${ranking.length
      ? html`<ol class="plain-ranking">${ranking.map((item) => renderRanked(item, trajectory, seen))}</ol>`
      : html`<p class="hint">No list.</p>`}
    <details><summary>What was written, word for word</summary>
      <h4>Prompt</h4><pre tabindex="0">${prompt}</pre>
      <h4>Response</h4><pre tabindex="0">${response}</pre>
    </details>`;
}

function renderRanked(item, { target }, seen) {
  const id = idOf(item);
  const isTarget = idOf(target) === id;
  return html`<li class=${isTarget ? "is-target" : ""}>
    <span>${titleOf(item)}</span>
    ${isTarget && html`<span class="badge">target</span>`}
    ${!seen.has(id) && html`<span class="badge badge-quiet">not retrieved</span>`}
  </li>`;
}

function renderTurn(turn, place, seen) {
  const fresh = turn.retrieved.filter((item) => !seen.has(idOf(item))).length;
  for (const item of turn.retrieved) seen.add(idOf(item));
  return html`<li class="turn" key=${place}>
    <h4>Turn ${place + 1}</h4>
    ${turn.thought && html`<p class="thought"><span class="tag">Thought</span> ${turn.thought}</p>`}
    <p class="preference"><span class="tag">Asks for</span> <q>${turn.preference || "(nothing)"}</q></p>
    ${turn.retrieved.length
      ? html`<details><summary>${plural(turn.retrieved.length, "item")}, ${fresh} new</summary>
          <ol class="plain-ranking">${turn.retrieved.map((item) => html`<li>${titleOf(item)}</li>`)}</ol></details>`
      : html`<p class="hint">Nothing came back.</p>`}
  </li>`;
}

// The bars lie on one scale, with zero in the same place for all of them.
function Parts({ parts, reward }) {
  const rows = Object.entries(parts);
  const high = Math.max(0, ...rows.map(([, value]) => value));
  const low = Math.min(0, ...rows.map(([, value]) => value));
  const scale = 100 / (high - low || 1);
  return html`<table class="parts">
    <caption class="hidden-text">Reward by part</caption>
    <thead class="hidden-text"><tr><th scope="col">Part</th><th scope="col">Value</th><th scope="col">Bar</th></tr></thead>
    <tbody>
      ${rows.map(
        ([name, value]) => html`<tr key=${name}>
          <th scope="row">${name.replaceAll("_", " ")}</th>
          <td class="number">${short(value)}</td>
          <td class="bar"><svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
            <rect class=${value < 0 ? "bar-bad" : "bar-good"} x=${(Math.min(0, value) - low) * scale} y="0"
              width=${Math.abs(value) * scale} height="8" rx="1" />
            <line x1=${-low * scale} x2=${-low * scale} y1="0" y2="8" /></svg></td>
        </tr>`,
      )}
    </tbody>
    <tfoot><tr><th scope="row">Total, weighted</th><td class="number">${short(reward)}</td><td></td></tr></tfoot>
  </table>`;
}

function idOf(item) {
  return item !== null && typeof item === "object" ? item.item_id : item;
}

function titleOf(item) {
  return item !== null && typeof item === "object" ? item.title : `item ${item}`;
}
