// Compare: the same history, answered by the policy, with and without the wish, by its plain TRM, and by another run.
import { asProblem, call, Problem } from "../api.js";
import { itemDetail, plural, seconds, typedNumber } from "../format.js";
import { Component, createRef, html, revealResults } from "../html.js";
import { announce } from "../parts/announce.js";
import { Composer, readChoice, requestOf, writeChoice } from "../parts/composer.js";
import { NumberField } from "../parts/number.js";
import { Empty, Loading, ProblemNote } from "../parts/problem.js";
import { originOf } from "../parts/ranking.js";
import { linkTo, replaceRoute } from "../route.js";
import { SourceNote } from "./explore.js";

const PATIENCE = 120_000; // milliseconds: a policy may take its time, and three lists wait in one queue

/** Props: params (of the address), run (its name), runs (all that are served). */
export class Compare extends Component {
  results = createRef();
  state = { asked: null, answers: {}, problems: {}, missing: null };

  componentWillUnmount() {
    this.asking?.abort();
  }

  sides() {
    const { run, runs, params } = this.props;
    const others = runs.filter((one) => one.name !== run);
    const named = params.get("other") ?? "";
    const other = others.find((one) => one.name === named)?.name ?? others[0]?.name;
    const sides = [
      { id: "policy", name: "DeepRec", detail: run, body: { run, mode: "deeprec" } },
      { id: "trm", name: "Plain TRM", detail: run, body: { run, mode: "trm", wish: undefined } },
    ];
    if (readChoice(params).wish.trim()) {
      sides[0].name = "DeepRec, with the wish";
      sides.push({ id: "silent", name: "Without the wish", detail: run, body: { run, mode: "deeprec", wish: undefined } });
    }
    return other ? [...sides, { id: "other", name: "Another run", detail: other, body: { run: other, mode: "deeprec" } }] : sides;
  }

  change = (values) => {
    const { run, params } = this.props;
    const now = { other: params.get("other"), k: params.get("k"), ...writeChoice(readChoice(params)) };
    replaceRoute("compare", { run, ...now, ...values });
  };

  start = async (event) => {
    event?.preventDefault();
    const wanted = requestOf(readChoice(this.props.params));
    if (!wanted) {
      const missing = { title: "No history chosen", detail: "Pick a user or add a title first, then press Compare." };
      return this.setState({ asked: null, answers: {}, problems: {}, missing: new Problem(missing) });
    }
    this.asking?.abort();
    const asking = (this.asking = new AbortController());
    const asked = this.sides();
    const k = this.props.params.get("k");
    this.setState({ asked, answers: {}, problems: {}, missing: null });
    announce(`Asking for ${asked.length} lists.`);
    revealResults(this.results.current);
    const body = (side) => ({ ...wanted, ...side.body, k: typedNumber(k) });
    const came = await Promise.all(asked.map((side) => this.ask(side, body(side), asking.signal)));
    if (!asking.signal.aborted) announce(sharedText(asked, Object.fromEntries(came)) || "Not all lists came.");
  };

  async ask(side, body, signal) {
    try {
      const answer = await call("recommendations", { method: "POST", body, signal, patience: PATIENCE });
      if (!signal.aborted) this.setState(({ answers }) => ({ answers: { ...answers, [side.id]: answer } }));
      return [side.id, answer];
    } catch (error) {
      const problem = asProblem(error, signal);
      if (problem instanceof Problem) this.setState(({ problems }) => ({ problems: { ...problems, [side.id]: problem } }));
      return [side.id, null];
    }
  }

  render({ run, runs, params }, { asked, answers, problems, missing }) {
    const choice = readChoice(params);
    return html`<div class="split">
      <form class="panel" onSubmit=${this.start} novalidate>
        <${Composer} choice=${choice} run=${runs.find((one) => one.name === run)} onChange=${(chosen) => this.change(writeChoice(chosen))} />
        <fieldset class="group settings">
          <legend>What beside it?</legend>
          <${NumberField} label="List length" name="k" min="1" value=${params.get("k") ?? ""} placeholder="auto"
            onChange=${(k) => this.change({ k })} />
          ${runs.length > 1
            ? html`<label class="field field-wide">Another run<select value=${this.sides().at(-1).detail}
                onChange=${(event) => this.change({ other: event.currentTarget.value })}>
                ${runs.filter((one) => one.name !== run).map((one) => html`<option value=${one.name}>${one.name}</option>`)}
              </select></label>`
            : html`<p class="hint field-wide">Only one run is served. Start the service with “--compare RUN” to see another beside it.</p>`}
        </fieldset>
        <div class="actions">
          <button class="button button-main">Compare</button>
          ${requestOf(choice) && html`<a class="quiet" href=${linkTo("explore", { run, ...writeChoice(choice) })}>Watch it explore</a>`}
        </div>
      </form>
      <div class="results" ref=${this.results}>
        ${missing && html`<${ProblemNote} problem=${missing} />`}
        ${!asked && !missing && html`<${Empty} title="Nothing compared yet">
          Choose a history, then press Compare. Items that several lists share are marked in each.<//>`}
        ${asked && html`<p class="summary">${sharedText(asked, answers)}</p>
        <div class="lists">${asked.map((side) => this.renderSide(side, asked, answers, problems))}</div>`}
      </div>
    </div>`;
  }

  renderSide(side, asked, answers, problems) {
    const answer = answers[side.id];
    const problem = problems[side.id];
    return html`<section class="list-side" aria-labelledby=${`side-${side.id}`} key=${side.id}>
      <div class="section-head"><h2 id=${`side-${side.id}`}>${side.name}</h2>
        <p class="hint">${side.detail}${answer ? ` · ${seconds(answer.seconds)}` : ""}</p></div>
      ${problem && html`<${ProblemNote} problem=${problem} onRetry=${() => this.start()} />`}
      ${!answer && !problem && html`<${Loading} what="Waiting for the list" />`}
      ${answer && side.id !== "trm" && html`<${SourceNote} answer=${answer} />`}
      ${answer && html`<ol class="ranking ranking-small">
        ${answer.items.map((item) => renderItem(item, side, answer, asked, answers))}
      </ol>`}
    </section>`;
  }
}

function renderItem(item, side, answer, asked, answers) {
  const others = asked.filter((one) => one.id !== side.id && answers[one.id]);
  const shared = others
    .map((one) => ({ name: one.name, found: answers[one.id].items.find((other) => other.item_id === item.item_id) }))
    .filter(({ found }) => found);
  return html`<li key=${item.item_id} class=${shared.length ? "pick is-shared" : "pick"}>
    <span class="rank" aria-hidden="true">${item.rank}</span>
    <div class="pick-body">
      <h3 class="pick-title">${item.title}</h3>
      ${itemDetail(item) && html`<p class="hint">${itemDetail(item)}</p>`}
      ${side.id !== "trm" && html`<p class="hint">${originOf(item, answer)}</p>`}
      ${shared.length > 0
        ? html`<p class="shared"><span aria-hidden="true">=</span> ${shared.map(({ name, found }) => `${name} ${found.rank}`).join(", ")}</p>`
        : others.length > 0 && html`<p class="shared shared-none">only here</p>`}
    </div>
  </li>`;
}

function sharedText(asked, answers) {
  const came = asked.filter((side) => answers[side.id]);
  if (came.length < asked.length) return "";
  const sets = came.map((side) => new Set(answers[side.id].items.map((item) => item.item_id)));
  const first = [...sets[0]];
  const inAll = first.filter((item) => sets.every((set) => set.has(item))).length;
  const pair = first.filter((item) => sets[1].has(item)).length;
  const head = `DeepRec and its plain TRM share ${plural(pair, "item")} of ${first.length}`;
  return sets.length > 2 ? `${head}; ${inAll} ${inAll === 1 ? "is" : "are"} in all ${sets.length === 3 ? "three" : "four"} lists.` : `${head}.`;
}
