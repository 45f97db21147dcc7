// Trajectories: the samples that a run kept from training, filtered, and one of them to read.
import { asProblem, call, Problem } from "../api.js";
import { plural, short, stopText } from "../format.js";
import { Component, createRef, html } from "../html.js";
import { announce } from "../parts/announce.js";
import { NumberField } from "../parts/number.js";
import { Empty, Loading, ProblemNote } from "../parts/problem.js";
import { TrajectoryDetail } from "../parts/trajectory.js";
import { linkTo, numberFrom, replaceRoute } from "../route.js";

const PAGE = 20; // trajectories a page
const FILTERS = ["stage", "stop_reason", "turns", "step", "min_reward", "max_reward"];
const STAGES = [["", "both"], ["cold_start", "cold start"], ["recommendation", "recommendation"]];
const STOPS = ["finished", "no_list", "empty_preference", "retrieval_limit", "segment_limit", "token_limit"];

/** Props: params (of the address: the filters, `offset`, and `show`, a place in the filtered list), run. */
export class Trajectories extends Component {
  detail = createRef();
  state = { found: null, foundFor: null, problem: null };

  componentDidMount() {
    this.load();
  }

  componentDidUpdate(before) {
    if (this.query(before.params) !== this.query(this.props.params)) this.load();
    const show = this.props.params.get("show");
    if (show !== null && show !== before.params.get("show")) this.detail.current?.focus();
  }

  componentWillUnmount() {
    this.loading?.abort();
  }

  filters(params) {
    return Object.fromEntries(FILTERS.map((name) => [name, params.get(name) ?? ""]));
  }

  // A link to one trajectory opens the page of the list that it is on.
  offset(params) {
    const show = numberFrom(params, "show");
    return show === null ? (numberFrom(params, "offset") ?? 0) : Math.floor(show / PAGE) * PAGE;
  }

  query(params) {
    return JSON.stringify([this.filters(params), this.offset(params)]);
  }

  load = async () => {
    const { run, params } = this.props;
    this.loading?.abort();
    const loading = (this.loading = new AbortController());
    this.setState({ problem: null });
    try {
      const query = { ...this.filters(params), offset: this.offset(params), limit: PAGE };
      const found = await call(`runs/${encodeURIComponent(run)}/trajectories`, { query, signal: loading.signal });
      this.setState({ found, foundFor: this.query(params) });
      announce(`${plural(found.total, "trajectory", "trajectories")} found.`);
    } catch (error) {
      const problem = asProblem(error, loading.signal);
      if (problem instanceof Problem) this.setState({ found: null, problem });
    }
  };

  to(values) {
    const { run, params } = this.props;
    return { run, ...this.filters(params), ...values };
  }

  filter = (value, name) => replaceRoute("trajectories", this.to({ [name]: value }));

  choose = ({ currentTarget: { name, value } }) => this.filter(value, name);

  render({ params }, { found, foundFor, problem }) {
    const offset = this.offset(params);
    const show = numberFrom(params, "show");
    const isCurrent = foundFor === this.query(params); // else another page of the list is on its way
    const shown = show !== null && isCurrent ? found?.trajectories[show - offset] : null;
    return html`<div class="stack">
      ${this.renderFilters(this.filters(params))}
      ${problem && html`<${ProblemNote} problem=${problem} onRetry=${this.load} />`}
      ${!found && !problem && html`<${Loading} what="Reading trajectories" />`}
      ${found && !found.total && this.renderNone(params)}
      ${found?.total > 0 && !found.trajectories.length && this.renderPastEnd(found.total)}
      ${found?.trajectories.length > 0 &&
      html`<div class=${shown ? "split split-list has-detail" : "split split-list"}>
        <section class="browse" aria-labelledby="browse-title">
          <div class="section-head"><h2 id="browse-title">${found.total.toLocaleString("en")} found</h2>
            <p class="hint">${offset + 1}–${offset + found.trajectories.length}</p></div>
          <ol class="rows">
            ${found.trajectories.map((one, place) => this.renderRow(one, offset + place, show))}
          </ol>
          ${this.renderPager(offset, found.total)}
        </section>
        <section class="detail" aria-labelledby="detail-title">
          ${shown
            ? html`<h2 id="detail-title" tabindex="-1" ref=${this.detail}>${shown.user_id}, step ${shown.step}</h2>
              <p class="back"><a class="quiet" href=${linkTo("trajectories", this.to({ offset: offset || null }))}>Back to the list</a></p>
              <${TrajectoryDetail} key=${this.query(params) + show} trajectory=${shown} />`
            : html`<h2 id="detail-title" class="hidden-text">One trajectory</h2>
              <${Empty} title="Pick a trajectory">Its turns, its list and what it earned are shown here.<//>`}
        </section>
      </div>`}
    </div>`;
  }

  renderPastEnd(total) {
    return html`<${Empty} title="This is past the end of the list">
      ${plural(total, "trajectory", "trajectories")} match; <a href=${linkTo("trajectories", this.to({}))}>go to the first ones</a>.<//>`;
  }

  renderNone(params) {
    const filtered = FILTERS.some((name) => params.get(name));
    return filtered
      ? html`<${Empty} title="No trajectory matches">Loosen a filter, or <a href=${linkTo("trajectories", { run: this.props.run })}>clear them all</a>.<//>`
      : html`<${Empty} title="This run kept no trajectories">They are written while reinforcement learning runs, to trajectories.jsonl in the run folder.<//>`;
  }

  renderFilters(values) {
    const number = (name, label, step, min) =>
      html`<${NumberField} label=${label} name=${name} step=${step} min=${min} value=${values[name]} placeholder="any"
        onChange=${this.filter} />`;
    return html`<form class="filters panel" aria-label="Filters" onSubmit=${(event) => event.preventDefault()}>
      <label class="field">Stage<select name="stage" value=${values.stage} onChange=${this.choose}>
        ${STAGES.map(([name, text]) => html`<option value=${name}>${text}</option>`)}</select></label>
      <label class="field">Ended<select name="stop_reason" value=${values.stop_reason} onChange=${this.choose}>
        <option value="">any way</option>
        ${STOPS.map((name) => html`<option value=${name}>${name.replaceAll("_", " ")}</option>`)}</select></label>
      ${number("turns", "Turns", 1, 0)} ${number("step", "Step", 1, 1)}
      ${number("min_reward", "Reward from", "any")} ${number("max_reward", "Reward to", "any")}
      <a class="quiet" href=${linkTo("trajectories", { run: this.props.run })}>Clear filters</a>
    </form>`;
  }

  renderRow(one, place, show) {
    const turns = plural(one.turns.length, "turn");
    return html`<li key=${place}>
      <a class="row" href=${linkTo("trajectories", this.to({ show: place }))} aria-current=${place === show ? "true" : null}>
        <span class="row-reward"><span class="hidden-text">Reward </span>${short(one.reward)}</span>
        <span class="row-main"><b>${one.user_id}</b> <span class="hint">${one.stage.replaceAll("_", " ")} · step ${one.step}</span></span>
        <span class="row-end">${turns}<span class=${one.stop_reason === "finished" ? "badge badge-quiet" : "badge badge-care"}
          title=${stopText(one.stop_reason)}>${one.stop_reason.replaceAll("_", " ")}</span></span>
      </a>
    </li>`;
  }

  renderPager(offset, total) {
    if (total <= PAGE) return null;
    const before = offset > 0 && linkTo("trajectories", this.to({ offset: offset - PAGE || null }));
    const after = offset + PAGE < total && linkTo("trajectories", this.to({ offset: offset + PAGE }));
    return html`<nav class="pager" aria-label="Pages of the list">
      ${before ? html`<a class="button" href=${before}>Previous</a>` : html`<span class="button is-off">Previous</span>`}
      ${after ? html`<a class="button" href=${after}>Next</a>` : html`<span class="button is-off">Next</span>`}
    </nav>`;
  }
}
