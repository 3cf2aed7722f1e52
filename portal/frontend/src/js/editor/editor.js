// @ts-check
// The script editor. It lives in a shadow root, where its styles are constructed sheets: the
// page's content security policy forbids style elements.
import { indentWithTab } from '@codemirror/commands';
import { python, pythonLanguage } from '@codemirror/lang-python';
import { indentUnit } from '@codemirror/language';
import { lintGutter, setDiagnostics } from '@codemirror/lint';
import { EditorState } from '@codemirror/state';
import { EditorView, hoverTooltip, keymap, placeholder } from '@codemirror/view';
import { basicSetup } from 'codemirror';
import { completeSdk, explain } from './completion.js';
import { look } from './look.js';

/** @typedef {{line?: number | null, column?: number | null, severity: 'error' | 'warning', message: string}} Problem */

export class Editor {
  /**
   * @param {HTMLElement} host
   * @param {{text: string, label: string, hint: string, changed: (text: string) => void, channels: () => any[], sdk: import('./completion.js').Module[]}} options
   */
  constructor(host, { text, label, hint, changed, channels, sdk }) {
    const root = host.attachShadow({ mode: 'open' });
    this.view = new EditorView({
      parent: root,
      root,
      state: EditorState.create({
        doc: text,
        extensions: [
          basicSetup,
          python(),
          pythonLanguage.data.of({ autocomplete: completeSdk(sdk, channels) }),
          hoverTooltip(explain(sdk, channels)),
          indentUnit.of('    '),
          keymap.of([indentWithTab]),
          lintGutter(),
          placeholder(hint),
          EditorView.contentAttributes.of({ 'aria-label': label, tabindex: '0' }),
          EditorView.updateListener.of((update) => {
            if (update.docChanged) changed(this.text);
          }),
          look,
        ],
      }),
    });
  }

  get text() {
    return this.view.state.doc.toString();
  }

  set text(text) {
    this.view.dispatch({ changes: { from: 0, to: this.view.state.doc.length, insert: text } });
  }

  focus() {
    this.view.focus();
  }

  /** Show problems where they stand; those without a line stand in the list only. @param {Problem[]} problems */
  show(problems) {
    const { doc } = this.view.state;
    const marks = problems
      .filter(({ line }) => line && line <= doc.lines)
      .map(({ line, column, severity, message }) => {
        const row = doc.line(/** @type {number} */ (line));
        const indent = row.text.length - row.text.trimStart().length;
        // what is missing at the line's end is marked as the whole line
        const at = row.from + (column ? column - 1 : indent);
        const from = at < row.to ? at : row.from + indent;
        return { from, to: row.to, severity, message };
      })
      .sort((a, b) => a.from - b.from);
    this.view.dispatch(setDiagnostics(this.view.state, marks));
  }

  /** Put the cursor on a line. @param {number} line @param {number | null} [column] */
  goTo(line, column) {
    const row = this.view.state.doc.line(Math.min(line, this.view.state.doc.lines));
    this.view.dispatch({
      selection: { anchor: Math.min(row.from + (column ?? 1) - 1, row.to) },
      effects: EditorView.scrollIntoView(row.from, { y: 'center' }),
    });
    this.view.focus();
  }
}
