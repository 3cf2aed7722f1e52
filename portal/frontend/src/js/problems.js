// @ts-check
import { byId, h, icon } from './dom.js';
import { sentence } from './format.js';

/** List what is wrong with a script; a click goes to the line. */
export function listProblems(problems, goTo) {
  const rows = problems.map(({ severity, error, line, column }) => {
    const where = line ? `Line ${line}: ` : '';
    const title = line
      ? h('button', { type: 'button', onclick: () => goTo(line, column) }, where + error.message.replace(/^line \d+: /, ''))
      : h('strong', {}, sentence(error.message));
    return h('li', { class: severity }, icon(severity === 'error' ? 'alert' : 'info'), h('span', {}, title, ...(error.hint ? [h('br'), sentence(error.hint)] : [])));
  });
  byId('problems')?.replaceChildren(...(rows.length > 0 ? [h('ul', { class: 'problems' }, ...rows)] : []));
}
