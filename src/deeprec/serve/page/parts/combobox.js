// A search field with a list of answers, after the ARIA combobox pattern: the focus stays in the
// field, the first answer is marked, arrows move through the list, Enter picks, Escape closes.
import { asProblem, Problem } from "../api.js";
import { Component, createRef, html } from "../html.js";

const PAUSE = 160; // milliseconds of no typing before a search
let made = 0;

/**
 * Props: label, hint, placeholder, search(query, signal) -> [{ key, title, detail }], onPick(option),
 * keep (the picked title stays in the field), value (the title to begin with), noun ("titles").
 */
export class Combobox extends Component {
  id = `combobox-${++made}`;
  field = createRef();
  list = createRef();
  state = { query: this.props.value ?? "", options: [], active: -1, open: false, status: "", problem: null };

  componentDidUpdate(before) {
    if (before.value !== this.props.value) this.setState({ query: this.props.value ?? "" });
  }

  componentWillUnmount() {
    clearTimeout(this.timer);
    this.searching?.abort();
  }

  focus() {
    this.field.current.focus();
  }

  type = (event) => {
    const query = event.currentTarget.value;
    this.setState({ query, active: -1 }); // the list is of an older query until the search is done
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.search(query), PAUSE);
  };

  async search(query) {
    this.searching?.abort();
    const searching = (this.searching = new AbortController());
    try {
      const options = await this.props.search(query.trim(), searching.signal);
      if (searching.signal.aborted) return;
      const count = options.length;
      const status = count ? `${count} ${this.props.noun} found` : `No ${this.props.noun} found; try fewer letters.`;
      this.setState({ options, active: count ? 0 : -1, open: true, status, problem: null });
    } catch (error) {
      const problem = asProblem(error, searching.signal);
      if (problem instanceof Problem) this.setState({ options: [], open: true, status: "", problem });
    }
  }

  press = (event) => {
    const { options, active, open, query } = this.state;
    if (event.key === "Escape") {
      if (open) event.preventDefault();
      this.close();
    } else if (event.key === "Enter") {
      event.preventDefault(); // the form is sent by its button alone
      if (open && active >= 0) this.pick(options[active]);
      else this.search(query);
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (!open) return void this.search(query);
      const step = event.key === "ArrowDown" ? 1 : -1;
      const next = active < 0 && step < 0 ? options.length - 1 : (active + step + options.length) % options.length;
      this.setState({ active: options.length ? next : -1 }, this.reveal);
    }
  };

  reveal = () => {
    this.list.current?.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" });
  };

  pick(option) {
    this.close();
    this.setState({ query: this.props.keep ? option.title : "", status: "" });
    this.props.onPick(option);
  }

  close = () => {
    clearTimeout(this.timer);
    this.searching?.abort();
    this.setState({ open: false, active: -1, problem: null });
  };

  render({ label, hint, placeholder }, { query, options, active, open, status, problem }) {
    const { id } = this;
    return html`<div class="field combobox">
      <label for=${id}>${label}</label>
      <div class="combobox-box">
        <input
          id=${id}
          ref=${this.field}
          type="text"
          role="combobox"
          autocomplete="off"
          maxlength="256"
          spellcheck=${false}
          aria-autocomplete="list"
          aria-expanded=${String(open && options.length > 0)}
          aria-controls=${`${id}-list`}
          aria-activedescendant=${active >= 0 ? `${id}-${active}` : null}
          aria-describedby=${hint ? `${id}-hint` : null}
          placeholder=${placeholder}
          value=${query}
          onInput=${this.type}
          onKeyDown=${this.press}
          onClick=${() => !open && this.search(query)}
          onBlur=${this.close}
        />
        <ul id=${`${id}-list`} ref=${this.list} class="options" role="listbox" aria-label=${label} hidden=${!open || !options.length}>
          ${options.map(
            (option, place) => html`<li
              key=${option.key}
              id=${`${id}-${place}`}
              role="option"
              aria-selected=${String(place === active)}
              onMouseDown=${(event) => event.preventDefault()}
              onClick=${() => this.pick(option)}
            >
              <span>${option.title}</span>${option.detail && html`<small>${option.detail}</small>`}
            </li>`,
          )}
        </ul>
        ${open && !options.length && !problem && html`<p class="options options-empty">${status}</p>`}
        ${problem && html`<p class="options options-empty">${problem.title}. ${problem.detail}</p>`}
      </div>
      ${hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}
      <p class="hidden-text" role="status">${open ? status : ""}</p>
    </div>`;
  }
}
