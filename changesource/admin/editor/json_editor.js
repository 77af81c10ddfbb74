// Turns every <textarea class="json-editor"> into CodeMirror. The text area stays what the form sends.
//
// The editor lies in a shadow tree, where CodeMirror adopts its style sheets: a Content-Security-Policy needs neither a
// nonce nor 'unsafe-inline'. Tab is not bound, so that it moves on as from every other input.

import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { json } from "@codemirror/lang-json";
import {
  bracketMatching,
  ensureSyntaxTree,
  HighlightStyle,
  indentOnInput,
  indentUnit,
  syntaxHighlighting,
} from "@codemirror/language";
import { lintGutter, lintKeymap, linter, setDiagnostics } from "@codemirror/lint";
import { EditorState } from "@codemirror/state";
import { EditorView, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";

const colours = HighlightStyle.define([
  { tag: tags.propertyName, color: "var(--json-key)" },
  { tag: tags.string, color: "var(--json-string)" },
  { tag: tags.number, color: "var(--json-number)" },
  { tag: [tags.bool, tags.null], color: "var(--json-word)" },
]);

const theme = EditorView.theme({
  "&": { color: "var(--body-fg)", backgroundColor: "var(--body-bg)", fontSize: "0.8125rem" },
  "&.cm-focused": { outline: "none" }, // the host shows it
  ".cm-scroller": { fontFamily: "var(--font-family-monospace)", lineHeight: "1.5", overflow: "auto" },
  ".cm-content": { caretColor: "var(--body-fg)" },
  ".cm-gutters": {
    color: "var(--body-quiet-color)",
    backgroundColor: "var(--darkened-bg)",
    borderRight: "1px solid var(--hairline-color)",
  },
  ".cm-lintRange-error": {
    backgroundImage: "none",
    textDecoration: "underline wavy 2px var(--json-error)",
    textUnderlineOffset: "3px",
  },
  ".cm-lintPoint-error:after": { borderBottomColor: "var(--json-error)" },
  ".cm-tooltip": {
    color: "var(--body-fg)",
    backgroundColor: "var(--darkened-bg)",
    border: "1px solid var(--border-color)",
    maxWidth: "60ch",
  },
  ".cm-diagnostic-error": { borderLeftColor: "var(--json-error)" },
  ".cm-panels": { color: "var(--body-fg)", backgroundColor: "var(--darkened-bg)" },
  "&.cm-focused .cm-matchingBracket": { backgroundColor: "var(--selected-bg)", outline: "1px solid currentcolor" },
});

/** Of the text as it was `sent` the `messages` of the form, while it is that; of any other what the browser says. */
function errorsOf(state, sent, messages) {
  const found = state.doc.toString() === sent ? formErrors(state, messages) : [];
  return found.length ? found : syntaxErrors(state);
}

/** What the browser says of text that is no JSON, with its place underlined. */
function syntaxErrors(state) {
  const text = state.doc.toString();
  if (!text.trim()) return [];
  try {
    JSON.parse(text);
    return [];
  } catch (error) {
    const [from, to] = syntaxErrorRange(state, error);
    return [{ from, to, severity: "error", message: `This is not JSON: ${error.message}` }];
  }
}

function syntaxErrorRange(state, error) {
  const offset = /at position (\d+)/.exec(error.message);
  if (offset) return characterRange(state, Number(offset[1]));
  const place = /line (\d+) column (\d+)/.exec(error.message);
  if (place) return lineRange(state, Number(place[1]), Number(place[2]));
  return characterRange(state, state.doc.length);
}

/** One character, so that there is something to underline: at the end of the text the last one. */
function characterRange(state, offset) {
  const from = Math.max(0, Math.min(offset, state.doc.length - 1));
  return [from, Math.min(from + 1, state.doc.length)];
}

function lineRange(state, line, column) {
  const found = state.doc.line(Math.max(1, Math.min(line, state.doc.lines)));
  const [from] = characterRange(state, Math.min(found.from + column - 1, found.to));
  return [from, Math.min(from + 1, state.doc.length)];
}

/** The messages of the form, each where it belongs. One without a place in the text is only shown above it. */
function formErrors(state, messages) {
  return messages.flatMap((message) => {
    const place = /line (\d+),? column (\d+)/.exec(message);
    const range = place ? lineRange(state, Number(place[1]), Number(place[2])) : rangeOfPath(state, message);
    return range ? [{ from: range[0], to: range[1], severity: "error", message }] : [];
  });
}

/** The value at the place that `message` begins with, `pipeline[1].$match: …`, as deep as the text has it. */
function rangeOfPath(state, message) {
  const tree = ensureSyntaxTree(state, state.doc.length, 1000);
  let node = tree?.topNode.firstChild;
  let rest = message;
  let range = null;
  while (node) {
    const step = node.name === "Object" ? memberAt(state, node, rest) : itemAt(node, rest);
    if (!step) break;
    ({ node, rest, range } = step);
    if (rest.startsWith(":")) break;
    rest = rest.replace(/^\./, "");
  }
  return range;
}

function memberAt(state, object, path) {
  let longest = null;
  for (const property of object.getChildren("Property")) {
    const name = property.getChild("PropertyName");
    const key = nameOf(state, name);
    const isNext = key && path.startsWith(key) && /^(:|\.|\[)/.test(path.slice(key.length));
    if (isNext && (!longest || key.length > longest.key.length)) longest = { key, name, property };
  }
  if (!longest) return null;
  return {
    node: longest.property.lastChild,
    rest: path.slice(longest.key.length),
    range: [longest.name.from, longest.name.to],
  };
}

function nameOf(state, name) {
  try {
    return JSON.parse(state.sliceDoc(name.from, name.to));
  } catch {
    return "";
  }
}

function itemAt(array, path) {
  const index = /^\[(\d+)\]/.exec(path);
  if (array.name !== "Array" || !index) return null;
  let item = array.firstChild?.nextSibling; // behind the bracket
  for (let left = Number(index[1]); item && left > 0; item = item.nextSibling) {
    if (item.name === ",") left -= 1;
  }
  while (item && (item.name === "," || item.name === "⚠")) item = item.nextSibling;
  if (!item || item.name === "]") return null;
  return { node: item, rest: path.slice(index[0].length), range: [item.from, item.to] };
}

function messagesOf(textarea) {
  const row = textarea.closest(".form-row") ?? textarea.parentElement;
  return [...row.querySelectorAll(".errorlist li")].map((item) => item.textContent.trim());
}

function labelOf(textarea) {
  return document.querySelector(`label[for="${CSS.escape(textarea.id)}"]`);
}

function makeEditor(textarea) {
  const host = document.createElement("div");
  host.className = "json-editor-host";
  host.dataset.editorOf = textarea.id;
  const root = host.attachShadow({ mode: "open" });
  const label = labelOf(textarea);
  const help = document.getElementById(`${textarea.id}_helptext`);
  const messages = messagesOf(textarea);
  const sent = textarea.value;
  const attributes = {
    "aria-label": label ? label.textContent.trim().replace(/:$/, "") : textarea.name,
    "aria-description": `JSON. ${help ? help.textContent.trim() : ""}`,
    "aria-invalid": String(messages.length > 0),
  };
  const view = new EditorView({
    root,
    parent: root,
    state: EditorState.create({
      doc: textarea.value,
      extensions: [
        lineNumbers(),
        history(),
        indentOnInput(),
        indentUnit.of("  "),
        bracketMatching(),
        json(),
        syntaxHighlighting(colours),
        linter(({ state }) => errorsOf(state, sent, messages), { delay: 400 }),
        lintGutter(),
        keymap.of([...defaultKeymap, ...historyKeymap, ...lintKeymap]),
        EditorView.lineWrapping,
        EditorView.contentAttributes.of(attributes),
        EditorState.readOnly.of(textarea.readOnly || textarea.disabled),
        theme,
        EditorView.theme({
          ".cm-content, .cm-gutter": { minHeight: `${textarea.rows * 1.5}em` },
          ".cm-scroller": { maxHeight: "60vh" },
        }),
        EditorView.updateListener.of((update) => {
          if (!update.docChanged) return;
          textarea.value = update.state.doc.toString();
          textarea.dispatchEvent(new Event("change", { bubbles: true }));
        }),
      ],
    }),
  });
  textarea.after(host);
  textarea.hidden = true;
  textarea.form?.addEventListener("reset", () => {
    view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: textarea.defaultValue } });
  });
  label?.addEventListener("click", () => view.focus());
  showFormErrors(view, messages);
  if (location.hash === `#${textarea.id}`) {
    host.scrollIntoView({ block: "center" });
    view.focus();
  }
}

/** At once, and the first of them in sight: the linter looks only a moment later. */
function showFormErrors(view, messages) {
  const diagnostics = formErrors(view.state, messages);
  if (!diagnostics.length) return;
  view.dispatch(setDiagnostics(view.state, diagnostics));
  view.dispatch({ selection: { anchor: diagnostics[0].from }, scrollIntoView: true });
}

// The empty form of an inline is what others are copied from, and stays as it is.
document.querySelectorAll("textarea.json-editor:not(.empty-form *)").forEach(makeEditor);
document.addEventListener("formset:added", (event) => {
  event.target.querySelectorAll("textarea.json-editor").forEach(makeEditor);
});
