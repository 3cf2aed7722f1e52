// @ts-check
// How people move through a chart besides dragging over what they want to see closer: wheel with
// a modifier, two fingers, one finger sideways, shift and drag, the keyboard.

/**
 * @typedef {object} Moves
 * @property {() => [number, number]} range that is shown now
 * @property {(from: number, to: number) => void} zoom
 * @property {() => void} reset
 */

const WHEEL = 0.0025;
const STEP = 0.2;
const CLOSER = 0.6;

/** A range made smaller or wider around a point that stays where it is. @returns {[number, number]} */
export function scaled([from, to], factor, around) {
  const centre = Math.min(Math.max(around, from), to);
  return [centre - (centre - from) * factor, centre + (to - centre) * factor];
}

/** A range moved by a part of its width. @returns {[number, number]} */
export function moved([from, to], part) {
  const by = Math.max((to - from) * part, -Math.max(0, from));
  return [from + by, to + by];
}

/** Wheel, fingers and mouse. @param {any} u the plot @param {Moves} moves */
export function listen(u, moves) {
  const { over } = u;
  const at = (event) => u.posToVal(event.clientX - over.getBoundingClientRect().left, 'x');

  over.addEventListener('wheel', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) {
      event.preventDefault();
      moves.zoom(...scaled(moves.range(), Math.exp(Math.max(-200, Math.min(200, event.deltaY)) * WHEEL), at(event)));
    } else if (event.shiftKey) {
      event.preventDefault();
      moves.zoom(...moved(moves.range(), (event.deltaY || event.deltaX) / over.clientWidth));
    }
  }, { passive: false });

  /** @type {Map<number, number>} where each finger is */
  const fingers = new Map();
  over.addEventListener('pointerdown', (event) => {
    const pans = event.pointerType === 'touch' || event.button === 1 || (event.button === 0 && event.shiftKey);
    if (!pans) return;
    fingers.set(event.pointerId, event.clientX);
    over.setPointerCapture(event.pointerId);
    if (event.pointerType !== 'touch') event.preventDefault();
  });
  over.addEventListener('pointermove', (event) => {
    const before = fingers.get(event.pointerId);
    if (before === undefined || before === event.clientX) return;
    const places = [...fingers.values()];
    fingers.set(event.pointerId, event.clientX);
    if (fingers.size === 1) {
      moves.zoom(...moved(moves.range(), (before - event.clientX) / over.clientWidth));
    } else if (fingers.size === 2) {
      const now = [...fingers.values()];
      const [wide, wider] = [places, now].map(([a, b]) => Math.max(12, Math.abs(a - b)));
      const middle = (now[0] + now[1]) / 2 - over.getBoundingClientRect().left;
      const drift = ((places[0] + places[1]) / 2 - (now[0] + now[1]) / 2) / over.clientWidth;
      moves.zoom(...moved(scaled(moves.range(), wide / wider, u.posToVal(middle, 'x')), drift));
    }
  });
  for (const end of ['pointerup', 'pointercancel']) {
    over.addEventListener(end, (event) => fingers.delete(event.pointerId));
  }
}

/**
 * The keyboard, for the element that has the focus.
 * @param {HTMLElement} element @param {Moves} moves
 * @param {{step: (by: number) => void, place: () => number | null, leave: () => void}} cursor
 */
export function listenToKeys(element, moves, cursor) {
  element.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const [from, to] = moves.range();
    const around = cursor.place() ?? (from + to) / 2;
    switch (event.key) {
      case 'ArrowLeft':
        cursor.step(event.shiftKey ? -10 : -1);
        break;
      case 'ArrowRight':
        cursor.step(event.shiftKey ? 10 : 1);
        break;
      case '+':
      case '=':
        moves.zoom(...scaled([from, to], CLOSER, around));
        break;
      case '-':
        moves.zoom(...scaled([from, to], 1 / CLOSER, around));
        break;
      case 'PageUp':
        moves.zoom(...moved([from, to], -STEP));
        break;
      case 'PageDown':
        moves.zoom(...moved([from, to], STEP));
        break;
      case '0':
        moves.reset();
        break;
      case 'Escape':
        cursor.leave();
        break;
      default:
        return;
    }
    event.preventDefault();
  });
  element.addEventListener('blur', () => cursor.leave());
}
