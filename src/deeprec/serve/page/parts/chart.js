// A training curve as SVG, with its numbers in a table.
import { plural, short } from "../format.js";
import { Component, html } from "../html.js";

const WIDTH = 320;
const HEIGHT = 150;
const BOX = { left: 44, right: 8, top: 8, bottom: 22 };

/** Props: name, lines [{ name, points [[step, value]], dashed }], axis ("step" or "epoch"). */
export class Chart extends Component {
  state = { at: null };

  point = (event) => {
    const { left, width } = event.currentTarget.getBoundingClientRect();
    const x = ((event.clientX - left) / width) * WIDTH;
    const { steps, x: place } = this.scales();
    const at = steps.reduce((best, step) => (Math.abs(place(step) - x) < Math.abs(place(best) - x) ? step : best));
    this.setState({ at });
  };

  scales() {
    const points = this.props.lines.flatMap((line) => line.points).filter(([, value]) => Number.isFinite(value));
    const steps = [...new Set(points.map(([step]) => step))].sort((a, b) => a - b);
    const [low, high] = padded(points.map(([, value]) => value));
    const [first, last] = [steps[0], steps.at(-1)];
    return {
      steps,
      low,
      high,
      x: (step) => BOX.left + ((step - first) / (last - first || 1)) * (WIDTH - BOX.left - BOX.right),
      y: (value) => HEIGHT - BOX.bottom - ((value - low) / (high - low)) * (HEIGHT - BOX.top - BOX.bottom),
    };
  }

  render({ name, lines, axis }, { at }) {
    const scales = this.scales();
    if (!scales.steps.length) return null;
    const shown = at ?? scales.steps.at(-1);
    return html`<figure class="chart">
      <figcaption>
        <span class="chart-name">${name}</span>
        <span class="chart-value">${lines.map((line) => readout(line, shown, at === null))}</span>
      </figcaption>
      <svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label=${described(name, lines, axis)}
        onPointerMove=${this.point} onPointerLeave=${() => this.setState({ at: null })}>
        ${ticks(scales.low, scales.high).map(
          (value) => html`<g key=${value}><line class="grid" x1=${BOX.left} x2=${WIDTH - BOX.right} y1=${scales.y(value)} y2=${scales.y(value)} />
            <text class="axis" text-anchor="end" x=${BOX.left - 6} y=${scales.y(value) + 3.5}>${short(value)}</text></g>`,
        )}
        ${[scales.steps[0], scales.steps.at(-1)].map(
          (step, place) => html`<text class="axis" text-anchor=${place ? "end" : "start"} x=${scales.x(step)} y=${HEIGHT - 6}>${place ? step : `${axis} ${step}`}</text>`,
        )}
        ${at !== null && html`<line class="cursor" x1=${scales.x(at)} x2=${scales.x(at)} y1=${BOX.top} y2=${HEIGHT - BOX.bottom} />`}
        ${lines.map((line) => drawLine(line, scales))}
      </svg>
      <details><summary>Numbers<span class="hidden-text"> of ${name}</span></summary><div class="scroll" tabindex="0" role="region" aria-label=${`Numbers of ${name}`}>
        <${Numbers} lines=${lines} axis=${axis} steps=${scales.steps} /></div></details>
    </figure>`;
  }
}

function drawLine({ name, points, dashed }, { x, y }) {
  const finite = points.filter(([, value]) => Number.isFinite(value));
  const path = finite.map(([step, value]) => `${x(step).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  // Few points are marked, so that a curve of one or two can be seen at all.
  const marks = finite.length <= 8 ? finite : [];
  return html`<g key=${name} class=${dashed ? "line line-two" : "line"}><polyline points=${path} />
    ${marks.map(([step, value]) => html`<circle cx=${x(step)} cy=${y(value)} r="2.6" />`)}</g>`;
}

function readout({ name, points, dashed }, step, isLast) {
  const point = isLast ? points.at(-1) : points.find(([at]) => at === step);
  return html`<span class=${dashed ? "key key-two" : "key"}><span class="key-name">${name}${isLast ? "" : ` @${step}`}</span> ${point ? short(point[1]) : "–"}</span>`;
}

function described(name, lines, axis) {
  const each = lines.map(({ name: line, points }) => {
    const values = points.map(([, value]) => value);
    return `${line}: ${plural(points.length, "point")}, from ${short(values[0])} at ${axis} ${points[0][0]} to ${short(values.at(-1))} at ${axis} ${points.at(-1)[0]}, lowest ${short(Math.min(...values))}, highest ${short(Math.max(...values))}`;
  });
  return `${name}. ${each.join(". ")}.`;
}

function Numbers({ lines, axis, steps }) {
  const columns = lines.map((line) => new Map(line.points));
  return html`<table class="numbers">
    <thead><tr><th scope="col">${axis}</th>${lines.map((line) => html`<th scope="col">${line.name}</th>`)}</tr></thead>
    <tbody>${steps.map(
      (step) => html`<tr><th scope="row">${step}</th>${columns.map((column) => html`<td class="number">${column.has(step) ? short(column.get(step)) : ""}</td>`)}</tr>`,
    )}</tbody>
  </table>`;
}

function padded(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const pad = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
  return [low - pad, high + pad];
}

/** Two to five round numbers between low and high. */
function ticks(low, high) {
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const first = Math.ceil(low / step);
  const count = Math.floor(high / step) - first + 1;
  return Array.from({ length: count }, (_, place) => Number(((first + place) * step).toPrecision(12)));
}
