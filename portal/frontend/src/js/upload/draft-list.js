// @ts-check
// The list of other drafts beside the form.
import { byId, h, icon } from '../dom.js';
import { ago, bytes } from '../format.js';
import { titleOf } from './drafts.js';

/**
 * @param {import('./drafts.js').Draft[]} drafts @param {Set<string>} elsewhere
 * @param {{open: (id: string) => void, drop: (id: string) => void}} actions
 */
export function listDrafts(drafts, elsewhere, { open, drop }) {
  const rows = drafts.map((draft) => {
    const title = titleOf(draft);
    const away = elsewhere.has(draft.id) ? ' · open in another tab' : '';
    return h(
      'li',
      {},
      h(
        'div',
        { class: 'grow' },
        h('button', { class: 'line as-link', type: 'button', onclick: () => open(draft.id) }, h('bdi', {}, title)),
        h('span', { class: 'small quiet' }, `${ago(new Date(draft.at))} · ${bytes(draft.script.length)}${away}`),
      ),
      h('button', { class: 'btn plain mini square', type: 'button', 'aria-label': `Delete the draft ${title}`, title: 'Delete', onclick: () => drop(draft.id) }, icon('close')),
    );
  });
  byId('drafts-list')?.replaceChildren(...rows);
  const card = byId('drafts');
  if (card) card.hidden = rows.length === 0;
}
