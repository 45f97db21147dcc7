// Explore: choose a history, watch the exploration, judge the list.
import { asProblem, Problem } from "../api.js";
import { plural, seconds, stopText, typedNumber } from "../format.js";
import { Component, createRef, html, revealResults } from "../html.js";
import { announce } from "../parts/announce.js";
import { Composer, readChoice, requestOf, writeChoice } from "../parts/composer.js";
import { NumberField } from "../parts/number.js";
import { Empty, ProblemNote } from "../parts/problem.js";
import { Ranking } from "../parts/ranking.js";
import { Turns } from "../parts/turns.js";
import { linkTo, replaceRoute } from "../route.js";
import { streamRecommendation } from "../stream.js";

const IDLE = { status: "idle", turns: [], answer: null, problem: null, user: "", wish: "" };

/** Props: params (of the address), run (its name), runs (all that are served). */
export class Explore extends Component {
  results = createRef();
  state = { ...IDLE };

  componentWillUnmount() {
    this.stop();
  }

  change = (values) => {
    const { params, run } = this.props;
    replaceRoute("explore", { run, ...writeChoice(readChoice(params)), ...settingsOf(params), ...values });
  };

  // The button may have become the one that starts before the browser acts on the click.
  stop = (event) => {
    event?.preventDefault();
    this.streaming?.abort();
  };

  start = async (event) => {
    event?.preventDefault();
    const choice = readChoice(this.props.params);
    const wanted = requestOf(choice);
    if (!wanted) {
      return this.setState({ ...IDLE, status: "failed", problem: new Problem(nothingChosen(choice.who)) });
    }
    const { k, turns, deadline } = settingsOf(this.props.params);
    const patience = typedNumber(deadline);
    await this.watch({
      ...wanted,
      run: this.props.run || undefined,
      k: typedNumber(k),
      max_turns: typedNumber(turns),
      deadline_ms: typeof patience === "number" ? Math.round(patience * 1000) : patience,
    });
  };

  async watch(body) {
    this.stop();
    const streaming = (this.streaming = new AbortController());
    const show = (state) => this.streaming === streaming && this.setState(state);
    show({ ...IDLE, status: "running", user: body.user_id ?? "" });
    announce("Exploration started.");
    revealResults(this.results.current);
    try {
      for await (const { event, data } of streamRecommendation(body, streaming.signal)) {
        if (event === "start") show({ wish: data.wish });
        else if (event === "ranking") {
          show(({ turns }) => ({ status: "done", answer: data, turns: data.turns.length ? data.turns : turns }));
          announce(`Finished: ${plural(data.items.length, "item")} recommended.`);
        } else show((state) => ({ turns: withEvent(state.turns, event, data) }));
        if (event === "retrieved") announce(saidOf(data));
      }
    } catch (error) {
      const problem = asProblem(error, streaming.signal);
      if (problem instanceof Problem) show({ status: "failed", problem });
      else {
        show({ status: "stopped" });
        announce("Exploration stopped.");
      }
    }
  }

  render({ params, run }, { status, turns, answer, problem, user, wish }) {
    const choice = readChoice(params);
    const running = status === "running";
    return html`<div class="split">
      <form class="panel" onSubmit=${this.start} novalidate>
        <${Composer} choice=${choice} run=${this.props.runs.find((one) => one.name === run)} onChange=${(chosen) => this.change(writeChoice(chosen))} />
        ${this.renderSettings(settingsOf(params))}
        <div class="actions">
          <button type=${running ? "button" : "submit"} class=${running ? "button" : "button button-main"}
            onClick=${running && this.stop}>${running ? "Stop" : "Explore"}</button>
          ${!running && requestOf(choice) && html`<a class="quiet" href=${linkTo("compare", { run, ...writeChoice(choice), k: params.get("k") })}>Compare instead</a>`}
        </div>
      </form>
      <div class="results" ref=${this.results} aria-busy=${String(running)}>
        ${problem && html`<${ProblemNote} problem=${problem} onRetry=${this.start} />`}
        ${status === "stopped" && html`<p class="note" role="status">Stopped. What had come by then stays here; Explore begins anew.</p>`}
        ${status === "idle" && html`<${Empty} title="Nothing explored yet">
          Choose whose history to start from, then press Explore. The model's turns appear here as it takes them.<//>`}
        ${(running || turns.length > 0 || answer) &&
        html`<div class="columns">
          <section aria-labelledby="turns-title">
            <div class="section-head"><h2 id="turns-title">Exploration</h2>${answer && html`<p class="hint">${summary(answer)}</p>`}</div>
            ${wish && html`<p class="said-wish"><span class="tag">You said</span> <q>${wish}</q></p>`}
            ${!running && !turns.length && html`<p class="hint">The model took no turn.</p>`}
            <${Turns} turns=${turns} running=${running} />
          </section>
          <section aria-labelledby="list-title">
            <div class="section-head"><h2 id="list-title">Recommendations</h2>${answer && html`<p class="hint">${answer.run}</p>`}</div>
            ${answer ? this.renderAnswer(answer, user, wish) : html`<p class="hint">${running ? "The list comes when the model has finished." : "No list came."}</p>`}
          </section>
        </div>`}
      </div>
    </div>`;
  }

  renderAnswer(answer, user, wish) {
    return html`<${SourceNote} answer=${answer} />
      <${Ranking} key=${answer.request_id} answer=${answer} user=${user} wish=${wish} linked=${true} />`;
  }

  renderSettings({ k, turns, deadline }) {
    const set = (text, name) => this.change({ [name]: text });
    return html`<fieldset class="group settings">
      <legend>How far?</legend>
      <${NumberField} label="List length" name="k" min="1" value=${k} placeholder="auto" onChange=${set} />
      <${NumberField} label="Most turns" name="turns" min="1" value=${turns} placeholder="auto" onChange=${set} />
      <${NumberField} label="Deadline, s" name="deadline" min="0" step="any" value=${deadline} placeholder="auto" onChange=${set} />
    </fieldset>`;
  }
}

/** When and why the TRM stepped in; nothing when it did not. */
export function SourceNote({ answer }) {
  if (answer.source === "trm") {
    return html`<p class="note note-care"><b>This is the TRM's own list</b>${because(answer)}</p>`;
  }
  return answer.reason && html`<p class="note note-plain"><b>The TRM filled in</b>${because(answer)}</p>`;
}

function because({ reason }) {
  return reason ? `: ${reason}.` : ".";
}

function settingsOf(params) {
  return { k: params.get("k") ?? "", turns: params.get("turns") ?? "", deadline: params.get("deadline") ?? "" };
}

function nothingChosen(who) {
  return who === "user"
    ? { title: "No user chosen", detail: "Search for a user and pick one from the list, or say what you are in the mood for, then press Explore." }
    : { title: "No titles picked", detail: "Add at least one title to the history, or say what you are in the mood for, then press Explore." };
}

function withEvent(turns, event, data) {
  if (!["thought", "preference", "retrieved"].includes(event)) return turns;
  const at = turns.findIndex((turn) => turn.number === data.turn);
  const turn = at < 0 ? { number: data.turn } : { ...turns[at] };
  if (event === "retrieved") turn.retrieved = data.items;
  else turn[event] = data.text;
  return at < 0 ? [...turns, turn] : turns.with(at, turn);
}

function saidOf({ turn, items }) {
  return `Turn ${turn}: ${plural(items.length, "item")} came back, ${items.filter((item) => item.new).length} new.`;
}

function summary(answer) {
  const parts = [plural(answer.turns.length, "turn"), seconds(answer.seconds)];
  if (answer.tokens) parts.push(plural(answer.tokens, "token"));
  if (answer.stop_reason) parts.push(stopText(answer.stop_reason));
  return parts.join(" · ");
}
