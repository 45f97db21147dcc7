// How numbers, items and reasons are written.

const STOP_REASONS = {
  finished: "the model closed its list",
  no_list: "the model ended without a list",
  empty_preference: "the model asked with an empty preference",
  retrieval_limit: "the model asked more often than allowed",
  segment_limit: "one turn ran past its length",
  token_limit: "the answer ran past its length",
};

/** A stop reason in words; one that this page does not know, as it is. */
export function stopText(reason) {
  return STOP_REASONS[reason] ?? String(reason ?? "").replaceAll("_", " ");
}

/** `plural(1, "item")` is "1 item", `plural(3, "item")` is "3 items"; `many` is an irregular plural. */
export function plural(count, noun, many = `${noun}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? noun : many}`;
}

/** What was typed as a number, if it is one; else as it is, so that the service can say what is wrong with it. */
export function typedNumber(text) {
  if (!text) return undefined;
  return Number.isFinite(Number(text)) ? Number(text) : text;
}

/** Four significant digits at most, no needless zeros. */
export function short(value) {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text = size >= 1e5 || size < 1e-3 ? value.toExponential(1) : String(Number(value.toPrecision(size < 1 ? 3 : 4)));
  return text.replaceAll("-", "\u2212");
}

export function seconds(value) {
  return value < 1 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(1)} s`;
}

/** Year and categories of an item; the year is left out where the title ends with it. */
export function itemDetail({ title = "", year, categories }) {
  const parts = year && !title.endsWith(`(${year})`) ? [year] : [];
  return [...parts, ...(categories ?? [])].join(" · ");
}
