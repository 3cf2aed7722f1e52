// @ts-check
// What is done again and again, but only while somebody looks: a hidden tab has no timers.

/**
 * Do something every so many milliseconds while the page is seen, and at once when it is seen
 * again. Returns what ends it.
 * @param {number} every @param {() => void} action
 */
export function whileSeen(every, action) {
  let timer = 0;
  const change = () => {
    clearInterval(timer);
    timer = document.hidden ? 0 : window.setInterval(action, every);
  };
  const seen = () => {
    change();
    if (!document.hidden) action();
  };
  document.addEventListener('visibilitychange', seen);
  change();
  return () => {
    document.removeEventListener('visibilitychange', seen);
    clearInterval(timer);
  };
}
