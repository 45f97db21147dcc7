// Whose history it is: a known user's, or one made here of titles; and what they want now.
import { asProblem, call, Problem } from "../api.js";
import { itemDetail, plural } from "../format.js";
import { Component, createRef, html } from "../html.js";
import { announce } from "./announce.js";
import { Combobox } from "./combobox.js";
import { Loading, ProblemNote } from "./problem.js";

const SHOWN = 5; // the latest items of a user's history
const LONGEST = 500; // characters of a wish, as the service takes them

/** What is composed, as the address holds it. */
export function readChoice(params) {
  const titles = params.getAll("title");
  const items = params.getAll("item").map((item_id, place) => ({ item_id, title: titles[place] ?? item_id }));
  const who = params.get("who") === "titles" ? "titles" : "user";
  return { who, user: params.get("user") ?? "", items, wish: params.get("wish") ?? "" };
}

export function writeChoice({ who, user, items, wish }) {
  const ids = items.map((item) => item.item_id);
  return { who: who === "titles" ? who : null, user, item: ids, title: items.map((item) => item.title), wish };
}

/** The choice as fields of a request, or null while nothing is chosen. */
export function requestOf({ who, user, items, wish }) {
  const said = wish.trim();
  const asked = said ? { wish: said } : {};
  if (who === "user" && user) return { user_id: user, ...asked };
  const history = who === "user" ? [] : items.map(({ item_id }) => ({ item_id }));
  return history.length || said ? { history, ...asked } : null; // who says what they want may be anybody
}

async function searchItems(query, signal) {
  const { items } = await call("items", { query: { query, limit: 12 }, signal });
  return items.map((item) => ({ key: item.item_id, title: item.title, detail: itemDetail(item), item }));
}

async function searchUsers(query, signal) {
  const { users } = await call("users", { query: { query, limit: 12 }, signal });
  return users.map(({ user_id, interactions }) => ({
    key: user_id,
    title: user_id,
    detail: plural(interactions, "interaction"),
  }));
}

/** Props: choice, run (what is served of it), onChange(choice). */
export class Composer extends Component {
  titles = createRef();
  list = createRef();

  change(part) {
    this.props.onChange({ ...this.props.choice, ...part });
  }

  add = ({ item }) => {
    const { items } = this.props.choice;
    if (items.some((one) => one.item_id === item.item_id)) return announce(`${item.title} is in the history already.`);
    announce(`${item.title} added as number ${items.length + 1}.`);
    return this.change({ items: [...items, { item_id: item.item_id, title: item.title }] });
  };

  remove(place) {
    const { items } = this.props.choice;
    announce(`${items[place].title} removed.`);
    this.change({ items: items.filter((_, other) => other !== place) });
    this.focusButton(Math.min(place, items.length - 2), "remove");
  }

  move(place, step) {
    const items = [...this.props.choice.items];
    const [item] = items.splice(place, 1);
    items.splice(place + step, 0, item);
    announce(`${item.title} is now number ${place + step + 1}.`);
    this.change({ items });
    this.focusButton(place + step, step < 0 ? "up" : "down");
  }

  // The focus follows the item; where its button is gone, it goes to the next sensible place.
  focusButton(place, kind) {
    setTimeout(() => {
      const row = this.list.current?.children[place];
      const button = row?.querySelector(`[data-do=${kind}]:enabled`) ?? row?.querySelector("button:enabled");
      if (button) button.focus();
      else this.titles.current?.focus();
    });
  }

  render({ choice, run }) {
    return html`<fieldset class="group">
      <legend>Whose history?</legend>
      <div class="switch">
        ${[["user", "A known user"], ["titles", "Titles I pick"]].map(
          ([who, text]) => html`<label>
            <input type="radio" name="who" value=${who} checked=${choice.who === who}
              onChange=${() => this.change({ who })} /><span>${text}</span>
          </label>`,
        )}
      </div>
      ${choice.who === "user" ? this.renderUser(choice) : this.renderTitles(choice)}
    </fieldset>
    <div class="group"><${WishField} value=${choice.wish} heard=${run?.hears_wishes ?? true} onChange=${(wish) => this.change({ wish })} /></div>`;
  }

  renderUser({ user }) {
    return html`<${Combobox} key="user" label="User" noun="users" keep=${true} value=${user}
        placeholder="Search by id" search=${searchUsers}
        onPick=${({ key }) => this.change({ user: key })} />
      ${user && html`<${UserHistory} key=${user} user=${user} />`}`;
  }

  renderTitles({ items }) {
    const last = items.length - 1;
    return html`<${Combobox} key="titles" ref=${this.titles} label="Add a title" noun="titles"
        placeholder="Search the catalogue" hint="Oldest first. Arrow keys choose, Enter adds."
        search=${searchItems} onPick=${this.add} />
      ${!items.length && html`<p class="hint">Nothing picked yet. Two or three titles make a good start.</p>`}
      <ol class="picked" ref=${this.list} aria-label="History, oldest first">
        ${items.map(
          (item, place) => html`<li key=${item.item_id}>
            <span class="picked-title">${item.title}</span>
            <button type="button" class="icon" data-do="up" disabled=${place === 0}
              aria-label=${`Move ${item.title} up`} onClick=${() => this.move(place, -1)}>↑</button>
            <button type="button" class="icon" data-do="down" disabled=${place === last}
              aria-label=${`Move ${item.title} down`} onClick=${() => this.move(place, 1)}>↓</button>
            <button type="button" class="icon" data-do="remove"
              aria-label=${`Remove ${item.title}`} onClick=${() => this.remove(place)}>×</button>
          </li>`,
        )}
      </ol>`;
  }
}

/** What the user says. What is being typed stays, whatever is drawn anew meanwhile; Enter sends it. */
class WishField extends Component {
  state = { draft: null };

  commit = (event) => {
    this.props.onChange(event.currentTarget.value);
    this.setState({ draft: null });
  };

  send = (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    const { form } = event.currentTarget;
    this.commit(event);
    setTimeout(() => form.requestSubmit()); // what was typed has to reach the address first
  };

  render({ value, heard }, { draft }) {
    return html`<label class="field">What are you in the mood for?<textarea name="wish" rows="2" maxlength=${LONGEST}
        placeholder="something funny from the nineties, no musicals" value=${draft ?? value} aria-describedby="wish-hint"
        onInput=${(event) => this.setState({ draft: event.currentTarget.value })} onChange=${this.commit}
        onKeyDown=${this.send} /></label>
      <p class="hint" id="wish-hint">${heard ? "In your own words; empty for whatever fits. Enter explores." : "This run’s policy has learned from no wishes, so it may not understand."}</p>`;
  }
}

// The service's own words name its interface; here one has just picked somebody.
function unknownUser(user) {
  return new Problem({ status: 404, detail: `No user is called '${user}'. Search for another one above.` });
}

/** The latest items of a user, so that one sees whom one picked. */
class UserHistory extends Component {
  state = { history: null, problem: null };

  componentDidMount() {
    this.load();
  }

  componentWillUnmount() {
    this.loading?.abort();
  }

  load = async () => {
    const { user } = this.props;
    const loading = (this.loading = new AbortController());
    this.setState({ history: null, problem: null });
    try {
      const { history } = await call(`users/${encodeURIComponent(user)}/history`, {
        signal: loading.signal,
      });
      this.setState({ history });
    } catch (error) {
      const problem = asProblem(error, loading.signal);
      if (problem instanceof Problem) this.setState({ problem: problem.status === 404 ? unknownUser(user) : problem });
    }
  };

  render({ user }, { history, problem }) {
    if (problem) return html`<${ProblemNote} problem=${problem} onRetry=${this.load} />`;
    if (!history) return html`<${Loading} what="Reading the history" />`;
    if (!history.length) return html`<p class="hint">${user} has no history yet: the answer will be what anybody gets.</p>`;
    const latest = history.slice(-SHOWN).reverse();
    return html`<div class="latest">
      <p class="hint">${history.length > SHOWN ? `Latest ${SHOWN} of ${plural(history.length, "item")}` : "Latest first"}</p>
      <ul class="plain-list">
        ${latest.map((item) => html`<li>${item.title ?? item.item_id}</li>`)}
      </ul>
    </div>`;
  }
}
