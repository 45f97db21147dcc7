// The page: a header, one view at a time, and the question for the API key.
import { asProblem, call, onKeyNeeded, Problem, storeKey } from "./api.js";
import { Component, createRef, html, render } from "./html.js";
import { Announcer } from "./parts/announce.js";
import { readChoice, writeChoice } from "./parts/composer.js";
import { Empty, Loading, ProblemNote } from "./parts/problem.js";
import { linkTo, readRoute, replaceRoute, VIEWS } from "./route.js";
import { Compare } from "./views/compare.js";
import { Curves } from "./views/curves.js";
import { Explore } from "./views/explore.js";
import { Trajectories } from "./views/trajectories.js";

const PAGES = {
  explore: { title: "Explore", view: Explore, lead: "Watch a recommendation being found, turn by turn." },
  compare: { title: "Compare", view: Compare, lead: "The same history, answered by the policy, by its plain TRM, and by another run." },
  trajectories: { title: "Trajectories", view: Trajectories, lead: "Samples from training, with what each earned and why it ended." },
  curves: { title: "Curves", view: Curves, lead: "How training went: rewards, behaviour and optimisation, step by step." },
};

class App extends Component {
  heading = createRef();
  state = { route: readRoute(), runs: null, problem: null, key: null };

  componentDidMount() {
    onKeyNeeded((refused) => new Promise((resolve) => this.setState({ key: { refused, resolve } })));
    addEventListener("hashchange", this.follow);
    this.name();
    this.load();
  }

  follow = () => {
    const route = readRoute();
    const moved = route.view !== this.state.route.view;
    this.setState({ route }, () => {
      this.name();
      if (!moved) return;
      scrollTo(0, 0);
      this.heading.current.focus({ preventScroll: true }); // a screen reader says where one is now
    });
  };

  name() {
    document.title = `${PAGES[this.state.route.view].title} · deeprec`;
  }

  load = async () => {
    this.setState({ problem: null });
    try {
      const { runs } = await call("runs");
      this.setState({ runs });
    } catch (error) {
      const problem = asProblem(error);
      if (!(problem instanceof Problem)) throw problem;
      this.setState({ problem });
    }
  };

  run() {
    const { runs, route } = this.state;
    const named = route.params.get("run");
    if (named) return named;
    return (runs?.find((run) => run.default) ?? runs?.[0])?.name ?? "";
  }

  chooseRun = (event) => {
    const { view } = this.state.route;
    replaceRoute(view, { ...this.kept(view), run: event.currentTarget.value });
  };

  // What is composed goes along between the views that compose.
  kept(view) {
    const { route } = this.state;
    const composing = ["explore", "compare"];
    if (!composing.includes(view) || !composing.includes(route.view)) return {};
    return { ...writeChoice(readChoice(route.params)), k: route.params.get("k") };
  }

  answerKey = (key) => {
    const { resolve } = this.state.key;
    if (key !== null) storeKey(key);
    this.setState({ key: null }, () => resolve(key !== null));
  };

  render(_, { route, runs, problem, key }) {
    const page = PAGES[route.view];
    const run = this.run();
    return html`<a class="skip" href="#main" onClick=${this.skip}>Skip to the content</a>
      <header class="top">
        <div class="top-row">
          <a class="brand" href=${linkTo("explore", { run: route.params.get("run") })}><${Mark} />deeprec</a>
          <nav aria-label="Views">
            ${VIEWS.map(
              (view) => html`<a href=${linkTo(view, { run: route.params.get("run"), ...this.kept(view) })}
                aria-current=${view === route.view ? "page" : null}>${PAGES[view].title}</a>`,
            )}
          </nav>
          ${runs?.length > 0 && html`<${RunPicker} runs=${runs} run=${run} onChange=${this.chooseRun} />`}
        </div>
      </header>
      <main id="main">
        <div class="title-row"><h1 tabindex="-1" ref=${this.heading}>${page.title}</h1><p class="lead">${page.lead}</p></div>
        ${this.renderView(page, run, runs, problem, route)}
      </main>
      <footer class="foot"><p>Explorations are what the model wrote; titles are the catalogue's own. <a href="openapi.json">API description</a></p></footer>
      <${Announcer} />
      ${key && html`<${KeyDialog} refused=${key.refused} onDone=${this.answerKey} />`}`;
  }

  renderView(page, run, runs, problem, route) {
    if (problem) return html`<${ProblemNote} problem=${problem} onRetry=${this.load} />`;
    if (!runs) return html`<${Loading} what="Asking which runs are served" />`;
    if (!runs.length) return html`<${Empty} title="No run is served">Start the service with the folder of a finished run.<//>`;
    return html`<${page.view} key=${`${route.view}/${run}`} params=${route.params} run=${run} runs=${runs} />`;
  }

  // The hash is the address of a view, so the skip link can't use it.
  skip = (event) => {
    event.preventDefault();
    this.heading.current.focus();
  };
}

function RunPicker({ runs, run, onChange }) {
  const shown = runs.find((one) => one.name === run);
  const detail = shown && `${shown.dataset}, ${shown.items.toLocaleString("en")} items`;
  return html`<label class="run"><span>Run</span>
    <select value=${run} onChange=${onChange} title=${detail}>
      ${!shown && html`<option value=${run}>${run} (not served)</option>`}
      ${runs.map((one) => html`<option value=${one.name}>${one.name}</option>`)}
    </select></label>`;
}

function Mark() {
  return html`<svg viewBox="0 0 32 32" width="26" height="26" aria-hidden="true" class="mark">
    <rect width="32" height="32" rx="9" /><path d="M10 10l7 6 6 7" /><circle cx="10" cy="10" r="2.6" /><circle cx="17" cy="16" r="2.6" /><circle cx="23" cy="23" r="3.6" class="mark-end" />
  </svg>`;
}

/** Asks for the key; the browser keeps it until this tab is closed. */
class KeyDialog extends Component {
  dialog = createRef();
  field = createRef();

  componentDidMount() {
    this.dialog.current.showModal();
    this.field.current.focus();
  }

  render({ refused, onDone }) {
    return html`<dialog ref=${this.dialog} class="dialog" aria-labelledby="key-title" onCancel=${(event) => { event.preventDefault(); onDone(null); }}>
      <form method="dialog" onSubmit=${(event) => { event.preventDefault(); onDone(this.field.current.value.trim()); }}>
        <h2 id="key-title">API key</h2>
        <p id="key-about">${refused ? "The service refused this key. Check it for typing errors." : "This service asks for a key."} Whoever started it knows it.</p>
        <label class="field">Key<input ref=${this.field} type="password" autocomplete="off" required aria-describedby="key-about" aria-invalid=${refused ? "true" : null} /></label>
        <p class="hint">Kept in this tab until you close it.</p>
        <div class="actions"><button class="button button-main">Continue</button>
          <button type="button" class="button" onClick=${() => onDone(null)}>Cancel</button></div>
      </form>
    </dialog>`;
  }
}

render(html`<${App} />`, document.getElementById("app"));
