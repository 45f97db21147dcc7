// A field for a number. What is being typed stays, whatever is drawn anew meanwhile.
import { Component, html } from "../html.js";

/** Props: label, name, value (text), placeholder, min, step, onChange(text, name), when the field is left. */
export class NumberField extends Component {
  state = { draft: null };

  type = (event) => this.setState({ draft: event.currentTarget.value });

  commit = (event) => {
    this.props.onChange(event.currentTarget.value, this.props.name);
    this.setState({ draft: null });
  };

  render({ label, name, value, placeholder, min, step }, { draft }) {
    return html`<label class="field">${label}<input type="number" name=${name} min=${min} step=${step} inputmode="decimal"
      placeholder=${placeholder} value=${draft ?? value} onInput=${this.type} onChange=${this.commit} /></label>`;
  }
}
