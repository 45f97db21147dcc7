// Curves: what training logged, as small charts in groups; held-out figures lie beside training's own.
import { asProblem, call, Problem } from "../api.js";
import { Component, html } from "../html.js";
import { Chart } from "../parts/chart.js";
import { Empty, Loading, ProblemNote } from "../parts/problem.js";
import { replaceRoute } from "../route.js";

const FIRST = "recommendation"; // the stage to begin with, where it was trained
const STAGES = {
  recommendation: "Recommendation (RL, outcome)",
  cold_start: "Cold start (RL, process)",
  warm_start: "Warm start",
  trm: "TRM",
  trm_refit: "TRM, refitted",
};
const GROUPS = [
  ["Reward", (name) => name.startsWith("reward")],
  ["How well it recommends", (name) => /^(ndcg|recall|mrr|hit_rate|pool_recall|median_rank)/.test(name)],
  ["How it explores", (name) => /^(retrievals|validity|preference|commonest|distinct|tokens|response_tokens|truncated|repe)/.test(name)],
  ["Why trajectories end", (name) => name.startsWith("stop/")],
  ["Optimisation", (name) => /^(loss|grad_norm|learning_rate|entropy|clip|groups_without|preference_loss|period)/.test(name)],
  ["Time", (name) => /seconds/.test(name)],
];
const HELD_OUT = "heldout/";

/** Props: params (of the address: `stage` and `find`), run. */
export class Curves extends Component {
  state = { series: null, stages: [], problem: null };

  componentDidMount() {
    this.load();
  }

  componentDidUpdate(before) {
    if (this.stage(before.params) !== this.stage(this.props.params)) this.load();
  }

  componentWillUnmount() {
    this.loading?.abort();
  }

  stage(params) {
    return params.get("stage") ?? FIRST;
  }

  load = async () => {
    const { run, params } = this.props;
    this.loading?.abort();
    const loading = (this.loading = new AbortController());
    this.setState({ series: null, problem: null });
    try {
      const query = { stage: this.stage(params) };
      const { series, stages } = await call(`runs/${encodeURIComponent(run)}/metrics`, { query, signal: loading.signal });
      const other = stages.at(-1); // a run that stopped early has no figures of the last stage
      if (!params.get("stage") && stages.length && !stages.includes(FIRST)) return this.show({ stage: other });
      this.setState({ series, stages });
    } catch (error) {
      const problem = asProblem(error, loading.signal);
      if (problem instanceof Problem) this.setState({ problem });
    }
  };

  show(values) {
    const { params, run } = this.props;
    const now = { stage: params.get("stage"), find: params.get("find") };
    replaceRoute("curves", { run, ...now, ...values });
  }

  set = (event) => {
    const { name, value } = event.currentTarget;
    this.show({ [name]: value });
  };

  render({ params }, { series, stages, problem }) {
    const find = params.get("find") ?? "";
    return html`<div class="stack">
      <form class="filters panel" aria-label="Which curves" onSubmit=${(event) => event.preventDefault()}>
        <label class="field field-wide">Stage<select name="stage" value=${this.stage(params)} onChange=${this.set}>
          ${named(stages, this.stage(params)).map((name) => html`<option value=${name}>${STAGES[name] ?? name}</option>`)}</select></label>
        <label class="field">Name contains<input type="text" name="find" value=${find} placeholder="all" onInput=${this.set} /></label>
        <p class="legend"><span class="key"><span class="key-name">logged while training</span></span><span class="key key-two"><span class="key-name">held-out users</span></span></p>
      </form>
      ${problem && html`<${ProblemNote} problem=${problem} onRetry=${this.load} />`}
      ${!series && !problem && html`<${Loading} what="Reading the metrics" />`}
      ${series && this.renderGroups(series, find)}
    </div>`;
  }

  renderGroups(series, find) {
    const charts = chartsOf(series).filter(({ name }) => name.includes(find.trim().toLowerCase()));
    if (!charts.length && find) return html`<${Empty} title="No curve has that in its name">Try a shorter word.<//>`;
    if (!charts.length) return html`<${Empty} title="This stage logged nothing">It may not have run yet. Choose another stage.<//>`;
    const axis = /^(trm|warm)/.test(this.stage(this.props.params)) ? "epoch" : "step";
    return grouped(charts).map(
      ([title, members]) => html`<section key=${title} aria-label=${title}>
        <h2>${title}</h2>
        <div class="charts">${members.map((chart) => html`<${Chart} key=${chart.name} ...${chart} axis=${axis} />`)}</div>
      </section>`,
    );
  }
}

// The stage in the address is offered even where nothing was logged for it: the field must show it.
function named(stages, stage) {
  return stages.includes(stage) ? stages : [...stages, stage];
}

/** One chart for each metric; `heldout/X` is a second line in the chart of X. */
function chartsOf(series) {
  const charts = new Map();
  for (const [name, points] of Object.entries(series)) {
    if (!points.length || name === "step" || name === "epoch") continue;
    const heldOut = name.startsWith(HELD_OUT);
    const base = heldOut ? name.slice(HELD_OUT.length) : name;
    if (!charts.has(base)) charts.set(base, []);
    charts.get(base).push({ name: heldOut ? "held out" : "logged", points, dashed: heldOut });
  }
  const inOrder = [...charts].sort(([one], [other]) => (one < other ? -1 : 1));
  return inOrder.map(([name, lines]) => ({ name, lines: lines.sort((one, other) => one.dashed - other.dashed) }));
}

function grouped(charts) {
  const left = [...charts];
  const groups = [];
  for (const [title, belongs] of [...GROUPS, ["Other", () => true]]) {
    const members = left.filter(({ name }) => belongs(name));
    if (members.length) groups.push([title, members]);
    for (const member of members) left.splice(left.indexOf(member), 1);
  }
  return groups;
}
